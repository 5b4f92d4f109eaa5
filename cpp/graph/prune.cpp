#include "graph/prune.h"

#include <algorithm>

namespace annlib {

void prune(const Space& space, std::size_t max_degree, std::vector<Candidate>& candidates, PruneScratch& scratch,
           std::size_t always) {
  if (candidates.size() <= 1) return;
  auto& open = scratch.open;
  auto& taken = scratch.taken;
  open.resize(candidates.size());
  for (std::uint32_t i = 0; i < open.size(); ++i) open[i] = i;
  taken.assign(candidates.size(), 0);
  scratch.slots.resize(candidates.size());
  scratch.distances.resize(candidates.size());

  std::size_t chosen = 0;
  // A chosen node is the query against all that are still open: each pair is looked at once at most, and the kernels
  // get whole batches.
  while (!open.empty() && chosen < max_degree) {
    const std::uint32_t best = open.front();
    taken[best] = 1;
    ++chosen;
    const std::size_t rest = open.size() - 1;
    if (rest == 0 || chosen == max_degree) break;
    for (std::size_t i = 0; i < rest; ++i) scratch.slots[i] = candidates[open[i + 1]].slot();
    space.prepare_row(candidates[best].slot(), scratch.query)
        .score(scratch.slots.data(), rest, scratch.distances.data());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < rest; ++i) {
      const std::uint32_t c = open[i + 1];
      if (c < always || scratch.distances[i] > candidates[c].distance()) open[kept++] = c;
    }
    open.resize(kept);
  }
  for (std::size_t i = 0; i < candidates.size() && chosen < max_degree; ++i) {
    if (taken[i]) continue;
    taken[i] = 1;
    ++chosen;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (taken[i]) candidates[kept++] = candidates[i];
  }
  candidates.resize(kept);
}

}  // namespace annlib
