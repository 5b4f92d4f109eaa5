#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/error.h"
#include "core/random.h"
#include "index/timing.h"
#include "spann/spann_index.h"
#include "table/vectors.h"

namespace annlib {
namespace {

// Estimates wrong by more than so many times their typical error are given up.
constexpr float kErrors = 2.0f;
// Exact distances are computed after every so many lists, or when so many items wait for theirs: they tell what the
// next ones must undercut.
constexpr std::size_t kListsAtOnce = 4, kWaiting = 64;
constexpr std::size_t kExactAtOnce = 8;
// Lists of which a walk over centroids asks for more than it is to give.
constexpr std::size_t kSpareLists = 16;

/// Items that may be results.
class AcceptItems {
 public:
  AcceptItems(const Bitset& slots, const Table& table, Slot left_out)
      : slots_(slots), table_(table), left_out_(left_out) {}
  bool operator()(Slot slot) const {
    if (!slots_.test(slot)) return false;
    return left_out_ == kNoSlot || (slot != left_out_ && !table_.same_vector(slot, left_out_));
  }

 private:
  const Bitset& slots_;
  const Table& table_;
  Slot left_out_;
};

}  // namespace

// The candidates in s.expanded, (least likely distance, slot), by their exact distances into s.nearest: as long as they
// may be among the k nearest.
void SpannIndex::settle(const Scan& exact, std::size_t k, Scratch& s) const {
  std::vector<Candidate>& waiting = s.expanded;
  s.need(std::max(k, kExactAtOnce));
  const auto score = [&](std::size_t begin, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) s.slots[i] = waiting[begin + i].slot();
    exact.score(s.slots.data(), n, s.distances.data());
    for (std::size_t i = 0; i < n; ++i) s.nearest.push(Candidate(s.distances[i], s.slots[i]));
    s.cost.reranked += n;
    s.nearest.shrink();
  };
  std::size_t at = 0;
  if (!s.nearest.full() && waiting.size() > k) {
    std::nth_element(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(k), waiting.end());
    score(0, k);
    at = k;
  }
  const auto far = [&](Candidate c) { return !(c.distance() < s.nearest.bound().distance()); };
  waiting.erase(std::remove_if(waiting.begin() + static_cast<std::ptrdiff_t>(at), waiting.end(), far), waiting.end());
  std::sort(waiting.begin() + static_cast<std::ptrdiff_t>(at), waiting.end());
  while (at < waiting.size()) {
    const std::size_t n = std::min(kExactAtOnce, waiting.size() - at);
    if (far(waiting[at])) break;
    score(at, n);
    at += n;
  }
  waiting.clear();
}

// The nearest k items that pass, into s.nearest, from lists around the query: from about `wanted` of them, from fewer
// where what was found is near and from more where it is far. False where patience broke it off.
template <class Accept, class Patience>
bool SpannIndex::probe(const QueryView& query, std::size_t k, std::size_t wanted, bool filtered, const Accept& accept,
                       const Patience& patience, Scratch& s) const {
  const SpannState& state = *state_;
  const PostingLists& lists = state.lists;
  const std::size_t count = state.centroids.count(), most = filtered ? count : std::min(count, 4 * wanted);
  // What is typical of the data need not be so around this query.
  const std::size_t least = (wanted + 1) / 2;
  const bool product = metric_ == Metric::ip;
  const float reach =
      wanted < count ? reach_of(state.reach, static_cast<double>(wanted)) : std::numeric_limits<float>::max();
  const float part = lists.codes().part();
  const Scan exact = state.stored.prepare(query, s.row);
  const simd::ScanBlock scan_block = simd::kernels().scan_block;
  float* row = s.query.need_floats(dim_);
  lists.codes().load(query.data, query.dtype, row);
  const simd::BlockQuery tables = lists.codes().prepare(row, s.tables);
  const float length = product ? std::sqrt(simd::kernels().norm2(row, dim_)) : 0.0f;
  // What rounding the query to 7 bits does: of lists far smaller than it is long, that is what errors come from.
  const float rounding = tables.scale * std::sqrt(static_cast<float>(tables.count) / 12.0f);
  s.visited.reset(state.table.slots());
  s.nearest.reset(k);
  s.expanded.clear();
  std::size_t at = 0, passed = 0, asked = 0;
  const double mean = static_cast<double>(state.table.live()) * state.replicas / static_cast<double>(count);
  while (at < most) {
    asked = std::min(most, asked == 0 ? wanted + kSpareLists : 2 * asked);
    state.centroids.search(lists, row, tables, asked, s);
    for (; at < s.found.size() && at < most; ++at) {
      const std::uint32_t list = s.found[at].slot();
      const float distance = s.found[at].distance();
      const float kth = s.nearest.full() ? s.nearest.bound().distance() : std::numeric_limits<float>::infinity();
      if (at >= least && (product ? distance > kth + reach : distance > kth * reach)) return settle(exact, k, s), true;
      const float compared = product ? length : std::sqrt(std::max(distance / part, 0.0f));
      float margin = kErrors * lists.width(list) * (state.error * compared + rounding);
      if (!std::isfinite(margin)) margin = std::numeric_limits<float>::max();
      const std::uint32_t next = at + 1 < s.found.size() ? s.found[at + 1].slot() : kNoList;
      s.cost.estimates +=
          lists.scan(list, next, tables, distance, kth + margin, scan_block, [&](Slot slot, float estimate) {
            if (!s.visited.insert(slot) || !accept(slot)) return;
            ++passed;
            s.expanded.emplace_back(estimate - margin, slot);
          });
      ++s.cost.hops;
      if (s.expanded.size() > k && (at % kListsAtOnce == 0 || s.expanded.size() > kWaiting)) settle(exact, k, s);
      if (!patience.goes_on(at + 1, static_cast<std::size_t>(static_cast<double>(passed) / mean))) return false;
    }
    if (s.found.size() < asked) break;
  }
  settle(exact, k, s);
  return true;
}

