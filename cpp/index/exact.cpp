#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "codec/space.h"
#include "index/index.h"

namespace annlib {
namespace {

// Rows scored at a time: for one query a stretch worth its prefetches, for many so few that their scores, too, stay in
// the nearest cache.
constexpr std::size_t kRowsForOne = 256, kRowsForMany = 64;
// As many candidates of a query at least, and of each of its k so many, wait for their exact distances together.
constexpr std::size_t kLeastWaiting = 64, kWaitingEach = 4;
// Exact distances are computed in groups of so many, between looks at what is still worth it.
constexpr std::size_t kRerankGroup = 4;

// Calls take(n) with all passing slots in s.rows, at most `most` at a time.
template <class Take>
void for_rows(const SlotSet* passing, const Bitset& alive, std::size_t most, Scratch& s, Take&& take) {
  if (s.rows.size() < most) s.rows.resize(most);
  std::size_t n = 0;
  const auto add = [&](std::size_t slot) {
    s.rows[n++] = static_cast<Slot>(slot);
    if (n == most) take(std::exchange(n, 0));
  };
  passing != nullptr ? passing->for_each(add) : alive.for_each(add);
  take(n);
}

// Leaves waiting what may still be among the results. Of k that wait, no true distance lies farther than the k-th code
// tells and codes are wrong; so no result's code lies farther than that and as much again. And no result lies beyond
// the k-th of those whose exact distances are known. NaN, and no limit, until there are k.
void leave_near(ScannedQuery& q, std::size_t k) {
  std::vector<Candidate>& waiting = q.waiting;
  float farthest = q.nearest.bound().distance() + q.first.margin;
  if (waiting.size() >= k && k > 0) {
    const auto kth = waiting.begin() + static_cast<std::ptrdiff_t>(k - 1);
    std::nth_element(waiting.begin(), kth, waiting.end());
    const float surely = kth->distance() + 2 * q.first.margin;
    if (surely < farthest || std::isnan(farthest)) farthest = surely;
  }
  std::erase_if(waiting, [&](Candidate c) { return c.distance() > farthest; });
  q.limit = farthest;
}

// Those that wait, nearest first, by their exact distances: until the next one lies so far beyond the k-th that its
// code would have to be wrong by more than codes are. So do all behind it, and nothing is left waiting.
void rerank_waiting(ScannedQuery& q, std::size_t k, Scratch& s) {
  const std::size_t more = std::max(kRerankGroup, k / 4);
  s.need(std::max(k, more));
  const std::vector<Candidate>& waiting = q.waiting;
  std::sort(q.waiting.begin(), q.waiting.end());
  for (std::size_t at = 0, n = 1; n > 0;) {
    const std::size_t group = q.cost.reranked < k ? k - q.cost.reranked : more;
    q.nearest.shrink();
    q.limit = q.nearest.bound().distance() + q.first.margin;  // NaN, and no limit, until there are k
    for (n = 0; n < group && at < waiting.size() && !(waiting[at].distance() > q.limit); ++at) {
      s.slots[n++] = waiting[at].slot();
    }
    q.exact.score(s.slots.data(), n, s.distances.data());
    for (std::size_t i = 0; i < n; ++i) q.nearest.push(Candidate(s.distances[i], s.slots[i]));
    q.cost.reranked += n;
  }
  q.waiting.clear();
}

// Queries whose first scans differ in nothing but the query are scored by one call.
bool alike(const Scan& a, const Scan& b) {
  return a.scorer.block == b.scorer.block && a.rows.data == b.rows.data && a.rows.dim == b.rows.dim &&
         a.rows.tails == b.rows.tails && a.rows.tail_stride == b.rows.tail_stride;
}

}  // namespace

void scan_nearest(const ScanSpaces& spaces, std::span<const QueryView> queries, std::size_t k, const SlotSet* passing,
                  const Bitset& alive, Scratch& s) {
  const std::size_t count = queries.size();
  if (s.scanned.size() < count) s.scanned.resize(count);
  s.queries.clear();
  for (std::size_t i = 0; i < count; ++i) {
    ScannedQuery& q = s.scanned[i];
    q.first = (spaces.codes != nullptr ? spaces.codes : spaces.exact)->prepare(queries[i], q.query);
    if (!q.first.exact) q.exact = spaces.exact->prepare(queries[i], q.row);
    q.nearest.reset(k);
    q.waiting.clear();
    q.cost = SearchCost();
    s.queries.push_back(q.first.query);
  }
  s.limits.assign(count, std::numeric_limits<float>::quiet_NaN());
  const std::size_t most_waiting = std::max(kLeastWaiting, kWaitingEach * k);
  const auto take = [&](std::size_t i, Candidate c) {
    ScannedQuery& q = s.scanned[i];
    if (q.first.exact) {
      q.nearest.push(c);
      s.limits[i] = q.nearest.bound().distance();
      return;
    }
    q.waiting.push_back(c);
    if (q.waiting.size() < most_waiting) return;
    leave_near(q, k);
    if (2 * q.waiting.size() > most_waiting) rerank_waiting(q, k, s);  // codes alone do not tell
    s.limits[i] = q.limit;
  };
  const std::size_t most = count == 1 ? kRowsForOne : kRowsForMany;
  if (s.scores.size() < most * count) s.scores.resize(most * count);
  if (s.near.size() < count) s.near.resize(count);
  for_rows(passing, alive, most, s, [&](std::size_t n) {
    for (std::size_t first = 0, same = 1; first < count; first += same, same = 1) {
      const Scan& scan = s.scanned[first].first;
      while (first + same < count && alike(scan, s.scanned[first + same].first)) ++same;
      scan.scorer.block(&s.queries[first], same, scan.rows, s.rows.data(), n, s.scores.data());
      const float* scores = s.scores.data();
      for (std::size_t i = 0; i < n; ++i, scores += same) {
        const std::size_t near = simd::kernels().within(scores, &s.limits[first], same, s.near.data());
        for (std::size_t j = 0; j < near; ++j) {
          take(first + s.near[j], Candidate(scores[s.near[j]], s.rows[i]));
        }
      }
      for (std::size_t i = first; i < first + same; ++i) s.scanned[i].cost.distances += n;
    }
  });
  for (std::size_t i = 0; i < count; ++i) {
    if (s.scanned[i].first.exact) continue;
    leave_near(s.scanned[i], k);
    rerank_waiting(s.scanned[i], k, s);
  }
}

void scan_radius(const ScanSpaces& spaces, const QueryView& query, float radius, const SlotSet* passing,
                 const Bitset& alive, Scratch& s) {
  const Scan first = (spaces.codes != nullptr ? spaces.codes : spaces.exact)->prepare(query, s.query);
  const Scan exact = first.exact ? first : spaces.exact->prepare(query, s.row);
  s.need(kRowsForOne);
  for_rows(passing, alive, kRowsForOne, s, [&](std::size_t n) {
    first.score(s.rows.data(), n, s.distances.data());
    s.cost.distances += n;
    std::size_t near = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (s.distances[i] > radius + first.margin) continue;
      s.distances[near] = s.distances[i];
      s.slots[near++] = s.rows[i];
    }
    if (!first.exact) {
      exact.score(s.slots.data(), near, s.distances.data());
      s.cost.reranked += near;
    }
    for (std::size_t i = 0; i < near; ++i) {
      if (s.distances[i] <= radius) s.found.emplace_back(s.distances[i], s.slots[i]);
    }
  });
  std::sort(s.found.begin(), s.found.end());
}

}  // namespace annlib
