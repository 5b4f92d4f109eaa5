#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec/space.h"
#include "core/candidate.h"

namespace annlib {

/// Memory for prune().
struct PruneScratch {
  QueryBuffer query;
  std::vector<Slot> slots;
  std::vector<float> distances;
  std::vector<std::uint32_t> open;
  std::vector<char> taken;
};

/// Chooses neighbours of a node among `candidates` (nearest first, distinct, without the node itself): the nearest,
/// then each next one unless a chosen one is nearer to it than the node is (the relative-neighbourhood rule; Malkov &
/// Yashunin, Algorithm 4). Equal distances count as nearer: otherwise vectors that are all alike would choose each
/// other alone and become an island. Places that stay free go to the nearest of those passed over (docs/performance.md
/// has what that and DiskANN's alpha do to recall). The result is in the order of the candidates. The first `always` of
/// them, at most max_degree, are chosen in any case, and the rest beside them.
void prune(const Space& space, std::size_t max_degree, std::vector<Candidate>& candidates, PruneScratch& scratch,
           std::size_t always = 0);

}  // namespace annlib
