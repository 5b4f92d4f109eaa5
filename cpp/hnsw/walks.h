#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "core/slot_set.h"
#include "graph/code_walk.h"
#include "graph/subgraph.h"
#include "graph/two_hops.h"
#include "hnsw/hnsw_index.h"

/// How an HnswIndex goes through its graphs, for what searches it (search.cpp) and what times that (costs.cpp).
namespace annlib {

/// A walk under a filter begins at so many places where something passes.
constexpr std::uint64_t kSeeds = 16;

/// Where what a filter asks for lies elsewhere than the query, a walk through that alone needs so many times the effort
/// for the same recall (docs/performance.md).
constexpr std::size_t kElsewhere = 2;

/// What is kept by the walk through a sub-graph. Labels go along with where vectors lie.
inline std::size_t effort_of(const FilterIndex& index, std::size_t ef) {
  return index.params.kind == FilterIndexKind::label ? kElsewhere * ef : ef;
}

/// Whether a plan, which came to its end or was broken off, has found k: else it is given up.
inline bool settled(bool ended, std::size_t k, PlanReport& report, Scratch& s) {
  if (s.found.size() == k) return true;
  s.found.clear();
  report.give_up(ended ? GivenUp::too_few : GivenUp::slow);
  return false;
}

/// Nodes of which the item or one of its twins may be a result.
class AcceptSlots {
 public:
  AcceptSlots(const Bitset& slots, const Twins& twins) : slots_(slots), twins_(twins) {}
  const Bitset& slots() const { return slots_; }
  bool item(Slot slot) const { return slots_.test(slot); }
  /// Nodes with twins are few, those that pass may be any: only the former are worth a branch.
  __attribute__((always_inline)) bool operator()(Slot node) const {
    const bool own = item(node);
    if (own | !twins_.leads(node)) [[likely]]
      return own;
    return any_twin(node);
  }

 private:
  __attribute__((noinline)) bool any_twin(Slot leader) const {
    const auto group = twins_.of(leader);
    return std::any_of(group.begin(), group.end(), [&](Slot twin) { return item(twin); });
  }

  const Bitset& slots_;
  const Twins& twins_;
};

/// How to tell what passes, made where it is first asked for: a scan does without.
class Acceptance {
 public:
  Acceptance(const SlotSet* passing, const HnswState& state, Scratch& s) : passing_(passing), state_(state), s_(s) {}
  AcceptSlots operator()() {
    if (passing_ == nullptr) return {state_.table.alive_bits(), state_.twins};
    if (!marked_) marked_.emplace(*passing_, s_.passing);
    return {marked_->bits(), state_.twins};
  }

