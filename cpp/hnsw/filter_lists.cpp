#include "hnsw/filter_lists.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

#include "core/parallel.h"
#include "core/random.h"
#include "hnsw/hnsw_index.h"
#include "hnsw/walks.h"

namespace annlib {
namespace {

// Among fewer a scan of what passes is as fast as lists are.
constexpr std::size_t kListedFrom = 16384;
// Stored vectors from which it is learnt how many lists do what a walk does, and for how many neighbours.
constexpr std::size_t kLearnt = 256, kNearest = 10;
// What lies in this share of the lists is near a query. Of the rest, so many lists hold the nearest for sure; and this
// is the effort of walks to them, as a power of two of the first.
constexpr double kNear = 1.0 / 16;
constexpr std::size_t kSurely = 1024, kWalkedApart = 1;
// Walks that find less than so much of that, of what they find around a query, are not to be trusted.
constexpr float kTrusted = 0.95f;
// Where fewer pass, they do not hold together by two hops (docs/algorithms.md).
constexpr float kBridged = 1.0f / 50;
// Lists are tried in powers of two below this.
constexpr std::size_t kMostLists = 256;

// How many of these are as near as the last of those found for sure.
std::size_t hits(const std::vector<Candidate>& found, const std::vector<Candidate>& truth) {
  const float last = truth.back().distance();
  return static_cast<std::size_t>(
      std::count_if(found.begin(), found.end(), [&](Candidate c) { return c.distance() <= last; }));
}

// Recall at efforts each twice the one before, of which what the one behind the last finds counts as the truth.
template <std::size_t n>
class Recalls {
 public:
  // search(effort) gives what is found for one query, nearest first.
  template <class Search>
  void count(std::size_t first, Search&& search) {
    const std::vector<Candidate> truth = search(first << n);
    if (truth.empty()) return;
    wanted_ += truth.size();
    for (std::size_t i = 0; i < n; ++i) hits_[i] += hits(search(first << i), truth);
  }
  double recall(std::size_t i) const {
    return static_cast<double>(hits_[i]) / static_cast<double>(std::max<std::size_t>(wanted_, 1));
  }
  // How often the first effort has to be doubled for a recall; n where it takes more than all of them.
  double doublings_for(double wanted) const {
    std::size_t i = 0;
    while (i < n && recall(i) < wanted) ++i;
    if (i == 0 || i == n) return static_cast<double>(i);
    return static_cast<double>(i) - (recall(i) - wanted) / (recall(i) - recall(i - 1));
  }

 private:
  std::array<std::atomic<std::size_t>, n> hits_{};
  std::atomic<std::size_t> wanted_{0};
};

}  // namespace

bool FilterLists::probe_within(const QueryView& query, const ProbeRequest& request, Scratch& s) const {
  if (!probe(query, request, s)) return false;
  const std::vector<Candidate>& near = s.nearest.sorted();
  const auto beyond = [&](Candidate c) { return !(c.distance() <= request.radius); };
  s.found.assign(near.begin(), std::find_if(near.begin(), near.end(), beyond));
  return true;
}

// Under lock_, for items that are there. Lists that memory does not suffice for are given up.
void HnswIndex::enlist(std::span<const std::int64_t> ids, std::span<const std::uint32_t> homes) {
  HnswState& state = *state_;
  if (!state.filter_lists) return;
  std::vector<Slot> slots;
  try {
    for (const std::int64_t id : ids) slots.push_back(state.table.find(id));
    state.filter_lists->settle(slots, homes);
  } catch (const std::bad_alloc&) {
    state.filter_lists.reset();
  }
}

// An index with attributes has lists, which are made anew when half of the items have changed.
void HnswIndex::mend_filter_lists(std::size_t changes, int threads) {
  const HnswState& state = *state_;
  const std::size_t live = state.table.live();
  // Those that are there stay until half of the items are gone.
  const std::size_t least = state.filter_lists ? kListedFrom / 2 : kListedFrom;
  const bool wanted = make_lists_ != nullptr && !state.table.columns().empty() && !state.codes_alone && live >= least;
  changes_since_listed_ += changes;
  if (wanted && state.filter_lists && changes_since_listed_ * 2 <= live) {
    return state_->filter_lists->maintain(threads, lock_);
  }
  if (!wanted && !state.filter_lists) return;
  std::unique_ptr<FilterLists> made;
  HnswState::ListEfforts efforts;
  if (wanted) {
    std::vector<Slot> slots;
    state.table.alive_bits().for_each([&](std::size_t slot) { slots.push_back(static_cast<Slot>(slot)); });
    const auto key = [&](Slot slot) { return std::pair(params_.rank(state.table.id(slot)), state.table.id(slot)); };
    std::sort(slots.begin(), slots.end(), [&](Slot a, Slot b) { return key(a) < key(b); });
    made = make_lists_(state.table, params_.seed);
    made->build(slots, threads);
    efforts = learn_list_efforts(*made, threads);
  }
  changes_since_listed_ = 0;
  std::lock_guard writing(lock_);
  state_->filter_lists.swap(made);
  state_->list_efforts = std::move(efforts);
}

// With stored vectors as queries, each as though it were not there: the recall of walks through the graph, and how many
// lists it takes for the same where all items pass, a quarter of them, or what lies apart from the query: whichever
// takes most. And the recall of walks there.
HnswState::ListEfforts HnswIndex::learn_list_efforts(const FilterLists& lists, int threads) const {
  constexpr std::size_t kWalks = HnswState::kEfforts, kProbes = std::bit_width(kMostLists) - 1;
  const HnswState& state = *state_;
  std::vector<Slot> queries;
  for (std::uint64_t i = 0; i < 16 * kLearnt && queries.size() < kLearnt; ++i) {
    const Slot slot = to_below(random64(3, 5, i), static_cast<std::uint32_t>(state.table.slots()));
    if (!state.table.alive(slot)) continue;
    // Walks need the others on their way down.
    const Slot node = state.twins.node_of(slot);
    if (state.graph.level(node) == 0 && node != state.graph.entry()) queries.push_back(slot);
  }
  Bitset quarter = state.table.alive_bits().copy();
  quarter.edit_words([](std::size_t w, std::uint64_t word) { return word & random64(0, 9, w) & random64(1, 9, w); });
  Recalls<kWalks> by_walks;
  Recalls<kProbes> by_lists[3];
  std::atomic<std::size_t> wanted_apart{0}, found_apart{0};
  parallel_for(queries.size(), 4, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> vector(dim_);
    SearchRequest request;
    request.k = kNearest;
    request.plan = Plan::walk;
    PlanReport report;
    for (std::size_t i = begin; i < end; ++i) {
      state.truth().load(queries[i], vector.data());
      const QueryView query{vector.data(), DType::f32, queries[i]};
      by_walks.count(HnswState::kFirstEffort, [&](std::size_t ef) {
        request.ef = ef;
        s.found.clear();
        search_one(query, request, {nullptr, state.table.live(), nullptr}, 1, s, report);
        return s.found;
      });
      Bitset apart = state.table.alive_bits().copy();
      lists.leave_out_near(query, kNear, s, apart);
      lists.probe(query, {kNearest, kSurely, &apart, queries[i]}, s);
      const std::vector<Candidate> nearest_apart = s.nearest.sorted();
      if (!nearest_apart.empty()) {
        const auto elsewhere = std::make_shared<SlotSet>(apart.copy());
        const Passing passing{elsewhere, elsewhere->count(), nullptr};
        request.ef = request.ef_filtered = HnswState::kFirstEffort << kWalkedApart;
        s.found.clear();
        search_one(query, request, passing, 1, s, report);
        wanted_apart += nearest_apart.size();
        found_apart += hits(s.found, nearest_apart);
      }
      const Bitset* const passing[] = {&state.table.alive_bits(), &quarter, &apart};
      for (std::size_t p : {0, 1, 2}) {
        by_lists[p].count(1, [&](std::size_t wanted) {
          ProbeRequest request{kNearest, wanted, passing[p], queries[i]};
          request.settles = false;  // what this learns is for filters that are worse
          lists.probe(query, request, s);
          return s.nearest.sorted();
        });
      }
    }
  });
  HnswState::ListEfforts efforts;
  for (std::size_t w = 0; w < kWalks; ++w) {
    double most = 0;
    for (const auto& probes : by_lists) most = std::max(most, probes.doublings_for(by_walks.recall(w)));
    efforts.lists.push_back(static_cast<float>(std::exp2(most)));
  }
  const double apart = static_cast<double>(found_apart) / static_cast<double>(std::max<std::size_t>(wanted_apart, 1));
  efforts.apart = static_cast<float>(apart / std::max(by_walks.recall(kWalkedApart), 0.01));
  return efforts;
}

