/// Where rows of posting lists lie, and what share of the nearest is left by that.

#include "spann/spread.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tests/check.h"
#include "tests/normal.h"

using namespace annlib;
using annlib::test::normal;

namespace {

constexpr std::uint32_t kDim = 32, kRows = 100;
constexpr float kRadius = 2;

float length2(const float* row) {
  double sum = 0;
  for (std::uint32_t d = 0; d < kDim; ++d) sum += static_cast<double>(row[d]) * row[d];
  return static_cast<float>(sum);
}

/// Rows on spheres around the middles of lists, seen from the origin: how far away each middle is, and its rows.
/// Squared, nearest first.
std::vector<std::pair<float, std::vector<float>>> spheres(const std::vector<float>& away, unsigned seed) {
  std::vector<std::pair<float, std::vector<float>>> lists;
  for (std::uint32_t list = 0; list < away.size(); ++list) {
    std::vector<float> rows = normal(kRows * kDim, seed + list), distances;
    for (std::uint32_t r = 0; r < kRows; ++r) {
      float* row = rows.data() + r * kDim;
      const float times = kRadius / std::sqrt(length2(row));
      for (std::uint32_t d = 0; d < kDim; ++d) row[d] *= times;
      row[list % kDim] += away[list];
      distances.push_back(length2(row));
    }
    lists.emplace_back(away[list] * away[list], distances);
  }
  std::sort(lists.begin(), lists.end());
  return lists;
}

/// At very different distances from the query, or at about the same.
std::vector<float> distances_of(std::uint32_t lists, bool same, unsigned seed) {
  std::vector<float> away = normal(lists, seed);
  for (std::uint32_t i = 0; i < lists; ++i) away[i] = same ? 4 + 0.01f * away[i] : 1 + 0.1f * static_cast<float>(i);
  return away;
}

}  // namespace

TEST(the_rest_is_what_lists_that_are_left_hold) {
  constexpr std::uint32_t kLists = 60, kNear = 300;
  for (const bool same : {false, true}) {
    const auto lists = spheres(distances_of(kLists, same, 7), 8);
    std::vector<float> all;
    for (const auto& [middle, rows] : lists) all.insert(all.end(), rows.begin(), rows.end());
    std::nth_element(all.begin(), all.begin() + kNear, all.end());
    const float kth = all[kNear];
    for (const std::size_t known : {std::size_t{kLists}, std::size_t{kLists / 2}}) {
      ExpectedRest rest(kDim);
      for (std::size_t i = 0; i < known; ++i) rest.expect(lists[i].first, kRadius, kRows);
      rest.beyond(kLists - known);
      CHECK_EQ(rest.share(std::numeric_limits<float>::infinity()), 1.0);
      double left = kNear, before = 1;
      for (std::size_t i = 0; i + 1 < known; ++i) {
        rest.scanned(kRows);
        const auto& rows = lists[i].second;
        left -= static_cast<double>(std::count_if(rows.begin(), rows.end(), [&](float row) { return row < kth; }));
        if (i % 10 != 9) continue;
        const double share = rest.share(kth);
        CHECK(std::abs(share - left / kNear) < 0.12, "same distance ", same, ", ", known, " known, after ", i + 1, ": ",
              share, " expected, ", left / kNear, " left");
        CHECK(share <= before, "after ", i + 1);
        before = share;
      }
    }
  }
}

TEST(the_rest_is_of_what_passes) {
  const auto share = [](std::size_t first, std::size_t then) {
    ExpectedRest rest(16);
    for (int i = 0; i < 20; ++i) rest.expect(100.0f + static_cast<float>(i), 5, 50);
    for (int i = 0; i < 10; ++i) rest.scanned(i < 5 ? first : then);
    return rest.share(60);
  };
  CHECK(share(50, 50) > 0.1);
  CHECK_EQ(share(0, 0), 0.0);              // nothing passes
  CHECK(share(0, 50) > share(50, 50));     // nothing did where the query is
  CHECK(share(50, 0) < share(50, 50));     // and hardly anything does elsewhere,
  CHECK(share(50, 0) > 0);                 // but one never knows
  CHECK(ExpectedRest(16).share(60) == 0);  // there are no lists
}

TEST(the_rest_of_a_radius_is_of_what_may_pass) {
  const auto share = [](std::size_t passing, std::size_t passed, float within) {
    ExpectedRest rest(16, passing, 1000);
    for (int i = 0; i < 20; ++i) rest.expect(100.0f + static_cast<float>(i), 5, 50);
    for (int i = 0; i < 10; ++i) rest.scanned(passed);
    return rest.share(within);
  };
  CHECK(share(500, 0, 60) > 0.1);                  // nothing has passed yet, but will
  CHECK_EQ(share(500, 50, 60), share(0, 50, 60));  // more passes here than of all
  CHECK(share(1000, 50, 1) < 1e-3);                // hardly one row is within
}

TEST(a_spread_is_learnt_from_where_neighbours_are) {
  constexpr std::uint32_t kLists = 64;
  std::vector<Around> queries(40);
  for (unsigned q = 0; q < queries.size(); ++q) {
    for (const auto& [middle, rows] : spheres(distances_of(kLists, q % 2 == 0, 100 + q), 1000 * q)) {
      queries[q].lists.push_back({middle, kRadius, kRows});
      queries[q].rows.push_back(rows);
    }
    queries[q].known = kLists;
  }
  const Spread alone = learn_spread(queries, 1, 13);
  CHECK(alone.dims > 0.6f * kDim && alone.dims < 1.6f * kDim, alone.dims);
  CHECK_EQ(alone.rests.size(), 13u);
  CHECK(std::is_sorted(alone.rests.rbegin(), alone.rests.rend()));
  CHECK(alone.rests.front() > 0.5f && alone.rests.back() == 0.0f);  // of 64 lists one and all
  // What is left is known; where each row stands in several lists, that is what counts.
  const Spread several = learn_spread(queries, 2, 13);
  for (std::size_t r = 0; r < 13; ++r) CHECK(several.rests[r] <= alone.rests[r], r);
  CHECK_NEAR(at_lists(alone.rests, 4), alone.rests[2], 1e-6);
  CHECK_NEAR(at_lists(alone.rests, 1e9), alone.rests[12], 1e-6);
  CHECK(learn_spread({}, 1, 0).rests.empty());
}