 private:
  const SlotSet* passing_;
  const HnswState& state_;
  Scratch& s_;
  std::optional<MarkedSlots> marked_;
};

/// While all that is in the graph is alive and no filter is set.
struct AcceptEvery : AcceptAll {
  bool item(Slot) const { return true; }
};

// Where walks through the lowest layer begin: what the upper ones lead to, and s.seeds.
template <class Accept>
void HnswIndex::begin(const Scan& scan, Slot left_out, const Accept& accept, Scratch& s) const {
  const Hierarchy& graph = state_->graph;
  s.visited.reset(graph.slots());
  if (left_out != kNoSlot) s.visited.insert(left_out);
  enter(scan, graph.approach(scan, 0, s), accept, s);
  for (const Slot seed : s.seeds) enter(scan, seed, accept, s);
}

template <class Accept, class Patience>
bool HnswIndex::walk(const Scan& scan, Slot left_out, const Accept& accept, const Patience& patience,
                     Scratch& s) const {
  const Layer layer = state_->graph.layer(0);
  s.need(layer.width);
  begin(scan, left_out, accept, s);
  return beam_search(ScoreLinks<Accept>(layer, scan, accept), patience, s);
}

// As walk(), over codes: the candidates are s.expanded.
template <class Accept, class Patience>
bool HnswIndex::walk_fused(const QueryView& query, const Scan& scan, Slot left_out, std::size_t k, const Effort& effort,
                           const Accept& accept, const Patience& patience, Scratch& s) const {
  const Hierarchy& graph = state_->graph;
  const NeighbourCodes::Query coded = state_->neighbour_codes->prepare(query, s.tables);
  s.visited.reset(graph.slots());
  if (left_out != kNoSlot) s.visited.insert(left_out);
  const Slot start = graph.approach(scan, 1, s);
  const auto to = [&](std::size_t ef) { return state_->reach(k, ef, coded.length); };
  const LocalReach reach(to(effort.ef), to(effort.ef_filtered), effort.share);
  if (!walk_codes(graph.layer(0), *state_->neighbour_codes, coded, scan, start, k, reach, accept, patience, s)) {
    return false;
  }
  std::sort(s.expanded.begin(), s.expanded.end());
  return true;
}

// The nearest k nodes that pass, with exact distances, into s.nearest; false where patience broke the walk off.
template <class Accept, class Patience>
bool HnswIndex::walk_nearest(const QueryView& query, Slot left_out, std::size_t k, const Effort& effort,
                             const Accept& accept, const Patience& patience, Scratch& s) const {
  const Scan scan = state_->walk().prepare(query, s.query);
  if (state_->neighbour_codes != nullptr) {
    if (!walk_fused(query, scan, left_out, k, effort, accept, patience, s)) return false;
    rerank(query, k, scan, s.expanded, s);
  } else {
    s.pool.reset(effort.ef);
    if (!walk(scan, left_out, accept, patience, s)) return false;
    rerank(query, k, scan, s.pool.items(), s);
  }
  return true;
}

// The nearest k nodes that pass, with exact distances, into s.nearest, as a walk of this effort finds them.
template <class Accept>
void HnswIndex::walk_two_hops(const QueryView& query, Slot left_out, std::size_t k, std::size_t ef,
                              const Accept& accept, Scratch& s) const {
  const Scan scan = state_->walk().prepare(query, s.query);
  const Layer layer = state_->graph.layer(0);
  s.pool.reset(kElsewhere * ef);
  begin(scan, left_out, accept, s);
  const ScoreTwoHops<Accept> expand(layer, scan, accept);
  s.need(expand.most_scored(layer));
  beam_search(expand, ToTheEnd{}, s);
  rerank(query, k, scan, s.pool.items(), s);
}

// The nearest nodes that pass, of the sub-graphs and of what has changed since they were built, into s.expanded.
template <class Accept, class Patience>
bool HnswIndex::walk_subgraphs(const FilterCover& cover, const Scan& scan, std::size_t ef, const Accept& accept,
                               const Patience& patience, Scratch& s) const {
  s.expanded.clear();
  std::vector<const FilterIndex*> indexes;
  for (const auto& [index, group] : cover.parts) {
    const Subgraph graph = index->subgraph(*group);
    const MemberScan members(scan, graph.members, s.rows);
    // Slots are used again, for what was never a member and for what is no node.
    const auto accept_member = [&, &index = *index](Slot member) {
      const Slot slot = graph.members[member];
      return state_->nodes.test(slot) && !index.changed.test(slot) && accept(slot);
    };
    s.need(std::max(graph.layer.width, Subgraph::kEntries));
    s.visited.reset(graph.members.size());
    s.pool.reset(effort_of(*index, ef));
    for (Slot member = 0; member < graph.entries(); ++member) enter(members, member, accept_member, s);
    if (!beam_search(ScoreLinks(graph.layer, members, accept_member), patience, s)) return false;
    for (const Candidate c : s.pool.items()) {
      if (c.passes()) s.expanded.emplace_back(c.distance(), graph.members[c.slot()]);
    }
    if (std::find(indexes.begin(), indexes.end(), index) == indexes.end()) indexes.push_back(index);
  }
  for (const FilterIndex* index : indexes) {
    index->changed.for_each([&](std::size_t i) {
      const auto slot = static_cast<Slot>(i);
      if (!state_->nodes.test(slot) || !accept(slot)) return;
      float distance;
      scan.score(&slot, 1, &distance);
      ++s.cost.distances;
      s.expanded.emplace_back(distance, slot);
    });
  }
  std::sort(s.expanded.begin(), s.expanded.end());
  s.expanded.erase(std::unique(s.expanded.begin(), s.expanded.end()), s.expanded.end());
  return true;
}

}  // namespace annlib