std::size_t HnswState::lists_for(std::size_t ef) const {
  const double at = std::log2(static_cast<double>(ef) / static_cast<double>(kFirstEffort));
  const double inside = std::clamp(at, 0.0, static_cast<double>(kEfforts - 1));
  const auto low = static_cast<std::size_t>(inside);
  const std::size_t high = std::min(low + 1, kEfforts - 1);
  const double lists = std::lerp(static_cast<double>(list_efforts.lists[low]),
                                 static_cast<double>(list_efforts.lists[high]), inside - static_cast<double>(low));
  return static_cast<std::size_t>(std::max(std::ceil(lists * std::exp2(at - inside)), 1.0));
}

// In a graph of data in clusters between which hardly a link leads, walks need not find what lies apart from a query.
// Among few items, where that is not known, a scan is no great loss.
bool HnswIndex::finds_apart() const {
  if (state_->filter_lists) return state_->list_efforts.apart >= kTrusted;
  return state_->table.live() >= kListedFrom;
}

HnswIndex::Ways HnswIndex::ways(const Effort& effort, std::size_t matches, std::size_t together) const {
  const PlanCosts costs = plan_costs().shared_by(together);
  Ways ways{costs.match * static_cast<double>(matches), costs.course, {}, finds_apart()};
  ways.walk.steps *= expected(effort);
  if (ways.finds_apart && effort.share >= kBridged) {
    Course two_hops = costs.two_hops;
    two_hops.steps *= static_cast<double>(effort.ef);
    ways.two_hops = two_hops.cost(1);
  }
  if (state_->filter_lists) {
    ways.lists = state_->filter_lists->course();
    ways.lists.steps *= static_cast<double>(state_->lists_for(effort.ef));
  } else {
    ways.lists.start = std::numeric_limits<double>::infinity();
  }
  return ways;
}

void HnswIndex::Ways::tell(double share, PlanReport& report) const {
  report.scan_cost = scan;
  report.walk_cost = walk.cost(share);
  report.lists_cost = std::isfinite(lists.start) ? lists.cost(share) : 0.0;
  report.two_hops_cost = std::isfinite(two_hops) ? two_hops : 0.0;
}

// True if this was how the query was answered.
bool HnswIndex::by_lists(const QueryView& query, std::size_t k, const Effort& effort, const Bitset& passing,
                         const Planner* planner, PlanReport& report, Scratch& s) const {
  report.plan = Plan::lists;
  const ProbeRequest request{k, state_->lists_for(effort.ef), &passing, query.left_out, planner};
  const bool done = state_->filter_lists->probe(query, request, s);
  if (done) s.found = s.nearest.sorted();
  return settled(done, k, report, s);
}

}  // namespace annlib
