#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/random.h"
#include "index/timing.h"
#include "spann/spann_index.h"
#include "table/vectors.h"

namespace annlib {

// Timed on this machine, this index and the state of its memory: what a list and an exact distance take.
PlanCosts SpannIndex::measure_costs() const {
  constexpr std::size_t kQueries = 16, kMatches = 256;
  const SpannState& state = *state_;
  Scratch s;
  s.need(kMatches);
  std::vector<double> matches, shared;
  std::vector<float> vector(dim_);
  const auto slots = static_cast<std::uint32_t>(state.table.slots());
  // The first round warms up.
  for (std::uint64_t i = 0; i < 2 * kQueries; ++i) {
    if (i == kQueries) {
      matches.clear();
      shared.clear();
    }
    state.postings.stored.load(to_below(random64(0, 5, i), slots), vector.data());
    const QueryView query{vector.data(), DType::f32, kNoSlot};
    for (std::size_t j = 0; j < kMatches; ++j) s.slots[j] = to_below(random64(1, 5, i * kMatches + j), slots);
    const ScanTimes times = time_scan(state.postings.stored.prepare(query, s.row), kMatches, s);
    matches.push_back(times.match);
    shared.push_back(times.shared);
  }
  return {state.postings.course(), median(matches), median(shared)};
}

PlanCosts SpannIndex::plan_costs() const {
  std::call_once(state_->costs_measured, [&] { state_->costs = measure_costs(); });
  return state_->costs;
}

bool SpannIndex::search_one(const QueryView& query, const SearchRequest& request, const Passing& filter,
                            std::size_t together, Scratch& s, PlanReport& report) const {
  if (needs_graph(request.plan)) {
    throw ValueError("plan '" + name_of(request.plan) + "': the plans of a SPANN index are auto, exact, scan, walk");
  }
  const SpannState& state = *state_;
  const SlotSet* passing = filter.slots.get();
  const std::size_t k = std::min(request.k, filter.count), wanted = std::max<std::size_t>(request.ef, 1);
  const auto attempt = [&](const Planner* planner) {
    report.plan = Plan::walk;
    std::optional<MarkedSlots> marked;
    if (passing != nullptr) marked.emplace(*passing, s.passing);
    const ProbeRequest probe{k, wanted, marked ? &marked->bits() : nullptr, query.left_out, planner};
    const bool done = state.postings.probe(query, probe, s);
    const auto& best = s.nearest.sorted();
    s.found.assign(best.begin(), best.end());
    if (done && (s.found.size() == k || query.left_out != kNoSlot)) return true;
    report.give_up(done ? GivenUp::too_few : GivenUp::slow);
    s.found.clear();
    return false;
  };
  if (request.plan == Plan::automatic && passing != nullptr) {
    PlanCosts costs = plan_costs().shared_by(together);
    costs.course.steps *= static_cast<double>(wanted);
    report.scan_cost = costs.match * static_cast<double>(filter.count);
    const double share = static_cast<double>(filter.count) / static_cast<double>(state.table.live());
    const Planner planner(costs.course, share, report.scan_cost);
    report.walk_cost = planner.cost();
    if (!report.switched() && planner.begins() && attempt(&planner)) return true;
  } else if (request.plan == Plan::walk ||
             (request.plan == Plan::automatic && wanted < state.postings.centroids.count())) {
    if (attempt(nullptr)) return true;
  }
  if (query.left_out == kNoSlot) return false;
  // What equals the vector left out takes places, and how much does is not known.
  for (std::size_t most = k + 1;; most = std::min(2 * most, filter.count)) {
    scan_nearest({nullptr, &state.postings.stored}, {&query, 1}, std::min(most, filter.count), passing,
                 state.table.alive_bits(), s);
    s.found = s.scanned.front().nearest.sorted();
    s.cost += s.scanned.front().cost;
    std::erase_if(s.found, [&](Candidate c) {
      return c.slot() == query.left_out || state.table.same_vector(c.slot(), query.left_out);
    });
    if (s.found.size() >= k || most >= filter.count) break;
  }
  s.found.resize(std::min(s.found.size(), k));
  report.plan = Plan::exact;
  return true;
}

ScanSpaces SpannIndex::scan_spaces(const SearchRequest&, const SlotSet*) const {
  return {nullptr, &state_->postings.stored};
}

void SpannIndex::radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                            std::size_t matches, Scratch& s) const {
  const SpannState& state = *state_;
  if (std::isfinite(radius) && request.ef < state.postings.centroids.count()) {
    PlanCosts costs = plan_costs();
    costs.course.steps *= static_cast<double>(request.ef);
    const double share = static_cast<double>(matches) / static_cast<double>(state.table.live());
    const Planner planner(costs.course, share, costs.match * static_cast<double>(matches));
    if (planner.begins()) {
      std::optional<MarkedSlots> marked;
      if (passing != nullptr) marked.emplace(*passing, s.passing);
      const Bitset* const bits = marked ? &marked->bits() : nullptr;
      if (state.postings.probe_within(query, {matches, request.ef, bits, kNoSlot, &planner, radius}, s)) return;
      s.found.clear();
    }
  }
  scan_radius({nullptr, &state.postings.stored}, query, radius, passing, state.table.alive_bits(), s);
}

}  // namespace annlib
