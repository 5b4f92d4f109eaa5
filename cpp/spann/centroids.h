#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "cluster/clusters.h"
#include "core/buffer.h"

namespace annlib {

/// Centres for the lists of a sample: balanced clusters, refined; count x dim. clustered() is called when about half of
/// the work is done. A function of the rows, in their order, and the options but threads.
Array<float> find_centroids(const RowMatrix& sample, const ClusterOptions& options,
                            const std::function<void()>& clustered);

/// Centroids among which the lists of a vector are chosen, the nearest to it.
inline constexpr std::size_t kChosenAmong = 16;

/// The lists that a vector is to stand in: the nearest, and those in which what is near it but lies on the other side
/// will be looked for: of the centroids `near`, each costs its squared distance and, for each list chosen before, the
/// square of how far the differences from both centroids point the same way (Sun et al., SOAR, NeurIPS 2023,
/// arXiv 2404.00774, section 3).
void choose_homes(std::span<const NearCentroid> near, const Array<float>& centroids, std::uint32_t dim,
                  std::span<std::uint32_t> homes);

}  // namespace annlib