// Timed on this machine, this index and the state of its memory: what a list and an exact distance take.
PlanCosts SpannIndex::measure_costs() const {
  constexpr std::size_t kProbes = 16, kLists = 32, kMatches = 256, kNearest = 10;
  const SpannState& state = *state_;
  const AcceptItems accept(state.table.alive_bits(), state.table, kNoSlot);
  Scratch s;
  std::vector<double> lists, matches, shared;
  std::vector<float> vector(dim_);
  const auto slots = static_cast<std::uint32_t>(state.table.slots());
  // The first round warms up.
  for (std::uint64_t i = 0; i < 2 * kProbes; ++i) {
    if (i == kProbes) {
      lists.clear();
      matches.clear();
      shared.clear();
    }
    state.stored.load(to_below(random64(0, 5, i), slots), vector.data());
    const QueryView query{vector.data(), DType::f32, kNoSlot};
    s.cost = SearchCost();
    const Clock::time_point begin = Clock::now();
    probe(query, kNearest, kLists, false, accept, ToTheEnd{}, s);
    lists.push_back(nanoseconds_since(begin) / static_cast<double>(std::max<std::uint64_t>(s.cost.hops, 1)));
    s.need(kMatches);
    for (std::size_t j = 0; j < kMatches; ++j) s.slots[j] = to_below(random64(1, 5, i * kMatches + j), slots);
    const ScanTimes times = time_scan(state.stored.prepare(query, s.row), kMatches, s);
    matches.push_back(times.match);
    shared.push_back(times.shared);
  }
  return {median(lists), median(matches), median(shared), 0.0, 1.0};
}

PlanCosts SpannIndex::plan_costs() const {
  std::call_once(state_->costs_measured, [&] { state_->costs = measure_costs(); });
  return state_->costs;
}

bool SpannIndex::search_one(const QueryView& query, const SearchRequest& request, const Passing& filter,
                            std::size_t together, Scratch& s, PlanReport& report) const {
  if (request.plan == Plan::subgraph) {
    throw ValueError("plan 'subgraph': a SPANN index has no graph; its plans are auto, exact, scan, walk");
  }
  const SpannState& state = *state_;
  const SlotSet* passing = filter.slots.get();
  const std::size_t k = std::min(request.k, filter.count), wanted = std::max<std::size_t>(request.ef, 1);
  const auto attempt = [&](const auto& patience) {
    report.plan = Plan::walk;
    std::optional<MarkedSlots> marked;
    if (passing != nullptr) marked.emplace(*passing, s.passing);
    const AcceptItems accept(marked ? marked->bits() : state.table.alive_bits(), state.table, query.left_out);
    const bool done = probe(query, k, wanted, passing != nullptr, accept, patience, s);
    const auto& best = s.nearest.sorted();
    s.found.assign(best.begin(), best.end());
    if (done && (s.found.size() == k || query.left_out != kNoSlot)) return true;
    report.switched = true;
    s.found.clear();
    return false;
  };
  if (request.plan == Plan::automatic && passing != nullptr) {
    const Planner planner(plan_costs().shared_by(together), state.table.live(), filter.count,
                          static_cast<double>(wanted));
    report.scan_cost = planner.scan_cost();
    report.walk_cost = planner.walk_cost();
    if (planner.begins_with_walk() && attempt(planner)) return true;
  } else if (request.plan == Plan::walk || (request.plan == Plan::automatic && wanted < state.centroids.count())) {
    if (attempt(ToTheEnd{})) return true;
  }
  if (query.left_out == kNoSlot) return false;
  // What equals the vector left out takes places, and how much does is not known.
  const AcceptItems other(state.table.alive_bits(), state.table, query.left_out);
  for (std::size_t most = k + 1;; most = std::min(2 * most, filter.count)) {
    scan_nearest({nullptr, &state.stored}, {&query, 1}, std::min(most, filter.count), passing, state.table.alive_bits(),
                 s);
    s.found = s.scanned.front().nearest.sorted();
    s.cost += s.scanned.front().cost;
    std::erase_if(s.found, [&](Candidate c) { return !other(c.slot()); });
    if (s.found.size() >= k || most >= filter.count) break;
  }
  s.found.resize(std::min(s.found.size(), k));
  report.plan = Plan::exact;
  return true;
}

ScanSpaces SpannIndex::scan_spaces(const SearchRequest&, const SlotSet*) const { return {nullptr, &state_->stored}; }

void SpannIndex::radius_one(const QueryView& query, float radius, const SearchRequest&, const SlotSet* passing,
                            std::size_t, Scratch& s) const {
  scan_radius({nullptr, &state_->stored}, query, radius, passing, state_->table.alive_bits(), s);
}

}  // namespace annlib
