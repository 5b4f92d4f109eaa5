#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "index/index.h"
#include "index/row_source.h"
#include "spann/postings.h"

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

/// All that a SPANN index holds, as one thing that can be built beside another and take its place.
struct SpannState {
  explicit SpannState(const SpannParams& params)
      : table(params.dim, params.dtype, params.metric),
        postings(table, params.list_size, params.replicas, params.seed) {}

  Table table;
  Postings postings;
  mutable std::once_flag costs_measured;
  mutable PlanCosts costs;
};

/// Posting lists in memory (postings.h). Thread safety and errors as Index has them.
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
  std::size_t other_memory_bytes() const override { return state_->postings.memory_bytes(); }

 private:
  // search.cpp
  PlanCosts plan_costs() const;
  PlanCosts measure_costs() const;
  // write.cpp
  void rebuild_with(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
                    const Progress& progress);
  void take_out(Slot slot);
  void maintain(std::size_t changes, int threads);

  SpannParams params_;
  std::unique_ptr<SpannState> state_;
  std::size_t changes_ = 0;  ///< since the lists were made
};

/// Builds from nothing. The result, arrivals aside, is a function of the set of (id, vector) and the parameters.
std::unique_ptr<SpannState> build_spann(const SpannParams& params, const RowSource& source, int threads,
                                        const Progress& progress);

}  // namespace annlib
