#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "codec/neighbour_codes.h"
#include "graph/beam_search.h"

namespace annlib {

/// When a walk over codes ends: with the k-th nearest distance found so far at d, once no estimate is below
/// times * (d - origin) + origin + plus, and not before `least` nodes that pass were expanded. The larger, the more is
/// found. With `most` of them it ends in any case.
struct Reach {
  float times = 1.0f, plus = 0.0f;
  std::size_t least = 0, most = std::numeric_limits<std::size_t>::max();
  float origin = 0.0f;  ///< the least distance there can be

  /// By codes a distance may come out below that, of which a multiple would be the nearer the larger the factor.
  float bound(float kth) const { return (kth > origin ? (kth - origin) * times + origin : kth) + plus; }
};

/// How much of the difference between the efforts among a quarter and among all it takes where `share` passes.
inline float breadth(float share) {
  constexpr float kNarrow = 0.25f;
  return std::clamp((share - kNarrow) / (1.0f - kNarrow), 0.0f, 1.0f);
}

/// The reach of a walk under a filter. The more failing nodes a walk passes over, the more of what is near it comes by,
/// and the less far it has to go beyond the k-th for the same recall: `narrow` is enough where a random quarter passes
/// or less, `wide` where all does. What counts is how many pass around the query, which the walk finds out; and how
/// many do of all, for where these lie apart from the query, few are come by however many fail.
class LocalReach {
 public:
  LocalReach(const Reach& wide, const Reach& narrow, float share) : wide_(wide), narrow_(narrow), share_(share) {}

  Reach at(std::size_t passed, std::size_t expanded) const {
    const float part = breadth(std::max(share_, static_cast<float>(passed) / static_cast<float>(expanded)));
    const auto mix = [part](auto narrow, auto wide) {
      return static_cast<float>(narrow) + part * (static_cast<float>(wide) - static_cast<float>(narrow));
    };
    return {mix(narrow_.times, wide_.times), mix(narrow_.plus, wide_.plus),
            static_cast<std::size_t>(mix(narrow_.least, wide_.least)), wide_.most, wide_.origin};
  }
  std::size_t most() const { return wide_.most; }

 private:
  Reach wide_, narrow_;
  float share_;
};

/// The k least of the distances seen so far.
class KthDistance {
 public:
  KthDistance(std::size_t k, std::vector<float>& memory) : k_(k), least_(memory) { least_.clear(); }
  void push(float distance) {
    if (least_.size() == k_) {
      if (!(distance < least_.back())) return;
      least_.pop_back();
    }
    least_.insert(std::upper_bound(least_.begin(), least_.end(), distance), distance);
  }
  /// Infinity until there are k.
  float value() const { return least_.size() < k_ ? std::numeric_limits<float>::infinity() : least_.back(); }

