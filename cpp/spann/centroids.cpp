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

// Centres around a centre, among which those of its rows are looked for.
constexpr std::size_t kAround = 48;
// Rounds of that with one graph of centres. The first moves them so far that it has to be made anew.
constexpr int kRefinements[] = {1, 2};
// Centres whose neighbours are looked for together.
constexpr std::size_t kSearched = 4096;
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
  graph.near.reserve(n * graph.width);
  std::vector<std::int64_t> ids(kSearched * graph.width), counts(kSearched);
  std::vector<float> distances(kSearched * graph.width);
  SearchRequest request;
  request.k = graph.width;
  request.ef = 2 * graph.width;
  request.threads = threads;
  for (std::size_t first = 0; first < n; first += kSearched) {
    const std::size_t count = std::min(kSearched, n - first);
    index.search({centroids.data() + first * dim, DType::f32, count, dim}, request,
                 {ids.data(), distances.data(), counts.data()});
    for (std::size_t i = 0; i < count; ++i) {
      const auto self = static_cast<std::uint32_t>(first + i);
      graph.near.push_back(self);
      const std::size_t end = (first + i + 1) * graph.width;
      for (std::int64_t j = 0; j < counts[i] && graph.near.size() < end; ++j) {
        const auto other = static_cast<std::uint32_t>(ids[i * graph.width + static_cast<std::size_t>(j)]);
        if (other != self) graph.near.push_back(other);
      }
      graph.near.resize(end, self);
    }
  }
  return graph;
}

}  // namespace

Array<float> find_centroids(const RowMatrix& sample, const ClusterOptions& options,
                            const std::function<void()>& clustered) {
  Clusters clusters = balanced_clusters(sample, options);
  clustered();
  for (int rounds : kRefinements) {
    const CentroidGraph graph = centroid_graph(clusters.centroids, sample.dim, options.threads);
    refine(sample, clusters, graph, rounds, options.threads);
  }
  return std::move(clusters.centroids);
}

void choose_homes(std::span<const NearCentroid> near, const Array<float>& centroids, std::uint32_t dim,
                  std::span<std::uint32_t> homes) {
  std::fill(homes.begin(), homes.end(), kNoList);
  const CentroidDistances distances(centroids.data(), dim);
  std::vector<float> cost(near.size()), apart(near.size());
  std::vector<std::uint32_t> numbers(near.size());
  for (std::size_t i = 0; i < near.size(); ++i) {
    cost[i] = near[i].distance;
    numbers[i] = near[i].centroid;
  }
  for (std::uint32_t& home : homes) {
    const auto best = std::min_element(cost.begin(), cost.end());
    // One list there must be, even of a vector so long that no distance of it fits a float.
    if (&home != &homes.front() && !std::isfinite(*best)) return;
    const NearCentroid chosen = near[static_cast<std::size_t>(best - cost.begin())];
    home = chosen.centroid;
    *best = std::numeric_limits<float>::infinity();
    if (&home == &homes.back() || !(chosen.distance > 0)) continue;
    distances.some(centroids.data() + std::size_t{chosen.centroid} * dim, numbers.data(), numbers.size(), apart.data());
    for (std::size_t i = 0; i < near.size(); ++i) {
      // <x - c, x - h> by the lengths of the three sides
      const float along = 0.5f * (near[i].distance + chosen.distance - apart[i]);
      cost[i] += kSameSide * along * along / chosen.distance;
    }
  }
}

}  // namespace annlib
