#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/random.h"
#include "index/timing.h"
#include "spann/postings.h"

namespace annlib {
namespace {

// Estimates wrong by more than so many times their typical error are given up.
constexpr float kErrors = 2.0f;
// Exact distances are computed after every so many lists, or when so many items wait for theirs: they tell what the
// next ones must undercut.
constexpr std::size_t kListsAtOnce = 4, kWaiting = 64;
constexpr std::size_t kExactAtOnce = 8;
// Of what passes a filter, how much is left is looked at after every list at first, then by an n-th more each time.
constexpr std::size_t kLookEvery = 4;
// Lists that are looked for besides those that are wanted, and how many times as many when that was not enough.
constexpr std::size_t kSpareLists = 16, kMoreLists = 4;

}  // namespace

// The candidates in s.expanded, (least likely distance, slot), by their exact distances into s.nearest: as long as they
// may be among the k nearest.
void Postings::rank(const Scan& exact, std::size_t k, Scratch& s) const {
  std::vector<Candidate>& waiting = s.expanded;
  s.need(std::max(std::min(k, waiting.size()), kExactAtOnce));
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
  const auto far = [&](Candidate c) { return s.nearest.full() && !(c.distance() < s.nearest.bound().distance()); };
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

// Without a filter the nearest lie around the query, as they do around the vectors from which reaches were learnt: from
// about `wanted` lists, from fewer where what was found is near and from more where it is far. What passes a filter may
// lie elsewhere: from as many lists as leave no more of it than `wanted` of all. So may what lies within a radius.
bool Postings::probe(const QueryView& query, const ProbeRequest& request, Scratch& s) const {
  const std::size_t k = request.k, wanted = request.wanted;
  const bool ball = std::isfinite(request.radius), everywhere = request.passing != nullptr || ball;
  const std::size_t count = centroids.count(), most = everywhere ? count : std::min(count, 4 * wanted);
  const bool product = table.metric() == Metric::ip, elsewhere = everywhere && !product;
  const float limit = wanted < count ? at_lists(reach, static_cast<double>(wanted)) : std::numeric_limits<float>::max();
  const float enough = elsewhere && wanted < count ? at_lists(spread.rests, static_cast<double>(wanted)) : -1.0f;
  const float part = lists.codes().part();
  const Scan exact = stored.prepare(query, s.row);
  const simd::Kernels& kernels = simd::kernels();
  float* row = s.query.need_floats(table.dim());
  lists.codes().load(query.data, query.dtype, row);
  const simd::BlockQuery tables = lists.codes().prepare(row, s.tables);
  const float length = product ? std::sqrt(kernels.norm2(row, table.dim())) : 0.0f;
  // What rounding the query to 7 bits does: of lists far smaller than it is long, that is what errors come from.
  const float rounding = tables.scale * std::sqrt(static_cast<float>(tables.count) / 12.0f);
  // Rows that an add has put into lists are none of the index's items before it ends.
  const auto accept = [&](Slot slot) {
    if (request.passing == nullptr && !table.alive(slot)) return false;
    return request.left_out == kNoSlot || (slot != request.left_out && !table.same_vector(slot, request.left_out));
  };
  s.visited.reset(table.slots());
  s.nearest.reset(k);
  s.expanded.clear();
  ExpectedRest rest = ball ? ExpectedRest(spread.dims, k, table.live()) : ExpectedRest(spread.dims);
  std::vector<Slot> scanned;
  std::size_t at = 0, asked = 0, next_look = 1;
  double passed = 0, looked_at = 1;
  float last_kth = std::numeric_limits<float>::infinity();
  const auto kth = [&] {
    return s.nearest.full() ? std::min(s.nearest.bound().distance(), request.radius) : request.radius;
  };
  // Whether the list at hand, at this distance, is one too many.
  const auto done = [&](float distance) {
    // What is typical of the data need not be so around this query.
    if (2 * at < wanted && (ball || !elsewhere)) return false;
    if (elsewhere) {
      if (at < next_look || !(s.nearest.full() || ball)) return false;
      next_look = at + at / kLookEvery + 1;
      rank(exact, k, s);
      const bool settled = !request.settles || !(kth() < last_kth);
      last_kth = kth();
      return settled && rest.share(last_kth / part) <= static_cast<double>(enough);
    }
    return product ? distance > kth() + limit * length : distance > kth() * limit;
  };
  while (at < most) {
    asked = std::min(most, asked == 0 ? wanted + kSpareLists : kMoreLists * asked);
    centroids.search(lists, row, tables, asked, s);
    const bool all = s.found.size() < asked;
    // Of those that were not known to be near before, some are nearer than what has been scanned.
    std::erase_if(s.found, [&](Candidate c) { return std::binary_search(scanned.begin(), scanned.end(), c.slot()); });
    if (elsewhere) {
      for (const Candidate c : s.found) rest.expect(c.distance() / part, radius_of(c.slot()), lists.size(c.slot()));
      rest.beyond(count - std::min(count, rest.lists()));
    }
    for (std::size_t i = 0; i < s.found.size() && at < most; ++i, ++at) {
      const std::uint32_t list = s.found[i].slot();
      const float distance = s.found[i].distance();
      if (done(distance)) return rank(exact, k, s), true;
      const float compared = product ? length : std::sqrt(std::max(distance / part, 0.0f));
      float margin = kErrors * lists.width(list) * (error * compared + rounding);
      if (!std::isfinite(margin)) margin = std::numeric_limits<float>::max();
      const std::uint32_t next = i + 1 < s.found.size() ? s.found[i + 1].slot() : kNoList;
      const std::size_t passes = lists.scan(list, next, tables, distance, kth() + margin, request.passing, kernels,
                                            [&](Slot slot, float estimate) {
                                              if (!s.visited.insert(slot) || !accept(slot)) return;
                                              s.expanded.emplace_back(estimate - margin, slot);
                                            });
      if (elsewhere) rest.scanned(passes);
      passed += static_cast<double>(passes);
      looked_at += static_cast<double>(lists.size(list));
      s.cost.estimates += passes;
      ++s.cost.hops;
      if (s.expanded.size() > k && (at % kListsAtOnce == 0 || s.expanded.size() > kWaiting)) rank(exact, k, s);
      const double steps = static_cast<double>(at + 1);
      if (request.planner != nullptr && !request.planner->goes_on(at + 1, steps * passed / looked_at)) return false;
    }
    if (all) break;
    for (const Candidate c : s.found) scanned.push_back(c.slot());
    std::sort(scanned.begin(), scanned.end());
  }
  rank(exact, k, s);
  return true;
}

void Postings::leave_out_near(const QueryView& query, double share, Scratch& s, Bitset& rows) const {
  std::vector<float> row(table.dim());
  lists.codes().load(query.data, query.dtype, row.data());
  std::vector<NearCentroid> near;
  const auto n = static_cast<std::size_t>(std::ceil(share * static_cast<double>(centroids.count())));
  centroids.search_squared(lists, row.data(), n, s, near);
  std::vector<Slot> members;
  for (const NearCentroid& list : near) {
    lists.slots_of(list.centroid, members);
    for (const Slot slot : members) rows.reset(slot);
  }
}

const Course& Postings::course() const {
  std::call_once(measured_, [&] { course_ = measure(); });
  return course_;
}

// From stored vectors, among all and among a sixteenth.
Course Postings::measure() const {
  constexpr std::size_t kQueries = 16, kWanted = 32, kNearest = 10;
  constexpr double kShare = 1.0 / 16;
  const Bitset some = a_sixteenth(table.alive_bits());
  Scratch s;
  RunTimer least, all, few;
  std::vector<float> vector(table.dim());
  // The first round warms up. Each run has a query of its own, for the rows of one before would be in caches.
  for (std::uint64_t i = 0; i < 2 * kQueries; ++i) {
    if (i == kQueries) least = all = few = RunTimer();
    const auto run = [&](std::uint64_t which, ProbeRequest request, RunTimer& timer) {
      const Slot slot = to_below(random64(which, 5, i), static_cast<std::uint32_t>(table.slots()));
      request.left_out = slot;  // to find itself is easy
      stored.load(slot, vector.data());
      timer.time(s, [&] { probe({vector.data(), DType::f32, kNoSlot}, request, s); });
    };
    run(0, {kNearest, 1}, least);
    run(1, {kNearest, kWanted}, all);
    run(2, {kNearest, kWanted, &some}, few);
  }
  Course course = Course::fitted(least.run(), all.run());
  course.fit(few.run(course.start), kShare);
  course.steps /= kWanted;
  course.most = static_cast<double>(centroids.count());
  return course;
}

}  // namespace annlib
