#include <algorithm>
#include <mutex>
#include <vector>

#include "core/random.h"
#include "filter/plan.h"
#include "hnsw/walks.h"
#include "index/timing.h"

namespace annlib {
namespace {

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
      const Slot slot = to_below(random64(which, 5, i), slots);
      state.truth().load(slot, vector.data());
      // As though it were not there, for to find itself is easy; but walks need the others on their way down.
      const bool found = state.nodes.test(slot) && state.graph.level(slot) == 0 && slot != state.graph.entry();
      const Slot left_out = found ? slot : kNoSlot;
      timer.time(s, [&] {
        walk_nearest(query, left_out, std::min<std::size_t>(ef, 10), {ef, ef, 1.0f}, accept, ToTheEnd{}, s);
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
  Course walk = Course::fitted(least.run(), all.run());
  walk.fit(few.run(walk.start), kShare);
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

}  // namespace annlib
