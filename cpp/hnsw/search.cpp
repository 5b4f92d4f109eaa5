#include <algorithm>
#include <chrono>
#include <limits>

#include "core/random.h"
#include "filter/plan.h"
#include "graph/code_walk.h"
#include "hnsw/hnsw_index.h"

namespace annlib {
namespace {

// Exact distances are computed in groups of so many, between looks at what is still worth it.
constexpr std::size_t kRerankGroup = 4;
// A radius that takes in more than this is answered by a scan: a sorted pool is no place for so many.
constexpr std::size_t kWalkedBall = 4096;
// Of so few items for each candidate that a walk would keep, a scan is as fast.
constexpr std::size_t kScanned = 24;

/// Nodes of which the item or one of its twins may be a result.
class AcceptSlots {
 public:
  AcceptSlots(const Bitset& slots, const Twins& twins) : slots_(slots), twins_(twins) {}
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

/// While all that is in the graph is alive and no filter is set.
struct AcceptEvery : AcceptAll {
  bool item(Slot) const { return true; }
};

}  // namespace

// Timed on this machine, this index and the state of its memory: what a walk and a scan of random items take.
PlanCosts HnswIndex::measure_costs() const {
  constexpr std::size_t kWalks = 16, kScans = 256, kWalkedFor = 64;
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
  };
  const HnswState& state = *state_;
  Scratch s;
  s.need(kScans);
  std::vector<double> hops, matches;
  std::vector<float> vector(state.table.dim());
  const auto slots = static_cast<std::uint32_t>(state.table.slots());
  for (std::uint64_t i = 0; i < kWalks; ++i) {
    state.truth().load(to_below(random64(0, 5, i), slots), vector.data());
    const QueryView query{vector.data(), DType::f32, kNoSlot};
    s.cost = SearchCost();
    Clock::time_point begin = Clock::now();
    walk_nearest(query, kNoSlot, 10, kWalkedFor, AcceptEvery{}, ToTheEnd{}, s);
    hops.push_back(since(begin) / static_cast<double>(std::max<std::uint64_t>(s.cost.hops, 1)));
    for (std::uint64_t j = 0; j < kScans; ++j) s.slots[j] = to_below(random64(1, 5, i * kScans + j), slots);
    begin = Clock::now();
    state.walk().prepare(query, s.query).score(s.slots.data(), kScans, s.distances.data());
    matches.push_back(since(begin) / kScans);
  }
  const auto median = [](std::vector<double>& times) {
    std::nth_element(times.begin(), times.begin() + kWalks / 2, times.end());
    return times[kWalks / 2];
  };
  return {median(hops), median(matches)};
}

PlanCosts HnswIndex::plan_costs() const {
  std::call_once(state_->costs_measured, [&] { state_->costs = measure_costs(); });
  return state_->costs;
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
  return beam_search(ScoreLinks<Accept>(layer, scan, accept), patience, s);
}

// As walk(), over codes: the candidates are s.expanded.
template <class Accept, class Patience>
bool HnswIndex::walk_fused(const QueryView& query, const Scan& scan, Slot left_out, std::size_t k, std::size_t ef,
                           const Accept& accept, const Patience& patience, Scratch& s) const {
  const Hierarchy& graph = state_->graph;
  const NeighbourCodes::Query coded = state_->neighbour_codes->prepare(query, s.tables);
  s.visited.reset(graph.slots());
  if (left_out != kNoSlot) s.visited.insert(left_out);
  const Slot start = graph.approach(scan, 1, s);
  const Reach reach = state_->reach(k, ef);
  if (!walk_codes(graph.layer(0), *state_->neighbour_codes, coded, scan, start, k, reach, accept, patience, s)) {
    return false;
  }
  std::sort(s.expanded.begin(), s.expanded.end());
  return true;
}

// The nearest k nodes that pass, with exact distances, into s.nearest; false where patience broke the walk off.
template <class Accept, class Patience>
bool HnswIndex::walk_nearest(const QueryView& query, Slot left_out, std::size_t k, std::size_t ef, const Accept& accept,
                             const Patience& patience, Scratch& s) const {
  const Scan scan = state_->walk().prepare(query, s.query);
  if (state_->neighbour_codes != nullptr) {
    if (!walk_fused(query, scan, left_out, k, ef, accept, patience, s)) return false;
    rerank(query, k, scan.margin, s.expanded, s);
  } else {
    s.pool.reset(ef);
    if (!walk(scan, left_out, accept, patience, s)) return false;
    rerank(query, k, scan.margin, s.pool.items(), s);
  }
  return true;
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

PlanReport HnswIndex::search_one(const QueryView& query, const SearchRequest& request, const Bitset* passing,
                                 std::size_t matches, Scratch& s) const {
  const HnswState& state = *state_;
  const Slot left_out = query.left_out == kNoSlot ? kNoSlot : state.twins.node_of(query.left_out);
  const std::size_t equals = left_out == kNoSlot ? 0 : 1 + state.twins.of(left_out).size();
  const std::size_t k = std::min(request.k, matches - equals);
  const std::size_t ef = std::max(request.ef, k);
  const Bitset& slots = passing != nullptr ? *passing : state.table.alive_bits();
  PlanReport report;
  const auto attempt = [&](const auto& accept, const auto& patience) {
    report.plan = Plan::walk;
    if (walk_nearest(query, left_out, k, ef, accept, patience, s)) collect(k, accept, s);
    if (s.found.size() == k) return true;
    s.found.clear();
    report.switched = true;
    return false;
  };
  const AcceptSlots accept(slots, state.twins);
  if (request.plan == Plan::automatic && passing != nullptr) {
    const Planner planner(plan_costs(), state.table.live(), matches, wanted(ef));
    report.scan_cost = planner.scan_cost();
    report.walk_cost = planner.walk_cost();
    if (planner.begins_with_walk() && attempt(accept, planner)) return report;
  } else if (request.plan == Plan::walk || (request.plan == Plan::automatic && matches > kScanned * ef)) {
    // A graph with nothing dead in it needs no test at all.
    const bool every = passing == nullptr && state.dead == 0;
    if (every ? attempt(AcceptEvery{}, ToTheEnd{}) : attempt(accept, ToTheEnd{})) return report;
  }
  const bool by_codes = request.plan == Plan::scan || (request.plan == Plan::automatic && passing != nullptr);
  if (by_codes && state.reranks() && equals == 0) {
    coded_search(*state.codes, state.table, query, k, slots, s);
    report.plan = Plan::scan;
    return report;
  }
  exact_search(state.truth(), query, k + equals, slots, s);
  report.plan = Plan::exact;
  if (equals == 0) return report;
  std::erase_if(s.found, [&](Candidate c) { return state.equal(c.slot(), left_out); });
  s.found.resize(std::min(s.found.size(), k));
  return report;
}

void HnswIndex::radius_one(const QueryView& query, float radius, const SearchRequest& request, const Bitset* passing,
                           std::size_t matches, Scratch& s) const {
  const HnswState& state = *state_;
  const Bitset& slots = passing != nullptr ? *passing : state.table.alive_bits();
  const auto by_walk = [&] {
    // This walk goes by distances, whatever the layout: it expands all that it keeps.
    const Planner planner(plan_costs(), state.table.live(), matches, static_cast<double>(request.ef));
    if (!planner.begins_with_walk()) return false;
    const AcceptSlots accept(slots, state.twins);
    const Scan scan = state.walk().prepare(query, s.query);
    s.pool.reset(request.ef, radius + scan.margin);
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
  exact_radius(state.truth(), query, radius, slots, s);
}

}  // namespace annlib
