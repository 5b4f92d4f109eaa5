#include <algorithm>
#include <mutex>
#include <vector>

#include "core/random.h"
#include "core/slot_set.h"
#include "filter/plan.h"
#include "hnsw/walks.h"
#include "index/timing.h"

namespace annlib {
namespace {

// How walks and scans are timed, of which the median counts.
constexpr std::size_t kTimed = 16, kTimedScan = 256, kTimedEf = 32;

// A walk that is given up as soon as it can be.
struct Trial : ToTheEnd {
  bool goes_on(std::size_t steps, std::size_t) const { return steps < Planner::kTrialSteps; }
  bool looks_around(std::size_t) const { return true; }
};

}  // namespace

// Timed on this machine, this index and the state of its memory: what walks among all and among a sixteenth take, from
// what passes to what passes too, and a scan of random items.
PlanCosts HnswIndex::measure_costs() const {
  constexpr double kShare = 1.0 / 16;
  const HnswState& state = *state_;
  const Bitset some = a_sixteenth(state.table.alive_bits());
  const SlotSet sixteenth(some.copy());
  Scratch s;
  s.need(std::max<std::size_t>(kTimedScan, kSeeds));
  RunTimer least, all, few, hops;
  std::vector<double> seeding, trials, matches, shared;
  std::vector<float> vector(state.table.dim());
  const auto slots = static_cast<std::uint32_t>(state.table.slots());
  // The first round warms up: pages of a file that was just mapped, and the processor's clock.
  for (std::uint64_t i = 0; i < 2 * kTimed; ++i) {
    if (i == kTimed) {
      least = all = few = hops = RunTimer();
      seeding.clear();
      trials.clear();
      matches.clear();
      shared.clear();
    }
    // Each run has a query of its own, for the rows of one before would be in caches.
    const QueryView query{vector.data(), DType::f32, kNoSlot};
    const auto run = [&](std::uint64_t which, RunTimer& timer, const auto& search) {
      const Slot slot = to_below(random64(which, 5, i), slots);
      state.truth().load(slot, vector.data());
      // As though it were not there, for to find itself is easy; but walks need the others on their way down.
      const bool found = state.nodes.test(slot) && state.graph.level(slot) == 0 && slot != state.graph.entry();
      timer.time(s, [&] { search(found ? slot : kNoSlot); });
    };
    const auto walk = [&](std::size_t ef, const auto& accept, const auto& patience) {
      return [&, ef](Slot left_out) {
        walk_nearest(query, left_out, std::min<std::size_t>(ef, 10), {ef, ef, 1.0f}, accept, patience, s);
      };
    };
    s.seeds.clear();
    run(2, least, walk(kTimedEf / 4, AcceptEvery{}, ToTheEnd{}));
    run(3, all, walk(kTimedEf, AcceptEvery{}, ToTheEnd{}));
    const Clock::time_point begin = Clock::now();
    choose_seeds(sixteenth.count() > 0 ? &sixteenth : nullptr, s);
    state.walk().prepare(query, s.query).score(s.seeds.data(), s.seeds.size(), s.distances.data());
    seeding.push_back(nanoseconds_since(begin));
    const AcceptSlots accept(some, state.twins);
    run(4, few, walk(kTimedEf, accept, ToTheEnd{}));
    RunTimer trial;
    run(7, trial, walk(kTimedEf, accept, Trial{}));
    trials.push_back(trial.run().time);
    run(6, hops, [&](Slot left_out) { walk_two_hops(query, left_out, 10, kTimedEf, accept, s); });
    for (std::uint64_t j = 0; j < kTimedScan; ++j) s.slots[j] = to_below(random64(1, 5, i * kTimedScan + j), slots);
    const ScanTimes times = time_scan(state.walk().prepare(query, s.query), kTimedScan, s);
    matches.push_back(times.match);
    shared.push_back(times.shared);
  }
  Course walk = Course::fitted(least.run(), all.run()), two_hops;
  walk.start += median(seeding);
  walk.fit(few.run(walk.start), kShare);
  walk.steps /= kTimedEf;
  walk.trial = median(seeding) + median(trials);
  two_hops.start = walk.start;
  const Course::Run by_two = hops.run(walk.start);
  two_hops.steps = by_two.steps / kTimedEf;
  two_hops.step = std::max(by_two.time - walk.start, 0.0) / by_two.steps;
  return {walk, median(matches), median(shared), two_hops};
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

}  // namespace annlib
