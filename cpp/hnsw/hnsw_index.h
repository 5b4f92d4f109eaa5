#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "core/slot_hash.h"
#include "graph/repair.h"
#include "hnsw/params.h"
#include "hnsw/state.h"
#include "index/index.h"

namespace annlib {

/// Hierarchical navigable small world graph (Malkov & Yashunin, arXiv 1603.09320) over stored vectors or their codes.
/// Thread safety and errors as Index has them.
///
/// An add that at least doubles the index rebuilds it, which costs no more than inserting so many; a smaller one
/// inserts into the graph there is. Deleted items stay as nodes that are walked over until a fifth of the graph is
/// dead; then the lists around them are mended and their slots used again.
class HnswIndex final : public Index {
 public:
  /// ValueError for parameters out of range, for an unknown codec, and without vectors for one that makes no codes.
  /// Without `make_lists` there are no lists for filters.
  explicit HnswIndex(const HnswParams& params, MakeFilterLists make_lists = nullptr);

  const HnswParams& params() const { return params_; }
  /// What the graph is walked on, and why.
  CodecChoice codec() const;
  /// What vectors are kept as: dtype(), or a type of 8 bits that holds all of them.
  DType stored_dtype() const;
  /// How the bottom layer lies in memory, and why.
  LayoutChoice layout() const;

  struct Counts {
    std::size_t live = 0, dead = 0, twins = 0, levels = 0, links = 0;
    std::size_t graph_bytes = 0;
    std::size_t filter_list_bytes = 0;  ///< of FilterLists; 0 where there are none
    float codec_error = 0;
  };
  Counts counts() const;
  /// How many live items no walk from the entry point can find.
  std::size_t unreachable() const;
  /// The ids of the items whose nodes no walk needs on its way down, for they are on the bottom layer alone: those that
  /// a search can leave out (SearchRequest::left_out).
  std::vector<std::int64_t> bottom_ids() const;
  /// The vectors of `ids` as float32, as near as they are known: (ids, dim). KeyError for an unknown id.
  void load(std::span<const std::int64_t> ids, float* out) const;
  /// Mends the bottom layer for queries like these: see graph/repair.h, with neighbourhoods of k (2 to kNeighbourhood)
  /// nodes, found exactly. Links that it makes are links as any other: what is added later may replace them, and
  /// compact() makes a graph without them. ValueError as search() has it, and for k.
  RepairCounts repair(const VectorBlock& queries, std::size_t k, int threads, const Progress& progress);

  /// Builds sub-graphs for searches under filters on an attribute (hnsw/filter_index.h), in the place of those that are
  /// there. They follow all later changes. ValueError for an attribute that there is not, or whose type the kind lacks.
  void create_filter_index(const std::string& column, const FilterIndexParams& what, int threads);
  /// ValueError if there is none.
  void drop_filter_index(const std::string& column);
  struct FilterIndexStats {
    FilterIndexParams params;
    std::size_t subgraphs = 0, members = 0, bytes = 0;
    std::uint64_t changes = 0;
  };
  std::map<std::string, FilterIndexStats> filter_indexes() const;

  /// CorruptError for whatever in the file does not fit together.
  static std::unique_ptr<HnswIndex> open(const std::shared_ptr<const storage::Container>& file,
                                         MakeFilterLists make_lists = nullptr);

