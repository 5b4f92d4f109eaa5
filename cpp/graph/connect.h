#pragma once

#include <cstddef>

#include "core/bitset.h"
#include "graph/grow.h"
#include "graph/hierarchy.h"

namespace annlib {

/// The nodes of the bottom layer to which links lead from the entry point, the entry itself among them.
Bitset reachable(const Hierarchy& graph);

/// Gives every node of `nodes` that cannot be reached from the entry a link from the nearest node that can: into a
/// free place, or in place of the longest link whose loss cuts nobody off. Returns how many it mended. `journal`, if
/// any, is given every list ahead of its change.
std::size_t connect(Hierarchy& graph, const Bitset& nodes, const Space& space, std::size_t ef,
                    const Grower::Publish& publish, Journal* journal = nullptr);

}  // namespace annlib
