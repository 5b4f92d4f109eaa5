#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec/space.h"
#include "core/candidate.h"
#include "core/types.h"
#include "graph/layer.h"
#include "graph/pool.h"
#include "graph/visited.h"

namespace annlib {

/// What a search cost.
struct SearchCost {
  std::uint64_t distances = 0;  ///< distances computed on the walk
  std::uint64_t hops = 0;       ///< nodes expanded
  std::uint64_t reranked = 0;   ///< exact distances computed afterwards
  SearchCost& operator+=(const SearchCost& other) {
    distances += other.distances;
    hops += other.hops;
    reranked += other.reranked;
    return *this;
  }
};

/// Everything one search writes to; pooled and reused, so that a query allocates nothing.
struct Scratch {
  Pool pool;
  Visited visited;
  QueryBuffer query, row;
  std::vector<Slot> slots;  ///< what is about to be scored
  std::vector<float> distances;
  std::vector<Candidate> found;
  TopK nearest;
  SearchCost cost;

  void need(std::size_t n) {
    if (slots.size() < n) {
      slots.resize(n);
      distances.resize(n);
    }
  }
};

inline void prefetch_links(const Layer& layer, Slot slot) {
  const auto* row = reinterpret_cast<const char*>(layer.links(slot));
  for (std::size_t byte = 0; byte < layer.width * sizeof(Slot); byte += 64) __builtin_prefetch(row + byte);
}

struct AcceptAll {
  bool operator()(Slot) const { return true; }
};

/// Begins a search of a layer at `start`: pool and visited must be fresh.
template <class Accept>
void enter(const Scan& scan, Slot start, const Accept& accept, Scratch& s) {
  if (!s.visited.insert(start)) return;
  float distance;
  scan.score(&start, 1, &distance);
  ++s.cost.distances;
  const Candidate c(distance, start, accept(start));
  if (s.pool.admits(c)) s.pool.insert(c);
}

/// The one graph search: best-first over a layer from the candidates in s.pool, until none of them is left to expand
/// (Malkov & Yashunin, arXiv 1603.09320, Algorithm 2). `accept(slot)` tells whether a node may be a result; nodes
/// that may not are walked over. Stops early, returning false, once `budget` distances were computed.
template <class Accept>
bool beam_search(const Layer& layer, const Scan& scan, const Accept& accept, std::uint64_t budget, Scratch& s) {
  s.need(layer.width);
  Slot* fresh = s.slots.data();
  float* distances = s.distances.data();
  while (s.pool.has_next()) {
    const Slot* links = layer.links(s.pool.pop().slot());
    std::size_t n = 0;
    for (std::uint32_t i = 0; i < layer.width && links[i] != kNoSlot; ++i) {
      fresh[n] = links[i];
      n += s.visited.insert(links[i]);
    }
    if (s.pool.has_next()) prefetch_links(layer, s.pool.peek().slot());
    scan.score(fresh, n, distances);
    s.cost.distances += n;
    ++s.cost.hops;
    for (std::size_t i = 0; i < n; ++i) {
      if (!s.pool.admits(Candidate(distances[i], fresh[i]))) continue;
      if (s.pool.insert(Candidate(distances[i], fresh[i], accept(fresh[i])))) prefetch_links(layer, fresh[i]);
    }
    if (s.cost.distances > budget) return false;
  }
  return true;
}

/// Walks downhill on a layer until no neighbour is nearer: the way through the upper layers. `distance` is that of
/// `from`, and then that of the slot returned.
inline Slot descend(const Layer& layer, const Scan& scan, Slot from, float& distance, Scratch& s) {
  s.need(layer.width);
  for (;;) {
    const Slot* links = layer.links(from);
    const std::uint32_t n = layer.degree(from);
    scan.score(links, n, s.distances.data());
    s.cost.distances += n;
    ++s.cost.hops;
    Slot best = from;
    for (std::uint32_t i = 0; i < n; ++i) {
      if (s.distances[i] < distance) {
        distance = s.distances[i];
        best = links[i];
      }
    }
    if (best == from) return from;
    from = best;
  }
}

}  // namespace annlib
