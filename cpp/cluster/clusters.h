#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "simd/simd.h"

namespace annlib {

/// Vectors to be clustered: n rows of `dim` floats, one behind the other; distances between them are squared Euclidean.
struct RowMatrix {
  const float* data = nullptr;
  std::size_t count = 0;
  std::uint32_t dim = 0;

  const float* row(std::size_t i) const { return data + i * dim; }
};

struct ClusterOptions {
  std::size_t size = 64;  ///< rows of a cluster, about
  std::uint64_t seed = 0;
  int threads = 0;
};

/// Centres, and for each row the one that it belongs to.
struct Clusters {
  Array<float> centroids;  ///< count() x dim
  std::vector<std::uint32_t> homes;
};

/// Clusters of `rows`, none of which has many more than options.size: k-means from the top down, each cluster into at
/// most 32, where a cluster costs a row the more the more rows it has (Chen et al., SPANN, NeurIPS 2021,
/// arXiv 2111.08566, section 3.2.1, after Liu et al., "Fast clustering with flexible balance constraints", IEEE Big
/// Data 2018). The price is raised while the largest is far from the mean and lowered otherwise. `rows` are at least
/// one. A function of the rows, in their order, and of the seed alone.
Clusters balanced_clusters(const RowMatrix& rows, const ClusterOptions& options);

/// Squared distances from a row of `dim` floats to centres.
class CentroidDistances {
 public:
  CentroidDistances(const float* centroids, std::uint32_t dim)
      : scorer_(simd::kernels().scorer(simd::Op::l2, simd::Pair::f32_f32, simd::Tail::none)) {
    rows_.data = reinterpret_cast<const std::byte*>(centroids);
    rows_.stride = dim * sizeof(float);
    rows_.dim = dim;
  }
  /// To the first n.
  void all(const float* row, std::size_t n, float* out) const { scorer_.range(query(row), rows_, 0, n, out); }
  void some(const float* row, const std::uint32_t* which, std::size_t n, float* out) const {
    scorer_.ids(query(row), rows_, which, n, out);
  }

 private:
  static simd::Query query(const float* row) {
    simd::Query query;
    query.data = row;
    return query;
  }

  simd::Scorer scorer_;
  simd::Rows rows_;
};

/// A centre and how far it is.
struct NearCentroid {
  float distance = 0;  ///< squared
  std::uint32_t centroid = 0;
  friend auto operator<=>(const NearCentroid&, const NearCentroid&) = default;
};

/// For each centre the numbers of those nearest to it, itself the first, `width` of them (fewer where there are fewer).
struct CentroidGraph {
  std::size_t width = 0;
  std::vector<std::uint32_t> near;

  std::span<const std::uint32_t> of(std::uint32_t centroid) const { return {near.data() + centroid * width, width}; }
};

/// Moves centres to the means of the rows that are nearest to them, `rounds` times. A row finds its centre on a walk
/// over the graph, from the one that it had to ever nearer ones, and misses what the graph no longer
/// shows when they have moved far.
void refine(const RowMatrix& rows, Clusters& clusters, const CentroidGraph& graph, int rounds, int threads);

}  // namespace annlib
