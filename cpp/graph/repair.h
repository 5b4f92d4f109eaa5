#pragma once

#include <cstddef>
#include <vector>

#include "core/types.h"
#include "graph/grow.h"
#include "graph/hierarchy.h"

namespace annlib {

/// The nodes nearest to a query, nearest first and distinct: no more than kNeighbourhood.
using Neighbourhood = std::vector<Slot>;
inline constexpr std::size_t kNeighbourhood = 64;

/// What repair() did.
struct RepairCounts {
  std::size_t neighbourhoods = 0;  ///< distinct ones
  std::size_t broken = 0;          ///< of which some node did not lead to some other
  std::size_t links = 0;           ///< made
  std::size_t lists = 0;           ///< that got them
};

/// Mends the bottom layer for queries that lie elsewhere than the nodes do: around such a query the nearest nodes lie
/// far apart, link to what lies near to each of them, and not to each other. Within its 8 nearest nodes, its 16
/// nearest and so on, each is made to lead to each other one by links between these, the shortest that do it (after
/// Hua et al., NGFix, arXiv 2510.22316). A walk that keeps so many candidates then finds all when it has
/// found one.
///
/// Neighbourhoods are looked at in batches of a fiftieth, in an order of their own, so that the result depends neither
/// on theirs nor on threads. A list gives at most half of its room to such links; what pruning values least makes way.
/// `options.journal` and `publish` as Grower has them; `progress(n)` follows n more of the distinct ones.
RepairCounts repair(const Hierarchy& graph, const std::vector<Neighbourhood>& neighbourhoods,
                    const GrowOptions& options, const Grower::Publish& publish, const Grower::Progress& progress);

}  // namespace annlib
