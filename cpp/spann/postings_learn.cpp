#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "core/parallel.h"
#include "spann/postings.h"

namespace annlib {
namespace {

// Vectors that are queries here, and the lists and neighbours looked at for each.
constexpr std::size_t kLearnt = 256, kLearntLists = 64, kLearntNeighbours = Around::kNearest;

// Of vectors so long that distances are no numbers, everything is looked at.
float finite(float x) { return std::isfinite(x) ? x : std::numeric_limits<float>::max(); }

}  // namespace

// The length of what is left of a row without its centroid, by what a code keeps of it (list_codes.h): of a vector
// whose directions are random, the sum of its elements' magnitudes is its length times the root of 2 d / pi.
float Postings::radius_of(std::uint32_t list) const {
  const double dims = 4.0 * static_cast<double>(lists.codes().tables());
  const double length = std::sqrt(2 * dims / std::numbers::pi) / (2 * static_cast<double>(lists.codes().part()));
  return finite(static_cast<float>(length * static_cast<double>(lists.width(list))));
}

// From stored vectors, each as though it were not there: how far away the lists of their neighbours are, how far from
// the truth estimates, and how rows are spread.
void Postings::learn(std::span<const Slot> slots, int threads) {
  const std::size_t n = slots.size(), queries = std::min(kLearnt, n);
  const std::uint32_t dim = table.dim();
  const bool product = table.metric() == Metric::ip;
  const float part = lists.codes().part();
  std::vector<std::array<float, kReaches>> reaches(queries);
  std::vector<Around> seen(queries);
  std::vector<double> errors(queries, 0.0);
  parallel_for(queries, 4, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(dim), truth;
    std::vector<Slot> found;
    std::vector<float> estimates;
    for (std::size_t i = begin; i < end; ++i) {
      const Slot self = slots[i * n / queries];
      stored.load(self, row.data());
      const QueryView query{row.data(), DType::f32, kNoSlot};
      const Scan exact = stored.prepare(query, s.row);
      const simd::BlockQuery tables = lists.codes().prepare(row.data(), s.tables);
      centroids.search(lists, row.data(), tables, std::size_t{1} << (kReaches - 1), s);
      s.visited.reset(table.slots());
      s.visited.insert(self);
      s.nearest.reset(kLearntNeighbours);
      const float length = std::sqrt(simd::kernels().norm2(row.data(), dim));
      double sum = 0, count = 0;
      Around& around = seen[i];
      around.beyond = centroids.count() - s.found.size();
      for (const Candidate list : s.found) {
        around.lists.push_back(
            {list.distance() / part, radius_of(list.slot()), static_cast<std::uint32_t>(lists.size(list.slot()))});
      }
      around.known = std::min(kLearntLists, s.found.size());
      around.rows.resize(around.known);
      for (std::size_t j = 0; j < around.known; ++j) {
        const Candidate list = s.found[j];
        found.clear();
        estimates.clear();
        lists.scan(list.slot(), kNoList, tables, list.distance(), std::numeric_limits<float>::infinity(), nullptr,
                   simd::kernels(), [&](Slot slot, float estimate) {
                     found.push_back(slot);
                     estimates.push_back(estimate);
                   });
        truth.resize(found.size());
        exact.score(found.data(), found.size(), truth.data());
        const float unit =
            lists.width(list.slot()) * (product ? length : std::sqrt(std::max(list.distance() / part, 0.0f)));
        for (std::size_t m = 0; m < found.size(); ++m) {
          if (unit > 0) sum += std::pow((estimates[m] - truth[m]) / unit, 2.0), ++count;
          if (!s.visited.insert(found[m])) continue;
          s.nearest.push(Candidate(truth[m], found[m]));
          around.rows[j].push_back(truth[m] / part);
        }
      }
      const float kth = s.nearest.sorted().empty() ? 0.0f : s.nearest.sorted().back().distance();
      for (std::size_t r = 0; r < kReaches; ++r) {
        const float distance = s.found[std::min(std::size_t{1} << r, s.found.size()) - 1].distance();
        reaches[i][r] = finite(product ? (distance - kth) / length : kth > 0 ? distance / kth : 1.0f);
      }
      if (count > 0) errors[i] = sum / count;
    }
  });
  double sum = 0;
  for (const double error : errors) sum += error;
  error = finite(static_cast<float>(std::sqrt(sum / static_cast<double>(queries))));
  reach.resize(kReaches);
  for (std::size_t r = 0; r < kReaches; ++r) {
    const auto middle = reaches.begin() + static_cast<std::ptrdiff_t>(queries / 2);
    std::nth_element(reaches.begin(), middle, reaches.end(), [r](auto& a, auto& b) { return a[r] < b[r]; });
    reach[r] = (*middle)[r];
  }
  spread = product ? Spread{} : learn_spread(seen, replicas, kReaches);
}

}  // namespace annlib
