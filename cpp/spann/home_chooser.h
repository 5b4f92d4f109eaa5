#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "spann/centroid_index.h"
#include "spann/centroids.h"

namespace annlib {

/// Chooses the lists of rows while an index is built, among all lists, which are empty yet. By squared distance
/// whatever the metric: lists are what lies together.
///
/// const members may be called from any thread.
class HomeChooser {
 public:
  /// Builds `centroids`, the index's own, over all of `lists`; under ip it is left alone, and one by squared distance
  /// built beside it. Both outlive this.
  HomeChooser(const PostingLists& lists, CentroidIndex& centroids, Metric metric, int threads);

  /// `row` is a vector as lists see it; homes.size() lists, kNoList behind those that there are.
  void choose(const float* row, Scratch& s, std::vector<NearCentroid>& near, std::span<std::uint32_t> homes) const;

 private:
  Table form_;
  PostingLists squared_;
  CentroidIndex by_square_{form_};
  const PostingLists* lists_;
  const CentroidIndex* centroids_;
};

}  // namespace annlib
