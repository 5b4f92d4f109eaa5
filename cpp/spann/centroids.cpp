#include "spann/centroids.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "hnsw/hnsw_index.h"
#include "posting/posting_lists.h"

namespace annlib {
namespace {

// Centres around a centre, among which those of its rows are looked for, and the rounds of that.
constexpr std::size_t kAround = 48;
constexpr int kRefinements = 3;
// Of the price that a second list pays for showing the same side of a vector as the first.
constexpr float kSameSide = 1.0f;

// The centres around each centre, as an HNSW index finds them.
CentroidGraph centroid_graph(const Array<float>& centroids, std::uint32_t dim, int threads) {
  const std::size_t n = centroids.size() / dim;
  HnswParams params;
  params.dim = dim;
  params.ef_construction = 100;
  HnswIndex index(params);
  std::vector<std::int64_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), 0);
  index.add({centroids.data(), DType::f32, n, dim}, numbers, OnConflict::raise, threads, {});
  CentroidGraph graph;
  graph.width = std::min(kAround, n);
  graph.near.resize(n * graph.width);
  std::vector<std::int64_t> ids(n * graph.width), counts(n);
  std::vector<float> distances(n * graph.width);
  SearchRequest request;
  request.k = graph.width;
  request.ef = 2 * graph.width;
  request.threads = threads;
  index.search({centroids.data(), DType::f32, n, dim}, request, {ids.data(), distances.data(), counts.data()});
  for (std::size_t i = 0; i < n; ++i) {
    NearCentroid* near = graph.near.data() + i * graph.width;
    const auto self = static_cast<std::uint32_t>(i);
    std::size_t kept = 0;
    near[kept++] = {0, self};
    for (std::size_t j = 0; j < graph.width && kept < graph.width; ++j) {
      const auto other = static_cast<std::uint32_t>(ids[i * graph.width + j]);
      if (other != self) near[kept++] = {distances[i * graph.width + j], other};
    }
  }
  return graph;
}

}  // namespace

Clusters find_centroids(const RowMatrix& sample, const ClusterOptions& options, CentroidGraph& graph,
                        const std::function<void()>& clustered) {
  Clusters clusters = balanced_clusters(sample, options);
  clustered();
  const auto around = [&](const Array<float>& centroids) {
    return centroid_graph(centroids, sample.dim, options.threads);
  };
  refine(sample, clusters, around, kRefinements, options.threads);
  graph = around(clusters.centroids);
  return clusters;
}

void choose_homes(std::span<const NearCentroid> near, const Array<float>& centroids, std::uint32_t dim,
                  std::span<std::uint32_t> homes) {
  std::fill(homes.begin(), homes.end(), kNoList);
  const CentroidDistances distances(centroids.data(), dim);
  std::vector<float> cost(near.size());
  for (std::size_t i = 0; i < near.size(); ++i) cost[i] = near[i].distance;
  for (std::uint32_t& home : homes) {
    const auto best = std::min_element(cost.begin(), cost.end());
    // One list there must be, even of a vector so long that no distance of it fits a float.
    if (&home != &homes.front() && !std::isfinite(*best)) return;
    const NearCentroid chosen = near[static_cast<std::size_t>(best - cost.begin())];
    home = chosen.centroid;
    *best = std::numeric_limits<float>::infinity();
    if (&home == &homes.back()) return;
    for (std::size_t i = 0; i < near.size(); ++i) {
      if (!std::isfinite(cost[i])) continue;
      float apart;
      distances.some(centroids.data() + std::size_t{chosen.centroid} * dim, &near[i].centroid, 1, &apart);
      // <x - c, x - h> by the lengths of the three sides
      const float along = 0.5f * (near[i].distance + chosen.distance - apart);
      if (chosen.distance > 0) cost[i] += kSameSide * along * along / chosen.distance;
    }
  }
}

}  // namespace annlib
