#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "cluster/clusters.h"
#include "index/index.h"
#include "index/row_source.h"
#include "posting/posting_lists.h"
#include "spann/centroid_index.h"
#include "spann/centroids.h"

namespace annlib {

/// What posting lists are made with. Together with the set of (id, vector) these determine the index.
struct SpannParams {
  std::uint32_t dim = 0;
  DType dtype = DType::f32;
  Metric metric = Metric::l2;
  std::uint32_t list_size = 128;  ///< vectors of a list, about, before replicas
  std::uint32_t replicas = 2;     ///< lists that a vector stands in
  std::uint64_t seed = 0;

  static constexpr std::uint32_t kMostListSize = 1u << 20;
  static constexpr std::uint32_t kMostReplicas = 8;
  std::uint64_t rank(std::int64_t id) const { return random64(seed, 1, static_cast<std::uint64_t>(id)); }
};

/// How many times as far as the k-th nearest found the centroid of the last of about n lists is, by SpannState::reach.
float reach_of(std::span<const float> reach, double lists);

/// All that a SPANN index holds, as one thing that can be built beside another and take its place.
struct SpannState {
  /// How many reaches are learnt: those of 1, 2, 4 ... lists.
  static constexpr std::size_t kReaches = 13;

  explicit SpannState(const SpannParams& params);

  Table table;
  StoredSpace stored{table};
  PostingLists lists{table.dim(), table.metric()};
  CentroidIndex centroids{table};
  /// The lists of each slot, kNoList for those it has not: replicas a slot.
  Array<std::uint32_t> homes;
  std::uint32_t replicas;
  std::uint64_t seed;
  std::size_t clustered = 0;  ///< items when the lists were made
  /// reach[i]: by how much the 2^i-th nearest centroid is farther than the tenth nearest vector, for a typical query.
  std::vector<float> reach;
  /// Typical error of an estimate, in widths of its list times the length of what the query differs in.
  float error = 0;
  mutable std::once_flag costs_measured;
  mutable PlanCosts costs;

  std::span<std::uint32_t> homes_of(Slot slot) { return {homes.data() + std::size_t{slot} * replicas, replicas}; }
  std::size_t memory_bytes() const;
  void learn(int threads);
  /// The n nearest lists to a row by squared distance.
  void near_lists(const float* row, std::size_t n, Scratch& s, std::vector<NearCentroid>& near) const;
  /// The lists that slots are to stand in, replicas each.
  std::vector<std::uint32_t> homes_for(std::span<const Slot> slots, int threads) const;
  /// Puts slots into these lists and takes them out of all others.
  void settle(std::span<const Slot> slots, std::span<const std::uint32_t> chosen);
  void leave_lists(Slot slot);
  /// Gives a list up; its vectors go to others.
  void dissolve(std::uint32_t list, int threads);
  /// Makes several lists of one, in a moment under `lock`; vectors of it and of the lists around go to whichever lists
  /// are nearest then (Xu et al., SPFresh, section 4.1: reassignment).
  void split(std::uint32_t list, int threads, FairSharedMutex& lock);

 private:
  void leave(std::uint32_t list, Slot slot);
};

/// Posting lists around centroids (Chen et al., SPANN, NeurIPS 2021, arXiv 2111.08566), in memory: lists hold one bit a
/// dimension of each vector, what seems near by them is ranked by the stored vectors. Thread safety and errors as Index
/// has them.
///
/// An add that at least doubles the index, or changes that add up to half of it, make the lists anew; smaller ones
/// append to those there are, and lists that grow too long are split as SPFresh does it (Xu et al., SOSP 2023,
/// arXiv 2410.14452).
class SpannIndex final : public Index {
 public:
  /// ValueError for parameters out of range.
  explicit SpannIndex(const SpannParams& params);

  const SpannParams& params() const { return params_; }

  struct Counts {
    std::size_t lists = 0, postings = 0, shortest = 0, longest = 0;
    std::size_t list_bytes = 0, centroid_bytes = 0;
    double median = 0;
  };
  Counts counts() const;

  /// CorruptError for whatever in the file does not fit together.
  static std::unique_ptr<SpannIndex> open(const std::shared_ptr<const storage::Container>& file);

 protected:
  const Table& table() const override { return state_->table; }
  Table& table() override { return state_->table; }
  const CodeSpace* codes() const override { return nullptr; }
  void insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
              const Progress& progress) override;
  void erase(std::span<const Slot> slots, int threads) override;
  void rebuild(int threads, const Progress& progress) override;
  bool search_one(const QueryView& query, const SearchRequest& request, const Passing& filter, std::size_t together,
                  Scratch& s, PlanReport& report) const override;
  ScanSpaces scan_spaces(const SearchRequest& request, const SlotSet* passing) const override;
  void radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                  std::size_t matches, Scratch& s) const override;
  std::string kind() const override { return "spann"; }
  void append_sections(storage::SectionList& sections) const override;
  std::size_t other_memory_bytes() const override { return state_->memory_bytes(); }

 private:
  // search.cpp
  PlanCosts plan_costs() const;
  PlanCosts measure_costs() const;
  template <class Accept, class Patience>
  bool probe(const QueryView& query, std::size_t k, std::size_t wanted, bool filtered, const Accept& accept,
             const Patience& patience, Scratch& s) const;
  void settle(const Scan& exact, std::size_t k, Scratch& s) const;
  // write.cpp
  void rebuild_with(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
                    const Progress& progress);
  void take_out(Slot slot);
  void maintain(std::size_t changes, int threads);
  // persist.cpp
  void restore(const std::shared_ptr<const storage::Container>& file);

  SpannParams params_;
  std::unique_ptr<SpannState> state_;
  std::size_t changes_ = 0;  ///< since the lists were made
};

/// Builds from nothing. The result, arrivals aside, is a function of the set of (id, vector) and the parameters.
std::unique_ptr<SpannState> build_spann(const SpannParams& params, const RowSource& source, int threads,
                                        const Progress& progress);

}  // namespace annlib
