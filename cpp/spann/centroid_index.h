#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cluster/clusters.h"
#include "graph/beam_search.h"
#include "hnsw/hnsw_index.h"
#include "posting/posting_lists.h"

namespace annlib {

/// Finds the lists whose centroids are nearest to a query, by the index's metric but squared distance under cosine: up
/// to kScanned of them by a scan of one bit a dimension of each, relative to the middle of a group of them, which no
/// graph is as fast as; more by a graph.
///
/// const members may be called from any thread while nothing changes.
class CentroidIndex {
 public:
  static constexpr std::size_t kScanned = 16384;

  /// Of lists over the table's vectors.
  explicit CentroidIndex(const Table& table) : table_(&table), groups_(table.dim(), table.metric()) {}

  /// Learns those of `lists` that are not empty, or these.
  void build(const PostingLists& lists, int threads);
  void build(const PostingLists& lists, std::span<const std::uint32_t> numbers, int threads);
  /// A list that has got its first items, or lies around another centroid; and one that has no items any more.
  void add(const PostingLists& lists, std::uint32_t list);
  void remove(std::uint32_t list);
  std::size_t count() const { return count_; }

  /// The n nearest lists (fewer if there are fewer), nearest first, into s.found. `row` is the query as lists see it
  /// and `tables` it prepared for their codes.
  void search(const PostingLists& lists, const float* row, const simd::BlockQuery& tables, std::size_t n,
              Scratch& s) const;
  /// The same by squared distance whatever the metric, into `near`: lists are what lies together. Under ip, where
  /// what is nearest is something else, all are compared.
  void search_squared(const PostingLists& lists, const float* row, std::size_t n, Scratch& s,
                      std::vector<NearCentroid>& near) const;
  /// These lists, nearest first, into s.found.
  void rank(const PostingLists& lists, const float* row, std::span<const std::uint32_t> numbers, Scratch& s) const;

  std::size_t memory_bytes() const {
    return groups_.memory_bytes() + group_.size() * sizeof(std::uint32_t) + (graph_ ? graph_->memory_bytes() : 0);
  }

 private:
  /// Calls visit(list) for those that there are.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::uint32_t list = 0; list < group_.size(); ++list) {
      if (group_[list] != kNoList) visit(list);
    }
  }
  Scan exact(const PostingLists& lists, const float* row) const;
  void put(std::uint32_t list, const float* centroid);

  const Table* table_;
  PostingLists groups_;               ///< of centroids: what they hold are the numbers of lists
  std::vector<std::uint32_t> group_;  ///< of each list; kNoList for none, 0 where there is a graph
  std::size_t count_ = 0;             ///< lists that there are
  std::unique_ptr<HnswIndex> graph_;
};

}  // namespace annlib
