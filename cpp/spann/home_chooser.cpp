#include "spann/home_chooser.h"

#include <numeric>

namespace annlib {

HomeChooser::HomeChooser(const PostingLists& lists, CentroidIndex& centroids, Metric metric, int threads)
    : form_(lists.dim(), DType::f32, Metric::l2),
      squared_(lists.dim(), Metric::l2),
      lists_(&lists),
      centroids_(&centroids) {
  std::vector<std::uint32_t> numbers(lists.count());
  std::iota(numbers.begin(), numbers.end(), 0u);
  if (metric == Metric::ip) {
    for (std::uint32_t list : numbers) squared_.add_list(lists.centroid(list));
    by_square_.build(squared_, numbers, threads);
    lists_ = &squared_;
    centroids_ = &by_square_;
  } else {
    centroids.build(lists, numbers, threads);
  }
}

void HomeChooser::choose(const float* row, Scratch& s, std::vector<NearCentroid>& near,
                         std::span<std::uint32_t> homes) const {
  centroids_->search_squared(*lists_, row, kChosenAmong, s, near);
  choose_homes(near, lists_->centroids(), lists_->dim(), homes);
}

}  // namespace annlib
