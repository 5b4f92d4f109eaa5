#include <algorithm>

#include "codec/space.h"
#include "index/index.h"

namespace annlib {
namespace {

constexpr std::size_t kBlock = 256;

// Scores all passing slots, a block at a time, and hands each block's candidates over.
template <class Take>
void for_passing(const Table& table, const QueryView& query, const Bitset& passing, Scratch& s, Take&& take) {
  const Scan scan = StoredSpace(table).prepare(query, s.query);
  s.need(kBlock);
  std::size_t n = 0;
  const auto flush = [&] {
    scan.score(s.slots.data(), n, s.distances.data());
    s.cost.distances += n;
    for (std::size_t i = 0; i < n; ++i) take(Candidate(s.distances[i], s.slots[i]));
    n = 0;
  };
  passing.for_each([&](std::size_t slot) {
    s.slots[n++] = static_cast<Slot>(slot);
    if (n == kBlock) flush();
  });
  flush();
}

}  // namespace

void exact_search(const Table& table, const QueryView& query, std::size_t k, const Bitset& passing, Scratch& s) {
  s.nearest.reset(k);
  for_passing(table, query, passing, s, [&](Candidate c) { s.nearest.push(c); });
  const auto& best = s.nearest.sorted();
  s.found.insert(s.found.end(), best.begin(), best.end());
}

void exact_radius(const Table& table, const QueryView& query, float radius, const Bitset& passing, Scratch& s) {
  for_passing(table, query, passing, s, [&](Candidate c) {
    if (c.distance() <= radius) s.found.push_back(c);
  });
  std::sort(s.found.begin(), s.found.end());
}

}  // namespace annlib
