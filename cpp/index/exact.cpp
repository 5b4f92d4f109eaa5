#include <algorithm>

#include "codec/space.h"
#include "index/index.h"

namespace annlib {
namespace {

constexpr std::size_t kBlock = 256;

// Scores all passing slots, a block of n at a time in s.slots and s.distances, and calls take(n).
template <class Take>
void for_blocks(const Scan& scan, const Bitset& passing, Scratch& s, Take&& take) {
  s.need(kBlock);
  std::size_t n = 0;
  const auto flush = [&] {
    scan.score(s.slots.data(), n, s.distances.data());
    s.cost.distances += n;
    take(n);
    n = 0;
  };
  passing.for_each([&](std::size_t slot) {
    s.slots[n++] = static_cast<Slot>(slot);
    if (n == kBlock) flush();
  });
  flush();
}

// Candidates by `space`, each handed over: of all passing slots, or with codes of those that may be within limit().
template <class Limit, class Take>
void for_exact(const CodeSpace* codes, const Space& space, const QueryView& query, const Bitset& passing, Scratch& s,
               Limit&& limit, Take&& take) {
  const Scan exact = space.prepare(query, s.row);
  const auto hand_over = [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) take(Candidate(s.distances[i], s.slots[i]));
  };
  if (codes == nullptr) return for_blocks(exact, passing, s, hand_over);
  const Scan coded = codes->prepare(query, s.query);
  for_blocks(coded, passing, s, [&](std::size_t n) {
    const float farthest = limit() + coded.margin;
    std::size_t near = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (!(s.distances[i] > farthest)) s.slots[near++] = s.slots[i];  // a limit of NaN lets everything pass
    }
    exact.score(s.slots.data(), near, s.distances.data());
    s.cost.reranked += near;
    hand_over(near);
  });
}

void nearest(const CodeSpace* codes, const Space& space, const QueryView& query, std::size_t k, const Bitset& passing,
             Scratch& s) {
  s.nearest.reset(k);
  const auto limit = [&] {
    s.nearest.shrink();
    return s.nearest.bound().distance();
  };
  for_exact(codes, space, query, passing, s, limit, [&](Candidate c) { s.nearest.push(c); });
  const auto& best = s.nearest.sorted();
  s.found.insert(s.found.end(), best.begin(), best.end());
}

void within(const CodeSpace* codes, const Space& space, const QueryView& query, float radius, const Bitset& passing,
            Scratch& s) {
  const auto limit = [radius] { return radius; };
  for_exact(codes, space, query, passing, s, limit, [&](Candidate c) {
    if (c.distance() <= radius) s.found.push_back(c);
  });
  std::sort(s.found.begin(), s.found.end());
}

}  // namespace

void exact_search(const Space& space, const QueryView& query, std::size_t k, const Bitset& passing, Scratch& s) {
  nearest(nullptr, space, query, k, passing, s);
}

void exact_radius(const Space& space, const QueryView& query, float radius, const Bitset& passing, Scratch& s) {
  within(nullptr, space, query, radius, passing, s);
}

void coded_search(const CodeSpace& codes, const Table& table, const QueryView& query, std::size_t k,
                  const Bitset& passing, Scratch& s) {
  nearest(&codes, StoredSpace(table), query, k, passing, s);
}

void coded_radius(const CodeSpace& codes, const Table& table, const QueryView& query, float radius,
                  const Bitset& passing, Scratch& s) {
  within(&codes, StoredSpace(table), query, radius, passing, s);
}

}  // namespace annlib
