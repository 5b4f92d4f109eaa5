#include <algorithm>
#include <mutex>
#include <string>

#include "core/error.h"
#include "graph/connect.h"
#include "hnsw/hnsw_index.h"

namespace annlib {
namespace {

// Queries whose exact neighbours are found between two reports of progress.
constexpr std::size_t kQueriesAtOnce = 256;

}  // namespace

// A node stands for all items that equal it, so there may be fewer than k.
std::vector<Neighbourhood> HnswIndex::neighbourhoods(const VectorBlock& queries, std::size_t k, int threads,
                                                     const Progress& progress) const {
  std::vector<Neighbourhood> found(queries.count);
  std::vector<std::int64_t> ids(kQueriesAtOnce * k), counts(kQueriesAtOnce);
  std::vector<float> distances(ids.size());
  SearchRequest request;
  request.k = k;
  request.threads = threads;
  request.plan = Plan::exact;
  for (std::size_t first = 0; first < queries.count; first += kQueriesAtOnce) {
    const std::size_t n = std::min(kQueriesAtOnce, queries.count - first);
    search({queries.row(first), queries.dtype, n, queries.dim}, request, {ids.data(), distances.data(), counts.data()});
    for (std::size_t i = 0; i < n; ++i) {
      Neighbourhood& nodes = found[first + i];
      for (std::int64_t j = 0; j < counts[i]; ++j) {
        const std::int64_t id = ids[i * k + static_cast<std::size_t>(j)];
        const Slot node = state_->twins.node_of(state_->table.find(id));
        if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
      }
    }
    if (progress) progress(first + n, 2 * queries.count);
  }
  return found;
}

RepairCounts HnswIndex::repair(const VectorBlock& queries, std::size_t k, int threads, const Progress& progress) {
  if (k < 2 || k > kNeighbourhood) {
    throw ValueError("k must be between 2 and " + std::to_string(kNeighbourhood) + ", got " + std::to_string(k));
  }
  std::lock_guard writer(writer_);
  HnswState& state = *state_;
  const std::vector<Neighbourhood> found = neighbourhoods(queries, k, threads, progress);
  Journal journal;
  GrowOptions options = grow_options(params_, state.links(), threads);
  options.journal = &journal;
  std::size_t done = queries.count;
  try {
    const RepairCounts counts = annlib::repair(state.graph, found, options, publisher(), [&](std::size_t more) {
      done += more;
      if (progress) progress(done, 2 * queries.count);
    });
    connect(state.graph, state.nodes, state.links(), params_.ef_construction, publisher(), &journal);
    refresh_codes(threads);
    return counts;
  } catch (...) {
    {
      std::lock_guard writing(lock_);
      journal.undo(state.graph);
    }
    refresh_codes(threads);
    throw;
  }
}

}  // namespace annlib
