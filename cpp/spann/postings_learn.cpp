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
constexpr std::size_t kLearnt = 256, kLearntLists = 64, kLearntNeighbours = 10;
// Numbers of dimensions that rows may be spread over: the first, how many there are, and the ratio of one to the next.
constexpr double kFirstDims = 2, kDimsRatio = 1.15;
constexpr std::size_t kDimsTried = 60;
float dims_tried(std::size_t i) { return static_cast<float>(kFirstDims * std::pow(kDimsRatio, i)); }
// What a filter lets pass may lie apart from a query: not in its first lists.
constexpr std::size_t kApart = 16;

// Of vectors so long that distances are no numbers, everything is looked at.
float finite(float x) { return std::isfinite(x) ? x : std::numeric_limits<float>::max(); }

// The lists around a query, nearest first. Distances are squared, but radii are not.
struct Around {
  struct List {
    float distance, radius;
    std::size_t size;
    std::vector<float> rows;  ///< how far they are, of the first kLearntLists; none of them twice
  };
  std::vector<List> lists;
  std::size_t beyond = 0;  ///< how many lists there are besides
  double error = 0;        ///< mean square of those of estimates, in the units of Postings::error

  // The distance of the last of the neighbours in the first kLearntLists but these.
  float kth(std::size_t skipped) const {
    std::vector<float> rows;
    for (std::size_t i = skipped; i < std::min(lists.size(), kLearntLists); ++i) {
      rows.insert(rows.end(), lists[i].rows.begin(), lists[i].rows.end());
    }
    if (rows.empty()) return 0;
    const std::size_t last = std::min(kLearntNeighbours, rows.size()) - 1;
    std::nth_element(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(last), rows.end());
    return rows[last];
  }
  void expect(std::size_t first, std::size_t last, ExpectedRest& rest) const {
    for (std::size_t i = first; i < std::min(last, lists.size()); ++i) {
      rest.expect(lists[i].distance, lists[i].radius, lists[i].size);
    }
  }
};

// In how many dimensions rows are spread, if that is to make it most likely that the nearest lie in the lists that they
// do: of those that are not in the first lists of a query.
float likeliest_dims(const std::vector<Around>& queries, std::size_t skipped) {
  std::array<double, kDimsTried> likely{};
  for (const Around& query : queries) {
    const float kth = query.kth(skipped);
    std::vector<double> near;
    for (std::size_t i = skipped; i < std::min(query.lists.size(), kLearntLists); ++i) {
      const auto& rows = query.lists[i].rows;
      near.push_back(
          static_cast<double>(std::count_if(rows.begin(), rows.end(), [&](float row) { return row <= kth; })));
    }
    for (std::size_t d = 0; d < likely.size(); ++d) {
      ExpectedRest rest(dims_tried(d));
      query.expect(skipped, kLearntLists, rest);
      double all = 0, found = 0;
      for (std::size_t i = 0; i < near.size(); ++i) {
        const double weight = std::max(rest.weight(i, kth), std::numeric_limits<double>::min());
        all += static_cast<double>(query.lists[skipped + i].size) * weight;
        found += near[i];
        likely[d] += near[i] * std::log(weight);
      }
      if (all > 0) likely[d] -= found * std::log(all);
    }
  }
  return dims_tried(static_cast<std::size_t>(std::max_element(likely.begin(), likely.end()) - likely.begin()));
}

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
        around.lists.push_back({list.distance() / part, radius_of(list.slot()), lists.size(list.slot()), {}});
      }
      for (std::size_t j = 0; j < std::min(kLearntLists, s.found.size()); ++j) {
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
          around.lists[j].rows.push_back(truth[m] / part);
        }
      }
      const float kth = s.nearest.sorted().empty() ? 0.0f : s.nearest.sorted().back().distance();
      for (std::size_t r = 0; r < kReaches; ++r) {
        const float distance = s.found[std::min(std::size_t{1} << r, s.found.size()) - 1].distance();
        reaches[i][r] = finite(product ? distance - kth : kth > 0 ? distance / kth : 1.0f);
      }
      if (count > 0) around.error = sum / count;
    }
  });
  double sum = 0;
  for (const Around& around : seen) sum += around.error;
  error = finite(static_cast<float>(std::sqrt(sum / static_cast<double>(queries))));
  reach.resize(kReaches);
  for (std::size_t r = 0; r < kReaches; ++r) {
    const auto middle = reaches.begin() + static_cast<std::ptrdiff_t>(queries / 2);
    std::nth_element(reaches.begin(), middle, reaches.end(), [r](auto& a, auto& b) { return a[r] < b[r]; });
    reach[r] = (*middle)[r];
  }
  dims = 1;
  rests.assign(kReaches, 0.0f);
  if (product) return;
  dims = std::min(likeliest_dims(seen, 0), likeliest_dims(seen, kApart));
  for (std::size_t r = 0; r < kReaches; ++r) {
    double share = 0;
    for (const Around& around : seen) {
      ExpectedRest rest(dims);
      around.expect(0, around.lists.size(), rest);
      rest.beyond(around.beyond);
      for (std::size_t j = 0; j < std::min(std::size_t{1} << r, around.lists.size()); ++j) {
        rest.scanned(around.lists[j].size);
      }
      share += rest.share(around.kth(0));
    }
    rests[r] = static_cast<float>(share / static_cast<double>(queries));
  }
}

}  // namespace annlib
