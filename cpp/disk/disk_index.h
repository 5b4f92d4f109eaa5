#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "disk/build.h"
#include "disk/state.h"
#include "index/index.h"
#include "io/block_reader.h"
#include "storage/directory.h"
#include "storage/log.h"

namespace annlib::disk {

struct ProbeView;

struct OpenOptions {
  /// For what is kept of lists and vectors: all lists, where they have room (ResidentLists), or blocks of the files.
  std::size_t cache_bytes = std::size_t{256} << 20;
  io::Engine engine = io::Engine::automatic;
  bool direct = true;
  bool read_only = false;
  /// What has come since is written into the lists when its vectors take so many bytes. Writers wait at four times
  /// that.
  std::size_t fresh_bytes = std::size_t{64} << 20;
};

/// Vectors that are in no file of vectors yet, by slot. Their addresses stay.
class FreshRows {
 public:
  explicit FreshRows(std::size_t vector_bytes) : vector_bytes_(vector_bytes) {}
  /// The rows are those of slots from `first` on.
  void begin_at(Slot first) { first_ = first; }
  Slot first() const { return first_; }
  std::size_t count() const { return count_; }
  std::size_t bytes() const { return blocks_.size() * kBlock * vector_bytes_; }
  const std::byte* row(Slot slot) const {
    const std::size_t i = slot - first_ + skipped_;
    return blocks_[i / kBlock].get() + i % kBlock * vector_bytes_;
  }
  void append(const std::byte* vector);
  void drop_last(std::size_t n);
  /// Forgets the first n.
  void drop_first(std::size_t n);

 private:
  static constexpr std::size_t kBlock = 256;
  void release_if_empty();
  std::size_t vector_bytes_, count_ = 0, skipped_ = 0;
  Slot first_ = 0;
  std::deque<std::unique_ptr<std::byte[]>> blocks_;
};

/// Posting lists in files (Chen et al., SPANN, NeurIPS 2021, arXiv 2111.08566): in memory are the centroids, and of
/// each item its id, where it stands, and its attributes. See docs/architecture.md, "The life of an index on disk".
///
/// Thread safety and errors as Index has them. One process writes to a directory at a time; any number may read.
class DiskIndex final : public Index {
 public:
  /// The arrays that the Python layer wants to be kept with the index.
  using Extra = std::function<storage::SectionList()>;
  /// What it kept with a change that the log holds: kind of the change, arrays.
  using Replayed = std::function<void(const std::string& kind, const std::shared_ptr<const storage::Container>&)>;

  /// Opens a directory. OsError where it cannot be read or is being written to, CorruptError, VersionError. Changes in
  /// the log are made anew and told to `replayed`.
  static std::unique_ptr<DiskIndex> open(const std::string& directory, const OpenOptions& options,
                                         const Replayed& replayed);
  ~DiskIndex() override;

  const Params& params() const { return params_; }
  const std::string& directory() const { return directory_; }
  /// As it was opened, with what Extra gave when it was written.
  const std::shared_ptr<const storage::Container>& manifest() const { return manifest_; }
  bool read_only() const { return options_.read_only; }
  bool closed() const { return closed_; }

  /// Called, while no writer is at work, for what is to be written beside the index.
  void set_extra(Extra extra) { extra_ = std::move(extra); }
  /// These go into the log with the next change.
  void note(storage::SectionList extra) { noted_ = std::move(extra); }

  /// Writes what has come since the last time into the lists, splits those that have grown too long, and begins a new
  /// log. Searches and writers go on meanwhile.
  void merge(int threads);
  /// Whether there is enough to be merged; waits for it until `seconds` have passed or close() is called.
  bool wait_for_work(double seconds);
  /// Afterwards all calls but this one are OsError. Nothing is lost without it.
  void close();

  struct Counts {
    std::size_t lists = 0, postings = 0, shortest = 0, longest = 0, fresh = 0, stale = 0;
    double median = 0;
    std::size_t centroid_bytes = 0, item_bytes = 0, mapped_bytes = 0, fresh_bytes = 0, resident_bytes = 0,
                cache_bytes = 0, cache_capacity = 0;
    std::uint64_t list_file_bytes = 0, vector_file_bytes = 0, log_bytes = 0;
    std::uint64_t reads = 0, bytes_read = 0, cache_hits = 0, cache_misses = 0;
    std::string engine;
    bool direct = false;
    DType stored_dtype = DType::f32;  ///< of the vectors in the file
  };
  Counts counts() const;
  /// What is wrong with the files, a line each; empty if they are sound. Reads all of them.
  std::vector<std::string> damage() const;

