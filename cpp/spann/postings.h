#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "codec/space.h"
#include "hnsw/filter_lists.h"
#include "posting/posting_lists.h"
#include "spann/centroid_index.h"
#include "spann/centroids.h"
#include "spann/spread.h"
#include "table/table.h"

namespace annlib {

/// The rows of a table in posting lists around centroids (Chen et al., SPANN, NeurIPS 2021, arXiv 2111.08566): which
/// lists a row stands in, and how a query finds its nearest by them. Lists hold one bit a dimension of each vector;
/// what seems near by them is ranked by the stored vectors.
///
/// const members may be called from any thread while nothing changes.
struct Postings final : FilterLists {
  /// How many reaches are learnt: those of 1, 2, 4 ... lists.
  static constexpr std::size_t kReaches = 13;

  /// `list_size` vectors a list, about, before replicas: the lists that a row stands in.
  Postings(const Table& table, std::uint32_t list_size, std::uint32_t replicas, std::uint64_t seed);

  const Table& table;
  StoredSpace stored{table};
  PostingLists lists{table.dim(), table.metric()};
  CentroidIndex centroids{table};
  /// The lists of each slot, kNoList for those it has not: replicas a slot.
  Array<std::uint32_t> homes;
  std::uint32_t list_size, replicas;
  std::uint64_t seed;
  std::size_t clustered = 0;  ///< rows when the lists were made
  /// reach[i]: by how much the 2^i-th nearest centroid is farther than the tenth nearest vector, for a typical query;
  /// under ip one of length 1.
  std::vector<float> reach;
  Spread spread;  ///< not under ip
  /// Typical error of an estimate, in widths of its list times the length of what the query differs in.
  float error = 0;

  std::span<std::uint32_t> homes_of(Slot slot) { return {homes.data() + std::size_t{slot} * replicas, replicas}; }

  // A build is make_lists() and then fill(), or both of them. (postings_build.cpp)

  /// Makes empty lists for n rows that come in a random order, load(i, out) giving the i-th as lists see it, and
  /// returns the lists that each is to stand in, replicas a row. report(thirds) tells how much of it is done.
  std::vector<std::uint32_t> make_lists(std::size_t n, const std::function<void(std::size_t, float*)>& load,
                                        int threads, const std::function<void(std::size_t)>& report);
  /// Puts slots into the lists that `homes` names, and learns from them as queries.
  void fill(std::span<const Slot> slots, int threads);
  void build(std::span<const Slot> slots, int threads) override;

  // Changes. (postings.cpp)

  std::vector<std::uint32_t> homes_for(std::span<const Slot> slots, int threads) const override;
  void settle(std::span<const Slot> slots, std::span<const std::uint32_t> chosen) override;
  void leave_lists(Slot slot) override;
  /// Vectors of a list that is split, and of those around it, go to whichever are nearest then (Xu et al., SPFresh,
  /// section 4.1: reassignment).
  void maintain(int threads, FairSharedMutex& lock) override;

  // Searches. (postings_search.cpp)

  bool probe(const QueryView& query, const ProbeRequest& request, Scratch& s) const override;
  void leave_out_near(const QueryView& query, double share, Scratch& s, Bitset& rows) const override;
  const Course& course() const override;

  // Files. (postings_persist.cpp)

  std::size_t memory_bytes() const override;
  void append_sections(const std::string& prefix, storage::SectionList& sections) const override;
  void restore(const std::shared_ptr<const storage::Container>& file, const std::string& prefix) override;

 private:
  /// From stored vectors, which are the ones of `slots`: reach, spread and error. (postings_learn.cpp)
  void learn(std::span<const Slot> slots, int threads);
  void leave(std::uint32_t list, Slot slot);
  void dissolve(std::uint32_t list, int threads);
  void split(std::uint32_t list, int threads, FairSharedMutex& lock);
  void rank(const Scan& exact, std::size_t k, Scratch& s) const;
  Course measure() const;
  float radius_of(std::uint32_t list) const;

  bool spread_kept_ = true;  ///< in files
  mutable std::once_flag measured_;
  mutable Course course_;
};

/// Those of a graph index (hnsw/filter_lists.h).
std::unique_ptr<FilterLists> make_filter_lists(const Table& table, std::uint64_t seed);

}  // namespace annlib
