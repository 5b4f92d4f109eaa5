#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "graph/beam_search.h"
#include "hnsw/hnsw_index.h"
#include "posting/posting_lists.h"

namespace annlib {

/// Finds the lists whose centroids are nearest to a query, by the index's metric but squared distance under cosine: up to
/// kScanned of them by a scan of one bit a dimension of each, which no graph is as fast as, and more by a graph.
///
/// const members may be called from any thread while nothing changes.
class CentroidIndex {
 public:
  static constexpr std::size_t kScanned = 16384;

  /// Of lists over the table's vectors.
  explicit CentroidIndex(const Table& table) : table_(&table), codes_(table.dim(), table.metric()) {}

  /// Learns all of `lists` that are not empty.
  void build(const PostingLists& lists, int threads);
  /// For lists that have become empty, and others that are no longer. `threads` as elsewhere.
  void add(const PostingLists& lists, std::uint32_t list);
  void remove(std::uint32_t list);
  std::size_t count() const { return graph_ ? graph_->size() : codes_.count() == 0 ? 0 : codes_.size(0); }

  /// The n nearest lists (fewer if there are fewer), nearest first, into s.found. `row` is the query as lists see it and
  /// `tables` it prepared for their codes.
  void search(const PostingLists& lists, const float* row, const simd::BlockQuery& tables, std::size_t n,
              Scratch& s) const;

  std::size_t memory_bytes() const { return codes_.memory_bytes() + (graph_ ? graph_->memory_bytes() : 0); }

 private:
  Scan exact(const PostingLists& lists, const float* row) const;

  const Table* table_;
  PostingLists codes_;  ///< one list, around the mean of the centroids, of the numbers of lists
  std::unique_ptr<HnswIndex> graph_;
};

}  // namespace annlib