 private:
  std::size_t k_;
  std::vector<float>& least_;  // ascending
};

/// Best-first search of a layer that has codes (Gou et al., SymphonyQG, SIGMOD 2025, section 3.2): a node that is
/// expanded gets its own distance computed, and its codes give estimates for all its neighbours at once. A neighbour
/// comes up once for each node that leads to it, and the least of its estimates decides. Unlike there, the walk does
/// not end with the ef-th estimate but at a reach beyond the k-th distance: hard queries then walk on longer than easy
/// ones, which at equal mean recall takes a tenth to a fifth fewer steps.
///
/// The walk begins at `start`, and goes on to s.seeds where these are near enough.
/// Leaves the nodes expanded, with their distances and whether they pass, in s.expanded. s.visited must be fresh.
/// `patience` as in beam_search().
template <class Accept, class Patience>
bool walk_codes(const Layer& layer, const NeighbourCodes& codes, const NeighbourCodes::Query& query, const Scan& scan,
                Slot start, std::size_t k, const LocalReach& local, const Accept& accept, const Patience& patience,
                Scratch& s) {
  const simd::ScanBlock scan_block = simd::kernels().scan_block;
  const auto offer = [&](float estimate, Slot slot) {
    if (!s.visited.contains(slot)) s.frontier.push(estimate, slot);
  };
  KthDistance kth(k, s.least);
  s.need(layer.width);
  float bound = std::numeric_limits<float>::infinity();
  s.expanded.clear();
  s.frontier.clear();
  // The next node to be expanded is chosen before the one at hand is: that gives its row time to arrive, which is worth
  // more than the few steps that a choice with one step's less knowledge adds.
  const auto take = [&] {
    while (!s.frontier.empty() && s.frontier.nearest_estimate() < bound) {
      const Slot slot = s.frontier.nearest();
      s.frontier.remove_nearest();
      if (!s.visited.insert(slot)) continue;
      scan.prefetch_row(slot);
      return slot;
    }
    return kNoSlot;
  };
  const auto offer_seeds = [&] {
    s.need(s.seeds.size());
    scan.score(s.seeds.data(), s.seeds.size(), s.distances.data());
    s.cost.distances += s.seeds.size();
    for (std::size_t i = 0; i < s.seeds.size(); ++i) offer(s.distances[i], s.seeds[i]);
  };
  const std::size_t third = (layer.stride * sizeof(Slot) + 191) / 192 * 64;
  std::size_t passed = 0;
  s.visited.insert(start);
  for (Slot node = start, next = kNoSlot; node != kNoSlot; node = next != kNoSlot ? next : take()) {
    next = take();
    // Asked for in three parts: a core has room for so many lines on their way, and waits when there are more.
    const auto ask = [&](std::size_t part) __attribute__((always_inline)) {
      if (next != kNoSlot) prefetch(reinterpret_cast<const char*>(layer.links(next)) + part * third, third);
    };
    ask(0);
    float distance;
    scan.score(&node, 1, &distance);
    ++s.cost.distances;
    ++s.cost.hops;
    const bool passes = accept(node);
    passed += passes;
    s.expanded.emplace_back(distance, node, passes);
    if (passed >= local.most()) break;
    if (passes) {
      kth.push(distance);
      const Reach reach = local.at(passed, s.expanded.size());
      if (passed >= reach.least) bound = reach.bound(kth.value());
    }
    ask(1);
    const Slot* links = layer.links(node);
    const std::byte* block = layer.codes(node);
    if (NeighbourCodes::valid(block)) {
      const float base = query.base(distance), lean = codes.lean(block, distance);
      block += codes.header_bytes();
      for (std::uint32_t first = 0; first < layer.width; first += simd::kBlockRows, block += codes.block_bytes()) {
        alignas(64) float estimates[simd::kBlockRows];
        s.cost.estimates += simd::kBlockRows;
        std::uint32_t near = scan_block(query.tables, block, base, lean, bound, estimates);
        for (; near != 0; near &= near - 1) {
          const auto i = static_cast<std::uint32_t>(std::countr_zero(near));
          if (first + i >= layer.width || links[first + i] == kNoSlot) break;
          offer(estimates[i], links[first + i]);
        }
      }
    } else {  // the list has changed, and its codes are not made yet
      const std::uint32_t degree = layer.degree(node);
      scan.score(links, degree, s.distances.data());
      s.cost.distances += degree;
      for (std::uint32_t i = 0; i < degree; ++i) {
        if (s.distances[i] < bound) offer(s.distances[i], links[i]);
      }
    }
    // Not before: while there was nothing else, one of them would be expanded next, however far from the query, and
    // what passes around it would be taken for what passes around that.
    if (node == start) offer_seeds();
    if (patience.looks_around(s.expanded.size())) {
      std::uint32_t seen = 0, passing = 0;
      for (; seen < layer.width && links[seen] != kNoSlot; ++seen) passing += accept(links[seen]);
      patience.saw(seen, passing);
    }
    ask(2);
    s.frontier.prune(bound);
    if (!patience.goes_on(s.expanded.size(), passed)) return false;
  }
  return true;
}

}  // namespace annlib
