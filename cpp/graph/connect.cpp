#include "graph/connect.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace annlib {
namespace {

// Marks what can be reached from `from`, itself included.
void flood(const Layer& layer, Slot from, Bitset& seen, std::vector<Slot>& stack) {
  stack.assign(1, from);
  seen.set(from);
  while (!stack.empty()) {
    const Slot* links = layer.links(stack.back());
    stack.pop_back();
    for (std::uint32_t i = 0; i < layer.width && links[i] != kNoSlot; ++i) {
      if (seen.test(links[i])) continue;
      seen.set(links[i]);
      stack.push_back(links[i]);
    }
  }
}

}  // namespace

Bitset reachable(const Hierarchy& graph) {
  Bitset seen(graph.slots());
  std::vector<Slot> stack;
  if (graph.entry() != kNoSlot) flood(graph.layer(0), graph.entry(), seen, stack);
  return seen;
}

std::size_t connect(Hierarchy& graph, const Bitset& nodes, const Space& space, std::size_t ef,
                    const Grower::Publish& publish, Journal* journal) {
  if (graph.entry() == kNoSlot) return 0;
  const Layer layer = graph.layer(0);
  std::vector<Slot> stack;
  std::vector<std::uint32_t> incoming;
  std::set<std::pair<Slot, Slot>> made;
  std::size_t mended = 0;
  Scratch s;
  // A replaced link may be the one that a whole region hung on, in spite of the count of incoming links; then the next
  // round finds the region cut off and mends it, and what a round has made the next one does not undo.
  for (int round = 0; round < 8; ++round) {
    Bitset seen = reachable(graph);
    std::vector<Slot> lost;
    nodes.for_each([&](std::size_t node) {
      if (!seen.test(node)) lost.push_back(static_cast<Slot>(node));
    });
    if (lost.empty()) break;
    incoming.assign(graph.slots(), 0);
    nodes.for_each([&](std::size_t node) {
      const Slot* links = layer.links(static_cast<Slot>(node));
      for (std::uint32_t i = 0; i < layer.width && links[i] != kNoSlot; ++i) ++incoming[links[i]];
    });
    Slot last = kNoSlot;  // mended in this round
    for (Slot node : lost) {
      if (seen.test(node)) continue;  // an earlier one of the lost leads here
      s.visited.reset(graph.slots());
      s.pool.reset(ef);
      const Scan scan = space.prepare_row(node, s.query);
      enter(scan, graph.entry(), AcceptAll{}, s);
      beam_search(layer, scan, s);
      const auto mend = [&](Slot from, std::uint32_t place) {
        publish([&] {
          if (journal != nullptr) journal->keep(layer, from);
          layer.links(from)[place] = node;
          layer.touch(from);
        });
        made.emplace(from, node);
        flood(layer, node, seen, stack);
        last = node;
        ++mended;
      };
      bool done = false;
      for (std::size_t c = 0; c <= s.pool.size() && !done; ++c) {
        // Where thousands have the same nearest, these run out of places; then each leads to the next.
        if (c == s.pool.size() && last == kNoSlot) break;
        const Slot from = c < s.pool.size() ? s.pool[c].slot() : last;
        const std::uint32_t degree = layer.degree(from);
        if (degree < layer.width) {
          mend(from, degree);
          done = true;
        }
        for (std::uint32_t i = degree; i-- > 0 && !done;) {
          const Slot to = layer.links(from)[i];
          if (incoming[to] < 2 || made.contains({from, to})) continue;
          --incoming[to];
          mend(from, i);
          done = true;
        }
      }
    }
  }
  return mended;
}

}  // namespace annlib
