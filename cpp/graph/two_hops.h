#pragma once

#include <cstddef>
#include <cstdint>

#include "graph/beam_search.h"

namespace annlib {

/// Expands a node for beam_search() by scoring what passes among its neighbours and, by way of those that do not, among
/// theirs: what fails is a bridge and never a candidate, so that a walk takes about as many steps whatever passes and
/// wherever that lies (Patel et al., ACORN, SIGMOD 2024, arXiv 2403.04871, section 5). Without links pruned for it, a
/// graph of `width` links a node holds together that way while a few in `width` squared pass.
template <class Accept>
class ScoreTwoHops {
 public:
  ScoreTwoHops(const Layer& layer, const Scan& scan, const Accept& accept)
      : layer_(layer), scan_(scan), accept_(accept) {}

  /// What Scratch::need() is to be asked for.
  static std::size_t most_scored(const Layer& layer) { return std::size_t{layer.width} * (layer.width + 1); }

  void operator()(Candidate node, Scratch& s) const {
    Slot* fresh = s.slots.data();
    std::size_t n = 0, failing = 0;
    if (s.rows.size() < layer_.width) s.rows.resize(layer_.width);
    Slot* bridges = s.rows.data();
    for_each_link(node.slot(), [&](Slot slot) {
      if (!s.visited.insert(slot)) return;
      const bool passes = accept_(slot);
      fresh[n] = slot;
      bridges[failing] = slot;
      n += passes;
      failing += !passes;
      if (!passes) prefetch_links(layer_, slot);
    });
    for (std::size_t i = 0; i < failing; ++i) {
      // What fails here is no bridge yet: a node nearer to the query may lead over it.
      for_each_link(bridges[i], [&](Slot slot) {
        if (!accept_(slot)) return;
        fresh[n] = slot;
        n += s.visited.insert(slot);
      });
    }
    scan_.score(fresh, n, s.distances.data());
    s.cost.distances += n;
    ++s.cost.hops;
    for (std::size_t i = 0; i < n; ++i) {
      const Candidate c(s.distances[i], fresh[i]);
      if (s.pool.admits(c) && s.pool.insert(c)) prefetch_links(layer_, fresh[i]);
    }
  }

 private:
  template <class Visit>
  void for_each_link(Slot node, Visit&& visit) const {
    const Slot* links = layer_.links(node);
    for (std::uint32_t i = 0; i < layer_.width && links[i] != kNoSlot; ++i) visit(links[i]);
  }

  const Layer& layer_;
  const Scan& scan_;
  const Accept& accept_;
};

}  // namespace annlib
