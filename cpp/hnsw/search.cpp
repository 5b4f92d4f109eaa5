#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/random.h"
#include "filter/plan.h"
#include "graph/code_walk.h"
#include "graph/subgraph.h"
#include "hnsw/hnsw_index.h"
#include "index/timing.h"

namespace annlib {
namespace {

// Exact distances are computed in groups of so many, between looks at what is still worth it.
constexpr std::size_t kRerankGroup = 4;
// A radius that takes in more than this is answered by a scan: a sorted pool is no place for so many.
constexpr std::size_t kWalkedBall = 4096;
// A walk under a filter begins at so many places where something passes.
constexpr std::uint64_t kSeeds = 16;
// Queries lie farther from stored vectors than these from one another, and their nearest in so many times as many
// lists.
constexpr double kFarther = 2;
// Of so few items for each candidate that a walk would keep, a scan is as fast.
constexpr std::size_t kScanned = 24;

// What is kept by the walk through a sub-graph. Labels go along with where vectors lie, and what a filter asks for
// often lies elsewhere than the query: there a walk needs more effort for the same recall (docs/performance.md).
std::size_t effort_of(const FilterIndex& index, std::size_t ef) {
  return index.params.kind == FilterIndexKind::label ? 2 * ef : ef;
}

/// Nodes of which the item or one of its twins may be a result.
class AcceptSlots {
 public:
  AcceptSlots(const Bitset& slots, const Twins& twins) : slots_(slots), twins_(twins) {}
  const Bitset& slots() const { return slots_; }
  bool item(Slot slot) const { return slots_.test(slot); }
  bool operator()(Slot node) const {
    if (item(node)) return true;
    if (!twins_.leads(node)) return false;
    const auto group = twins_.of(node);
    return std::any_of(group.begin(), group.end(), [&](Slot twin) { return item(twin); });
  }