 protected:
  const Table& table() const override { return table_; }
  Table& table() override { return table_; }
  const CodeSpace* codes() const override { return nullptr; }
  void before_write() override;
  void insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
              const Progress& progress) override;
  void erase(std::span<const Slot> slots, int threads) override;
  void will_set_attributes(std::span<const Slot> slots, const Columns& attributes, bool keep) override;
  void will_drop_attributes(const std::vector<std::string>& names) override;
  void rebuild(int threads, const Progress& progress) override;
  void fetch(std::span<const Slot> slots, std::byte* out) const override;
  bool search_one(const QueryView& query, const SearchRequest& request, const Passing& filter, std::size_t together,
                  Scratch& s, PlanReport& report) const override;
  void arrange(const VectorBlock& queries, std::span<std::size_t> numbers, int threads) const override;
  void search_together(std::span<const QueryView> queries, const SearchRequest& request, const Passing& filter,
                       Scratch& s, const Answer& answer) const override;
  ScanSpaces scan_spaces(const SearchRequest& request, const SlotSet* passing) const override;
  void radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                  std::size_t matches, Scratch& s) const override;
  std::string kind() const override { return "spann-disk"; }
  void append_sections(storage::SectionList& sections) const override;
  std::size_t other_memory_bytes() const override;

 private:
  friend class Builder;

  DiskIndex(const std::string& directory, const Params& params, std::uint64_t identity, const OpenOptions& options);

  // search.cpp
  RowForm row_form() const { return {dim_, dtype_, metric_, longest_}; }
  std::size_t row_bytes() const { return dim_ * dtype_size(dtype_); }
  template <class Take>
  void for_vectors(std::span<const Slot> slots, SearchCost& cost, Take&& take) const;
  void scan_vectors(const SlotSet* passing, SearchCost& cost,
                    const std::function<void(Slot, const std::byte*)>& take) const;
  void for_passing(const SlotSet* passing, std::size_t count, SearchCost& cost,
                   const std::function<void(Slot, const std::byte*)>& take) const;
  ProbeView probe_view(const Bitset& accepted, const SlotSet* passing) const;
  double lists_read(std::size_t wanted, std::size_t passing) const;
  // write.cpp
  /// The lists in which rows are to stand, replicas each.
  std::vector<std::uint32_t> homes_for(const State& state, std::span<const std::byte* const> rows, int threads) const;
  void put_in_lists(State& state, std::span<const Slot> slots, std::span<const std::byte* const> rows) const;
  void write_log(std::string_view kind, storage::SectionList& sections);
  void log_ids(std::string_view kind, std::span<const Slot> slots, const Columns* attributes);
  // merge.cpp
  class Merge;
  bool holds_fresh() const;
  void publish(const std::shared_ptr<State>& next, int threads);
  void rebuild_now(int threads, const Progress& progress);
  // persist.cpp
  void restore(const std::shared_ptr<const storage::Container>& file);
  void open_files(State& state) const;
  void share_cache(const State& state) const;
  void append_state(const State& state, storage::SectionList& sections) const;
  void write_manifest(const State& state);
  void leave_in_file(const storage::Container& file);
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string next_name(const std::string& name) const;
  void replay(const Replayed& replayed);
  void apply(const std::string& kind, const std::shared_ptr<const storage::Container>& record);
  void fill_table(Table& table, const Built& built, std::vector<std::int64_t> ids,
                  std::span<const std::uint32_t> arrivals, const Columns& kept, std::span<const Slot> kept_slots,
                  const Columns& given) const;
  void begin_log();
  void remove_others(std::span<const std::string> logs) const;
  void require_open() const;

  const std::string directory_;
  const Params params_;
  const OpenOptions options_;
  const std::uint64_t identity_;
  ListForm list_form_;
  ItemCodes codes_;
  Table table_;
  float longest_ = 0;
  std::shared_ptr<State> state_;
  FreshRows fresh_;
  std::shared_ptr<io::BlockCache> cache_;

  std::shared_ptr<const storage::Container> manifest_;  ///< as it was opened
  std::unique_ptr<storage::DirectoryLock> directory_lock_;
  std::unique_ptr<storage::Log> log_;        ///< the writer's alone
  std::atomic<std::uint64_t> log_bytes_{0};  ///< its size, for others
  std::string log_name_;
  std::uint64_t changes_ = 0;      ///< ever made: the number of the next record of the log
  std::uint64_t logged_from_ = 0;  ///< those before are in the manifest
  bool replaying_ = false;
  Extra extra_;
  storage::SectionList noted_;
  /// Of what a manifest may tell of the file of lists, one that was written and then failed, too.
  std::uint64_t lists_end_ = 0;

  std::mutex merging_;  ///< one merge at a time; taken before writer_
  mutable std::mutex work_mutex_;
  std::condition_variable work_;
  std::atomic<bool> closed_{false};
};

/// A directory being filled from vectors that come in blocks, in any order. One thread.
class Builder {
 public:
  /// Makes the directory where there is none; OsError where one holds an index already.
  Builder(const std::string& directory, const Params& params);

  void add(const VectorBlock& vectors, std::span<const std::int64_t> ids);
  std::size_t count() const { return spool_.ids().size(); }
  /// room_beside() so many vectors.
  std::uint64_t room(std::size_t n) const;
  /// Everything else: ValueError without room for it. `attributes` have a row for each vector, in the order in which
  /// they came.
  void finish(const Columns& attributes, const DiskIndex::Extra& extra, int threads, const BuildProgress& progress);

 private:
  const std::string directory_;
  const Params params_;
  std::unique_ptr<storage::DirectoryLock> lock_;
  Spool spool_;
};

}  // namespace annlib::disk