 protected:
  const Table& table() const override { return state_->table; }
  Table& table() override { return state_->table; }
  const CodeSpace* codes() const override { return state_->codes.get(); }
  void insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
              const Progress& progress) override;
  void erase(std::span<const Slot> slots, int threads) override;
  void rebuild(int threads, const Progress& progress) override;
  void note_attributes(std::span<const Slot> slots, const Columns& columns) override;
  void follow_attributes() override;
  void forget_attribute(const std::string& name) override;
  bool search_one(const QueryView& query, const SearchRequest& request, const Passing& filter, std::size_t together,
                  Scratch& s, PlanReport& report) const override;
  ScanSpaces scan_spaces(const SearchRequest& request, const SlotSet* passing) const override;
  void radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                  std::size_t matches, Scratch& s) const override;
  std::string kind() const override { return "hnsw"; }
  void append_sections(storage::SectionList& sections) const override;
  std::size_t other_memory_bytes() const override { return state_->memory_bytes() + content_bytes_; }

 private:
  void restore(const std::shared_ptr<const storage::Container>& file, Slot entry);
  // search.cpp, walks.h
  struct Effort {
    std::size_t ef, ef_filtered;
    float share;  ///< of the items that pass
  };
  /// What a walk is expected to take of both, which it finds out as it goes.
  double expected(const Effort& effort) const;
  /// The ways to answer a query under a filter, but for sub-graphs.
  struct Ways {
    double scan;                                                ///< nanoseconds
    Course walk, lists;                                         ///< lists that there are not take for ever
    bool finds_apart;                                           ///< the walk
    double two_hops = std::numeric_limits<double>::infinity();  ///< for ever where too few pass
    /// What finds what passes wherever it lies, and takes as long as it is expected to.
    double surely() const { return std::min(scan, two_hops); }
    void tell(double share, PlanReport& report) const;
  };
  Ways ways(const Effort& effort, std::size_t matches, std::size_t together) const;
  template <class Accept>
  void begin(const Scan& scan, Slot left_out, const Accept& accept, Scratch& s) const;
  template <class Accept, class Patience>
  bool walk(const Scan& scan, Slot left_out, const Accept& accept, const Patience& patience, Scratch& s) const;
  template <class Accept, class Patience>
  bool walk_fused(const QueryView& query, const Scan& scan, Slot left_out, std::size_t k, const Effort& effort,
                  const Accept& accept, const Patience& patience, Scratch& s) const;
  template <class Accept, class Patience>
  bool walk_nearest(const QueryView& query, Slot left_out, std::size_t k, const Effort& effort, const Accept& accept,
                    const Patience& patience, Scratch& s) const;
  template <class Accept>
  void walk_two_hops(const QueryView& query, Slot left_out, std::size_t k, std::size_t ef, const Accept& accept,
                     Scratch& s) const;
  template <class Accept, class Patience>
  bool walk_subgraphs(const FilterCover& cover, const Scan& scan, std::size_t ef, const Accept& accept,
                      const Patience& patience, Scratch& s) const;
  template <class Acceptance>
  bool by_subgraphs(const QueryView& query, const SearchRequest& request, const Passing& filter, const Effort& effort,
                    std::size_t together, std::size_t k, Acceptance& acceptance, PlanReport& report, Scratch& s) const;
  void choose_seeds(const SlotSet* passing, Scratch& s) const;
  template <class Accept>
  void collect(std::size_t k, const Accept& accept, Scratch& s) const;
  void rerank(const QueryView& query, std::size_t k, const Scan& scan, std::span<const Candidate> candidates,
              Scratch& s) const;

  // costs.cpp: measured at the first search that has a choice
  PlanCosts plan_costs() const;
  PlanCosts measure_costs() const;
  double hop_cost(const FilterIndex& index) const;
  // write.cpp
  void replace_state(std::unique_ptr<HnswState> fresh);
  void rebuild_with(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
                    const Progress& progress);
  bool holds_all(const VectorBlock& vectors) const;
  void widen_rows(int threads);
  void follow_lengths(const VectorBlock& vectors);
  std::vector<Slot> append_rows(const VectorBlock& vectors);
  void match_twins(std::span<const Slot> fresh, std::vector<Slot>& leaders);
  /// What an insertion that fails goes back to, beside the lists in its journal.
  struct Before {
    std::size_t slots, upper_size;
    Slot entry;
  };
  void drop_rows(std::span<const Slot> fresh, std::size_t slots);
  void link(std::vector<BuildItem> items, int threads, const Progress& progress, Journal& journal);
  void unlink(std::span<const Slot> fresh, const Before& before, const Journal& journal);
  void drop_item(Slot slot);
  // maintain.cpp
  void maintain(std::size_t changes, int threads);
  std::vector<Slot> living_nodes() const;
  void retrain(std::span<const Slot> fresh, int threads);
  void consolidate(int threads);
  void rebuild_upper(int threads);
  void refresh_codes(int threads);
  void probe_sample(std::size_t changes, int threads);
  Grower::Publish publisher();
  // filter_indexes.cpp
  void note_change(FilterIndex& index, Slot slot);
  void mend_filter_indexes(int threads);
  std::unique_ptr<FilterIndex> renewed(const std::string& name, const HnswState& state, int threads) const;
  // filter_lists.cpp
  bool finds_apart() const;
  bool by_lists(const QueryView& query, std::size_t k, const Effort& effort, const Bitset& passing,
                const Planner* planner, PlanReport& report, Scratch& s) const;
  void enlist(std::span<const std::int64_t> ids, std::span<const std::uint32_t> homes);
  void mend_filter_lists(std::size_t changes, int threads);
  HnswState::ListEfforts learn_list_efforts(const FilterLists& lists, int threads) const;
  // repair.cpp
  std::vector<Neighbourhood> neighbourhoods(const VectorBlock& queries, std::size_t k, int threads,
                                            const Progress& progress) const;
  auto content_hash() const {
    return [this](Slot slot) { return state_->content_hash(slot); };
  }

  HnswParams params_;
  MakeFilterLists make_lists_;
  std::unique_ptr<HnswState> state_;
  // The writer's own: nodes by content, made at the first insertion into a built graph; empty until then.
  SlotHash content_;
  std::atomic<std::size_t> content_bytes_{0};  ///< its size, for readers
  bool content_known_ = false;
  std::size_t changes_since_listed_ = 0;  ///< since the lists for filters were made
  std::size_t changes_since_mended_ = 0;  ///< since the upper layers were built as a whole and all nodes connected
  std::uint64_t probes_ = 0;              ///< slots drawn by probe_sample() so far
};

}  // namespace annlib