 private:
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

// How walks and scans are timed, of which the median counts.
constexpr std::size_t kTimed = 16, kTimedScan = 256, kTimedEf = 32;

}  // namespace

// Timed on this machine, this index and the state of its memory: what walks among all and among a sixteenth take, and a
// scan of random items.
PlanCosts HnswIndex::measure_costs() const {
  constexpr double kShare = 1.0 / 16;
  const HnswState& state = *state_;
  const Bitset some = a_sixteenth(state.table.alive_bits());
  Scratch s;
  s.need(kTimedScan);
  RunTimer least, all, few;
  std::vector<double> matches, shared;
  std::vector<float> vector(state.table.dim());
  const auto slots = static_cast<std::uint32_t>(state.table.slots());
  s.seeds.clear();
  // The first round warms up: pages of a file that was just mapped, and the processor's clock.
  for (std::uint64_t i = 0; i < 2 * kTimed; ++i) {
    if (i == kTimed) {
      least = all = few = RunTimer();
      matches.clear();
      shared.clear();
    }
    // Each run has a query of its own, for the rows of one before would be in caches.
    const QueryView query{vector.data(), DType::f32, kNoSlot};
    const auto run = [&](std::uint64_t which, std::size_t ef, const auto& accept, RunTimer& timer) {
      state.truth().load(to_below(random64(which, 5, i), slots), vector.data());
      timer.time(s, [&] {
        walk_nearest(query, kNoSlot, std::min<std::size_t>(ef, 10), {ef, ef, 1.0f}, accept, ToTheEnd{}, s);
      });
    };
    run(2, kTimedEf / 4, AcceptEvery{}, least);
    run(3, kTimedEf, AcceptEvery{}, all);
    run(4, kTimedEf, AcceptSlots(some, state.twins), few);
    for (std::uint64_t j = 0; j < kTimedScan; ++j) s.slots[j] = to_below(random64(1, 5, i * kTimedScan + j), slots);
    const ScanTimes times = time_scan(state.walk().prepare(query, s.query), kTimedScan, s);
    matches.push_back(times.match);
    shared.push_back(times.shared);
  }
  Course walk = Course::fitted(least.run(), all.run(), few.run(), kShare);
  walk.steps /= kTimedEf;
  return {walk, median(matches), median(shared)};
}

PlanCosts HnswIndex::plan_costs() const {
  std::call_once(state_->costs_measured, [&] { state_->costs = measure_costs(); });
  return state_->costs;
}

// Of walks through the largest of its sub-graphs, from its members.
double HnswIndex::hop_cost(const FilterIndex& index) const {
  std::call_once(index.hop_measured, [&] {
    const auto smaller = [&](const auto& a, const auto& b) { return index.size(a) < index.size(b); };
    const FilterIndex::Group& group = *std::max_element(index.groups.begin(), index.groups.end(), smaller);
    const FilterCover cover{{{&index, &group}}, index.size(group)};
    Scratch s;
    std::vector<double> hops;
    std::vector<float> vector(state_->table.dim());
    for (std::uint64_t i = 0; i < kTimed; ++i) {
      const Slot member = index.members[group.begin + to_below(random64(2, 5, i), static_cast<Slot>(cover.members))];
      state_->truth().load(member, vector.data());
      const Scan scan = state_->walk().prepare({vector.data(), DType::f32, kNoSlot}, s.query);
      s.cost = SearchCost();
      const Clock::time_point begin = Clock::now();
      walk_subgraphs(cover, scan, kTimedEf, AcceptEvery{}, ToTheEnd{}, s);
      hops.push_back(nanoseconds_since(begin) / static_cast<double>(std::max<std::uint64_t>(s.cost.hops, 1)));
    }
    index.hop_cost = median(hops);
  });
  return index.hop_cost;
}

// Nodes that pass, from all over the index, for what passes may lie apart from the query, in places between which
// hardly a link leads: a walk that came to one of them by way of the upper layers might not find the others.
void HnswIndex::choose_seeds(const SlotSet* passing, Scratch& s) const {
  s.seeds.clear();
  if (passing == nullptr) return;
  for (std::uint64_t i = 0; i < kSeeds; ++i) {
    const std::size_t from = to_below(random64(2, 5, i), static_cast<std::uint32_t>(passing->size()));
    s.seeds.push_back(state_->twins.node_of(static_cast<Slot>(passing->next(from))));
  }
}

template <class Accept, class Patience>
bool HnswIndex::walk(const Scan& scan, Slot left_out, const Accept& accept, const Patience& patience,
                     Scratch& s) const {
  const Hierarchy& graph = state_->graph;
  const Layer layer = graph.layer(0);
  s.need(layer.width);
  s.visited.reset(graph.slots());
  if (left_out != kNoSlot) s.visited.insert(left_out);
  enter(scan, graph.approach(scan, 0, s), accept, s);
  for (const Slot seed : s.seeds) enter(scan, seed, accept, s);
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
  const LocalReach reach(state_->reach(k, effort.ef), state_->reach(k, effort.ef_filtered), effort.share);
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
    rerank(query, k, scan.margin, s.expanded, s);
  } else {
    s.pool.reset(effort.ef);
    if (!walk(scan, left_out, accept, patience, s)) return false;
    rerank(query, k, scan.margin, s.pool.items(), s);
  }
  return true;
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

// True if this was how the query was answered.
template <class Acceptance>
bool HnswIndex::by_subgraphs(const QueryView& query, const SearchRequest& request, const Passing& filter,
                             const Effort& effort, std::size_t together, std::size_t k, Acceptance& acceptance,
                             PlanReport& report, Scratch& s) const {
  const HnswState& state = *state_;
  const bool forced = request.plan == Plan::subgraph;
  std::optional<FilterCover> cover;
  if (filter.expression != nullptr) cover = find_cover(*filter.expression, state.filter_indexes);
  if (!cover) {
    if (!forced) return false;
    throw ValueError("plan 'subgraph' needs a filter index that covers the filter; there are: " +
                     names_of(state.filter_indexes));
  }
  const std::size_t ef = effort.ef;
  report.subgraphs = cover->parts.size();
  report.subgraph_items = cover->members;
  const auto attempt = [&](const Planner* planner) {
    report.plan = Plan::subgraph;
    const Scan scan = state.walk().prepare(query, s.query);
    const auto accept = acceptance();
    const bool done = planner != nullptr ? walk_subgraphs(*cover, scan, ef, accept, *planner, s)
                                         : walk_subgraphs(*cover, scan, ef, accept, ToTheEnd{}, s);
    if (done) {
      rerank(query, k, scan.margin, s.expanded, s);
      collect(k, accept, s);
    }
    if (s.found.size() == k) return true;
    s.found.clear();
    report.switched = true;
    return false;
  };
  if (forced) return attempt(nullptr);
  const Ways others = ways(effort, filter.count, together);
  Course course{others.walk.start, 0, 0};
  for (const auto& part : cover->parts) {
    course.step = std::max(course.step, hop_cost(*part.index));
    course.steps += static_cast<double>(effort_of(*part.index, ef));
  }
  const auto members = static_cast<double>(std::max(cover->members, filter.count));
  const double otherwise = std::min({others.scan, others.walk.cost(effort.share), others.lists.cost(effort.share)});
  const Planner planner(course, static_cast<double>(filter.count) / members, otherwise);
  others.tell(effort.share, report);
  report.subgraph_cost = planner.cost();
  return planner.cost() <= otherwise && attempt(&planner);
}

// Turns s.nearest, exact distances of nodes, into items: each node's own and those of its twins.
template <class Accept>
void HnswIndex::collect(std::size_t k, const Accept& accept, Scratch& s) const {
  for (Candidate c : s.nearest.sorted()) {
    if (s.found.size() >= k) return;
    if (accept.item(c.slot())) s.found.push_back(c);
    if (!state_->twins.leads(c.slot())) continue;
    for (Slot twin : state_->twins.of(c.slot())) {
      if (s.found.size() >= k) return;
      if (accept.item(twin)) s.found.emplace_back(c.distance(), twin);
    }
  }
}

// The passing ones of `candidates` (nearest first) by their exact distances, into s.nearest: until the next one lies so
// far beyond the k-th that its code would have to be wrong by more than codes are.
void HnswIndex::rerank(const QueryView& query, std::size_t k, float margin, std::span<const Candidate> candidates,
                       Scratch& s) const {
  s.nearest.reset(k);
  if (!state_->reranks()) {
    for (Candidate c : candidates) {
      if (c.passes()) s.nearest.push(Candidate(c.distance(), c.slot()));
    }
    return;
  }
  const Scan exact = state_->stored.prepare(query, s.row);
  const std::size_t more = std::max(kRerankGroup, k / 4);
  s.need(std::max(k, more));
  std::size_t scored = 0;
  for (std::size_t i = 0; i < candidates.size();) {
    const std::size_t group = scored < k ? k - scored : more;  // k are wanted in any case
    std::size_t n = 0;
    for (; i < candidates.size() && n < group; ++i) {
      if (candidates[i].passes()) s.slots[n++] = candidates[i].slot();
    }
    exact.score(s.slots.data(), n, s.distances.data());
    for (std::size_t j = 0; j < n; ++j) s.nearest.push(Candidate(s.distances[j], s.slots[j]));
    scored += n;
    s.cost.reranked += n;
    if (scored >= k && i < candidates.size()) {
      s.nearest.shrink();
      if (candidates[i].distance() - margin > s.nearest.bound().distance()) return;
    }
  }
}

double HnswIndex::expected(const Effort& effort) const {
  const auto wide = static_cast<double>(effort.ef), narrow = static_cast<double>(effort.ef_filtered);
  return state_->neighbour_codes != nullptr ? narrow + breadth(effort.share) * (wide - narrow) : wide;
}

bool HnswIndex::search_one(const QueryView& query, const SearchRequest& request, const Passing& filter,
                           std::size_t together, Scratch& s, PlanReport& report) const {
  const HnswState& state = *state_;
  const SlotSet* passing = filter.slots.get();
  const std::size_t matches = filter.count;
  const Slot left_out = query.left_out == kNoSlot ? kNoSlot : state.twins.node_of(query.left_out);
  const std::size_t equals = left_out == kNoSlot ? 0 : 1 + state.twins.of(left_out).size();
  const std::size_t k = std::min(request.k, matches - std::min(matches, equals));
  const Effort effort{std::max(request.ef, k), std::max(request.ef_filtered, k),
                      static_cast<float>(matches) / static_cast<float>(state.table.live())};
  const auto attempt = [&](const auto& accept, const auto& patience) {
    report.plan = Plan::walk;
    choose_seeds(passing, s);
    if (walk_nearest(query, left_out, k, effort, accept, patience, s)) collect(k, accept, s);
    if (s.found.size() == k) return true;
    s.found.clear();
    report.switched = true;
    return false;
  };
  Acceptance acceptance(passing, state, s);
  if (request.plan == Plan::subgraph || request.plan == Plan::automatic) {
    if (by_subgraphs(query, request, filter, effort, together, k, acceptance, report, s)) return true;
  }
  if (request.plan == Plan::automatic && passing != nullptr) {
    const Ways those = ways(effort, matches, together);
    those.tell(effort.share, report);
    const Planner walker(those.walk, effort.share, std::min(those.scan, those.lists.cost(effort.share)));
    const bool walks = walker.begins();
    if (walks && attempt(acceptance(), walker)) return true;
    // If a walk has shown how few pass around the query, that is not tried again.
    const double share = std::min<double>(effort.share, walker.seen());
    const Planner prober(those.lists, share, those.scan);
    if (walks ? prober.wins() : prober.begins()) {
      if (by_lists(query, k, effort, acceptance().slots(), &prober, report, s)) return true;
    }
  } else if (request.plan == Plan::lists) {
    if (!state.filter_lists) {
      throw ValueError("plan 'lists': there are none; an index gets them with attributes and enough items");
    }
    if (by_lists(query, k, effort, acceptance().slots(), nullptr, report, s)) return true;
  } else if (request.plan == Plan::walk || (request.plan == Plan::automatic && matches > kScanned * effort.ef)) {
    // A graph with nothing dead in it needs no test at all.
    const bool every = passing == nullptr && state.dead == 0;
    if (every ? attempt(AcceptEvery{}, ToTheEnd{}) : attempt(acceptance(), ToTheEnd{})) return true;
  }
  if (equals == 0) return false;
  scan_nearest({nullptr, &state.truth()}, {&query, 1}, k + equals, passing, state.table.alive_bits(), s);
  s.found = s.scanned.front().nearest.sorted();
  s.cost += s.scanned.front().cost;
  std::erase_if(s.found, [&](Candidate c) { return state.equal(c.slot(), left_out); });
  s.found.resize(std::min(s.found.size(), k));
  report.plan = Plan::exact;
  return true;
}

ScanSpaces HnswIndex::scan_spaces(const SearchRequest& request, const SlotSet* passing) const {
  const bool by_codes = request.plan == Plan::scan || (request.plan != Plan::exact && passing != nullptr);
  return {by_codes && state_->reranks() ? state_->codes.get() : nullptr, &state_->truth()};
}

void HnswIndex::radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                           std::size_t matches, Scratch& s) const {
  const HnswState& state = *state_;
  const auto by_walk = [&] {
    // This walk goes by distances, whatever the layout: it expands all that it keeps.
    const PlanCosts costs = plan_costs();
    Course course = costs.course;
    course.steps = static_cast<double>(request.ef);
    const double share = static_cast<double>(matches) / static_cast<double>(state.table.live());
    const Planner planner(course, share, costs.match * static_cast<double>(matches));
    if (!planner.begins()) return false;
    Acceptance acceptance(passing, state, s);
    const AcceptSlots accept = acceptance();
    const Scan scan = state.walk().prepare(query, s.query);
    s.pool.reset(request.ef, radius + scan.margin);
    choose_seeds(passing, s);
    if (!walk(scan, kNoSlot, accept, planner, s) || s.pool.size() >= kWalkedBall) return false;
    rerank(query, s.pool.size(), scan.margin, s.pool.items(), s);
    collect(matches, accept, s);
    const auto beyond = [&](Candidate c) { return !(c.distance() <= radius); };
    s.found.erase(std::find_if(s.found.begin(), s.found.end(), beyond), s.found.end());
    return true;
  };
  if (passing != nullptr || matches > kScanned * request.ef) {
    if (by_walk()) return;
  }
  scan_radius({nullptr, &state.truth()}, query, radius, passing, state.table.alive_bits(), s);
}

}  // namespace annlib
