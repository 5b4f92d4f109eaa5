#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "codec/space.h"
#include "core/bitset.h"
#include "core/candidate.h"
#include "core/prefetch.h"
#include "core/types.h"
#include "graph/frontier.h"
#include "graph/layer.h"
#include "graph/pool.h"
#include "graph/visited.h"

namespace annlib {

/// What a search cost.
struct SearchCost {
  std::uint64_t distances = 0;                              ///< distances computed on the walk
  std::uint64_t hops = 0;                                   ///< nodes expanded
  std::uint64_t reranked = 0;                               ///< exact distances computed afterwards
  std::uint64_t estimates = 0;                              ///< neighbours scored by their codes
  std::uint64_t reads = 0, bytes_read = 0, cache_hits = 0;  ///< of an index on disk: blocks of files
  SearchCost& operator+=(const SearchCost& other) {
    distances += other.distances;
    hops += other.hops;
    reranked += other.reranked;
    estimates += other.estimates;
    reads += other.reads;
    bytes_read += other.bytes_read;
    cache_hits += other.cache_hits;
    return *this;
  }
};

/// One of the queries that a scan answers together.
struct ScannedQuery {
  QueryBuffer query, row;
  Scan first, exact;               ///< what all rows are scored by; what results are, where that is another
  std::vector<Candidate> waiting;  ///< by codes, near enough for their exact distances
  float limit = 0;                 ///< of codes: none of what lies beyond is a result
  TopK nearest;
  SearchCost cost;
};

/// Everything one search writes to; pooled and reused, so that a query allocates nothing.
struct Scratch {
  Pool pool;
  Visited visited;
  QueryBuffer query, row, tables, codes;
  std::vector<Slot> slots;  ///< what is about to be scored
  std::vector<Slot> rows;   ///< of MemberScan and of scans: whose rows are scored
  std::vector<float> distances;
  Frontier frontier;
  std::vector<float> least;         ///< of KthDistance
  Bitset passing;                   ///< of MarkedSlots
  std::vector<Slot> seeds;          ///< where a walk begins besides
  std::vector<Candidate> expanded;  ///< by walk_codes(): the nodes whose distances it knows
  std::vector<Candidate> found;
  TopK nearest, lists;  ///< items, and posting lists to look for them in
  SearchCost cost;
  std::vector<ScannedQuery> scanned;  ///< of a scan for several queries, and what its kernel takes and gives
  std::vector<simd::Query> queries;
  std::vector<float> limits, scores;
  std::vector<std::uint32_t> near;

  void need(std::size_t n) {
    if (slots.size() < n) {
      slots.resize(n);
      distances.resize(n);
    }
  }
};

__attribute__((always_inline)) inline void prefetch_links(const Layer& layer, Slot slot) {
  prefetch(layer.links(slot), layer.width * sizeof(Slot));
}

struct AcceptAll {
  bool operator()(Slot) const { return true; }
};

/// Begins a search of a layer at `start`: pool and visited must be fresh.
template <class Scorer, class Accept>
void enter(const Scorer& scan, Slot start, const Accept& accept, Scratch& s) {
  if (!s.visited.insert(start)) return;
  float distance;
  scan.score(&start, 1, &distance);
  ++s.cost.distances;
  const Candidate c(distance, start, accept(start));
  if (s.pool.admits(c)) s.pool.insert(c);
}

/// Expands a node by scoring those of its neighbours that were not seen before. `accept(slot)` tells whether a node may
/// be a result; nodes that may not are walked over. A Scorer is a Scan, or scores as one.
template <class Accept, class Scorer = Scan>
class ScoreLinks {
 public:
  ScoreLinks(const Layer& layer, const Scorer& scan, const Accept& accept)
      : layer_(layer), scan_(scan), accept_(accept) {}

  void operator()(Candidate node, Scratch& s) const {
    const Slot* links = layer_.links(node.slot());
    Slot* fresh = s.slots.data();
    float* distances = s.distances.data();
    std::size_t n = 0;
    for (std::uint32_t i = 0; i < layer_.width && links[i] != kNoSlot; ++i) {
      fresh[n] = links[i];
      n += s.visited.insert(links[i]);
    }
    if (s.pool.has_next()) prefetch_links(layer_, s.pool.peek().slot());
    scan_.score(fresh, n, distances);
    s.cost.distances += n;
    ++s.cost.hops;
    for (std::size_t i = 0; i < n; ++i) {
      if (!s.pool.admits(Candidate(distances[i], fresh[i]))) continue;
      if (s.pool.insert(Candidate(distances[i], fresh[i], accept_(fresh[i])))) prefetch_links(layer_, fresh[i]);
    }
  }

 private:
  const Layer& layer_;
  const Scorer& scan_;
  const Accept& accept_;
};

/// A walk that nothing breaks off.
struct ToTheEnd {
  bool goes_on(std::size_t, std::size_t) const { return true; }
  bool looks_around(std::size_t) const { return false; }
  void saw(std::uint32_t, std::uint32_t) const {}
};

/// The one graph search: best-first from the candidates in s.pool until none of them is left to expand (Malkov &
/// Yashunin, arXiv 1603.09320, Algorithm 2). `expand(candidate, s)` puts what a node leads to into the pool.
/// `patience.goes_on(hops, passed)` is asked after each node, of which so many were expanded, and among them so many
/// that may be results. Returns false if that broke it off. A walk that comes by more than it scores tells
/// `patience.saw(seen, passing)` of that too, where `patience.looks_around(hops)`.
template <class Expand, class Patience>
bool beam_search(const Expand& expand, const Patience& patience, Scratch& s) {
  for (std::size_t hops = 1, passed = 0; s.pool.has_next(); ++hops) {
    const Candidate next = s.pool.pop();
    passed += next.passes();
    expand(next, s);
    if (!patience.goes_on(hops, passed)) return false;
  }
  return true;
}

/// The search that builds and mends a layer: by distances, all nodes accepted, to the end.
inline void beam_search(const Layer& layer, const Scan& scan, Scratch& s) {
  const AcceptAll all;
  s.need(layer.width);
  beam_search(ScoreLinks<AcceptAll>(layer, scan, all), ToTheEnd{}, s);
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
