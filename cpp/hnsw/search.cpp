#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/random.h"
#include "filter/plan.h"
#include "hnsw/walks.h"

namespace annlib {
namespace {

// Exact distances are computed in groups of so many, between looks at what is still worth it.
constexpr std::size_t kRerankGroup = 4;
// A radius that takes in more than this is answered by a scan: a sorted pool is no place for so many.
constexpr std::size_t kWalkedBall = 4096;
// At first the share around a query is known from few nodes: a walk is given up for lists that would be so many times
// as fast.
constexpr double kSunk = 1.6;
// Where fewer pass around the query than elsewhere, lists go farther than for so few from all over, up to so many
// times.
constexpr double kApart = 3;
// What lists promise at first they mostly keep better than it looks: they are given up for two hops that would be so
// many times as fast.
constexpr double kReluctance = 1.5;
// Of so few items for each candidate that a walk would keep, a scan is as fast.
constexpr std::size_t kScanned = 24;

}  // namespace

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
      rerank(query, k, scan, s.expanded, s);
      collect(k, accept, s);
    }
    return settled(done, k, report, s);
  };
  if (forced) return attempt(nullptr);
  const Ways others = ways(effort, filter.count, together);
  Course course{others.walk.start, 0, 0};
  for (const auto& part : cover->parts) {
    course.step = std::max(course.step, hop_cost(*part.index));
    course.steps += static_cast<double>(effort_of(*part.index, ef));
  }
  const auto members = static_cast<double>(std::max(cover->members, filter.count));
  const double otherwise = std::min({others.surely(), others.walk.cost(effort.share), others.lists.cost(effort.share)});
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
void HnswIndex::rerank(const QueryView& query, std::size_t k, const Scan& scan, std::span<const Candidate> candidates,
                       Scratch& s) const {
  s.nearest.reset(k);
  if (scan.exact) {
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
      if (candidates[i].distance() - scan.margin > s.nearest.bound().distance()) return;
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
  const std::size_t matches = filter.count;
  const SlotSet* passing = matches < state.table.live() ? filter.slots.get() : nullptr;
  const Slot left_out = query.left_out == kNoSlot ? kNoSlot : state.twins.node_of(query.left_out);
  const std::size_t equals = left_out == kNoSlot ? 0 : 1 + state.twins.of(left_out).size();
  const std::size_t k = std::min(request.k, matches - std::min(matches, equals));
  const Effort effort{std::max(request.ef, k), std::max(request.ef_filtered, k),
                      static_cast<float>(matches) / static_cast<float>(state.table.live())};
  const auto attempt = [&](const auto& accept, const auto& patience) {
    report.plan = Plan::walk;
    choose_seeds(passing, s);
    const bool done = walk_nearest(query, left_out, k, effort, accept, patience, s);
    if (done) collect(k, accept, s);
    return settled(done, k, report, s);
  };
  Acceptance acceptance(passing, state, s);
  const auto by_two_hops = [&] {
    report.plan = Plan::two_hops;
    choose_seeds(passing, s);
    const AcceptSlots accept = acceptance();
    walk_two_hops(query, left_out, k, effort.ef, accept, s);
    collect(k, accept, s);
    return settled(true, k, report, s);
  };
  const bool again = report.switched();  // nor is what has been given up tried again
  if (request.plan == Plan::subgraph || (request.plan == Plan::automatic && !again)) {
    if (by_subgraphs(query, request, filter, effort, together, k, acceptance, report, s)) return true;
  }
  if (request.plan == Plan::automatic && passing != nullptr) {
    const Ways those = ways(effort, matches, together);
    those.tell(effort.share, report);
    const double otherwise = std::min(those.surely(), kSunk * those.lists.cost(effort.share));
    const Planner walker(those.walk, effort.share, otherwise, those.finds_apart);
    const bool walks = !again && walker.begins();
    if (walks && attempt(acceptance(), walker)) return true;
    // If a walk has shown how few pass around the query, that is not tried again.
    report.seen = std::min(report.seen, walker.seen());
    const double share = std::min<double>(effort.share, report.seen);
    const Planner prober(those.lists, share, std::min(those.scan, kReluctance * those.two_hops));
    const double apart = std::min(std::sqrt(effort.share / std::max(share, 1e-9)), kApart);
    if (walks || again ? prober.wins(apart) : prober.begins()) {
      if (by_lists(query, k, effort, acceptance().slots(), &prober, report, s)) return true;
    }
    if (those.two_hops < those.scan && by_two_hops()) return true;
  } else if (request.plan == Plan::two_hops) {
    if (by_two_hops()) return true;
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
  const double share = static_cast<double>(matches) / static_cast<double>(state.table.live());
  Acceptance acceptance(passing, state, s);
  const auto by_lists = [&](const Ways& those) {
    const Planner planner(those.lists, share, those.scan);
    if (those.lists.cost(share) > those.walk.cost(share) || !planner.begins()) return false;
    const ProbeRequest within{matches, state.lists_for(request.ef), &acceptance().slots(), kNoSlot, &planner, radius};
    if (state.filter_lists->probe_within(query, within, s)) return true;
    s.found.clear();
    return false;
  };
  const auto by_walk = [&](const Ways& those) {
    // This walk goes by distances, whatever the layout: it expands all that it keeps.
    Course course = those.walk;
    course.steps = static_cast<double>(request.ef);
    const Planner planner(course, share, those.scan, those.finds_apart);
    if (!planner.begins()) return false;
    const AcceptSlots accept = acceptance();
    const Scan scan = state.walk().prepare(query, s.query);
    s.pool.reset(request.ef, radius + scan.margin);
    choose_seeds(passing, s);
    if (!walk(scan, kNoSlot, accept, planner, s) || s.pool.size() >= kWalkedBall) return false;
    rerank(query, s.pool.size(), scan, s.pool.items(), s);
    collect(matches, accept, s);
    const auto beyond = [&](Candidate c) { return !(c.distance() <= radius); };
    s.found.erase(std::find_if(s.found.begin(), s.found.end(), beyond), s.found.end());
    return true;
  };
  if (passing != nullptr || matches > kScanned * request.ef) {
    const Ways those = ways({request.ef, request.ef, static_cast<float>(share)}, matches, 1);
    if (passing != nullptr && std::isfinite(radius) && by_lists(those)) return;
    if (by_walk(those)) return;
  }
  scan_radius({nullptr, &state.truth()}, query, radius, passing, state.table.alive_bits(), s);
}

}  // namespace annlib
