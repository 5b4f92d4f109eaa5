/// Clusters, posting lists of one-bit codes, and the index of their centroids.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "cluster/clusters.h"
#include "posting/posting_lists.h"
#include "spann/home_chooser.h"
#include "spann/postings.h"
#include "tests/check.h"
#include "tests/normal.h"

using namespace annlib;
using annlib::test::normal;

namespace {

constexpr float kAll = std::numeric_limits<float>::infinity();

float distance2(const float* a, const float* b, std::uint32_t dim) {
  double sum = 0;
  for (std::uint32_t i = 0; i < dim; ++i)
    sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  return static_cast<float>(sum);
}

// All of them, nearest first.
std::vector<NearCentroid> nearest_lists(const Array<float>& centroids, const float* row, std::uint32_t dim) {
  std::vector<NearCentroid> near;
  for (std::uint32_t c = 0; c < centroids.size() / dim; ++c) {
    near.push_back({distance2(row, centroids.data() + c * dim, dim), c});
  }
  std::sort(near.begin(), near.end());
  return near;
}

std::vector<std::pair<Slot, float>> scanned(const PostingLists& lists, std::uint32_t list,
                                            const simd::BlockQuery& query, float distance, float bound) {
  std::vector<std::pair<Slot, float>> found;
  lists.scan(list, kNoList, query, distance, bound, nullptr, simd::kernels(),
             [&](Slot slot, float estimate) { found.emplace_back(slot, estimate); });
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

TEST(clusters_are_balanced_and_do_not_depend_on_threads) {
  constexpr std::uint32_t kDim = 12;
  const std::vector<float> rows = normal(3000 * kDim, 1);
  ClusterOptions options;
  options.size = 50;
  options.threads = 1;
  const RowMatrix matrix{rows.data(), 3000, kDim};
  const Clusters one = balanced_clusters(matrix, options);
  options.threads = 4;
  const Clusters four = balanced_clusters(matrix, options);
  CHECK_EQ(one.centroids.size(), four.centroids.size());
  CHECK(std::equal(one.centroids.begin(), one.centroids.end(), four.centroids.begin()));
  CHECK(one.homes == four.homes);
  const std::size_t count = one.centroids.size() / kDim;
  std::vector<std::size_t> sizes(count, 0);
  std::vector<double> sums(count * kDim, 0.0);
  for (std::size_t i = 0; i < 3000; ++i) {
    ++sizes[one.homes[i]];
    for (std::uint32_t d = 0; d < kDim; ++d) sums[one.homes[i] * kDim + d] += rows[i * kDim + d];
  }
  CHECK(count >= 60 && count <= 150, count);
  CHECK(*std::max_element(sizes.begin(), sizes.end()) <= 63);
  for (std::size_t c = 0; c < count; ++c) {
    CHECK(sizes[c] > 0, c);
    for (std::uint32_t d = 0; d < kDim; ++d) {
      CHECK(std::fabs(one.centroids[c * kDim + d] - sums[c * kDim + d] / static_cast<double>(sizes[c])) < 1e-5, c);
    }
  }
}

TEST(clusters_of_equal_rows_end) {
  const std::vector<float> rows(1000 * 3, 0.25f);
  ClusterOptions options;
  options.size = 7;
  const Clusters clusters = balanced_clusters({rows.data(), 1000, 3}, options);
  CHECK(clusters.centroids.size() / 3 >= 1000 / 9);
  const Clusters single = balanced_clusters({rows.data(), 1, 3}, options);
  CHECK_EQ(single.centroids.size(), 3u);
}

TEST(refined_centroids_are_nearer_and_do_not_depend_on_threads) {
  constexpr std::uint32_t kDim = 12;
  constexpr std::size_t kRows = 3000;
  const std::vector<float> rows = normal(kRows * kDim, 2);
  const RowMatrix matrix{rows.data(), kRows, kDim};
  ClusterOptions options;
  options.size = 10;
  options.threads = 1;
  int calls = 0;
  const Array<float> one = find_centroids(matrix, options, [&] { ++calls; });
  CHECK_EQ(calls, 1);
  options.threads = 4;
  const Array<float> four = find_centroids(matrix, options, [] {});
  CHECK_EQ(one.size(), four.size());
  CHECK(std::equal(one.begin(), one.end(), four.begin()));
  const Clusters balanced = balanced_clusters(matrix, options);
  CHECK_EQ(one.size(), balanced.centroids.size());
  const auto spread = [&](const Array<float>& centroids) {
    double sum = 0;
    for (std::size_t i = 0; i < kRows; ++i) sum += nearest_lists(centroids, rows.data() + i * kDim, kDim)[0].distance;
    return sum;
  };
  CHECK(spread(one) < 0.97 * spread(balanced.centroids), spread(one) / spread(balanced.centroids));
}

TEST(homes_are_those_of_least_cost) {
  constexpr std::uint32_t kDim = 8;
  constexpr std::size_t kHomes = 4;
  const std::vector<float> rows = normal(220 * kDim, 3);
  Array<float> centroids(20 * kDim);
  std::copy_n(rows.begin(), centroids.size(), centroids.begin());
  for (std::size_t r = 20; r < 220; ++r) {
    const float* row = rows.data() + r * kDim;
    const std::vector<NearCentroid> near = nearest_lists(centroids, row, kDim);
    std::uint32_t homes[kHomes];
    choose_homes(near, centroids, kDim, homes);
    std::vector<double> cost(20);
    for (const NearCentroid& c : near) cost[c.centroid] = c.distance;
    for (std::uint32_t home : homes) {
      CHECK(cost[home] <= *std::min_element(cost.begin(), cost.end()) * 1.0001, r);
      for (std::size_t c = 0; c < 20; ++c) {
        double along = 0;
        for (std::uint32_t d = 0; d < kDim; ++d) {
          along += (row[d] - centroids[c * kDim + d]) * (row[d] - centroids[home * kDim + d]);
        }
        cost[c] += along * along / distance2(row, centroids.data() + home * kDim, kDim);
      }
      cost[home] = kAll;
    }
  }
}

TEST(rows_choose_among_all_lists_by_squared_distance) {
  constexpr std::uint32_t kDim = 16, kLists = 300;
  for (Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    const Table table(kDim, DType::f32, metric);
    PostingLists lists(kDim, metric);
    const std::vector<float> rows = normal(500 * kDim, 4);
    for (std::uint32_t l = 0; l < kLists; ++l) lists.add_list(rows.data() + l * kDim);
    CentroidIndex centroids(table);
    const HomeChooser chooser(lists, centroids, metric, 2);
    CHECK_EQ(centroids.count(), metric == Metric::ip ? 0u : kLists);
    Scratch s;
    std::vector<NearCentroid> near;
    for (std::size_t r = kLists; r < 500; ++r) {
      const float* row = rows.data() + r * kDim;
      std::uint32_t homes[4], wanted[4];
      chooser.choose(row, s, near, homes);
      std::vector<NearCentroid> truth = nearest_lists(lists.centroids(), row, kDim);
      truth.resize(kChosenAmong);
      choose_homes(truth, lists.centroids(), kDim, wanted);
      CHECK(std::equal(homes, homes + 4, wanted), r);
    }
  }
}

TEST(estimates_of_lists_are_near_the_truth) {
  for (const Metric metric : {Metric::l2, Metric::cosine, Metric::ip}) {
    for (const std::uint32_t dim : {3u, 48u, 100u}) {
      PostingLists lists(dim, metric);
      std::vector<float> rows = normal(90 * dim, 2), query = normal(dim, 3);
      const auto unit = [&](float* x) {
        const float length = std::sqrt(distance2(x, std::vector<float>(dim, 0.0f).data(), dim));
        for (std::uint32_t d = 0; d < dim; ++d) x[d] /= length;
      };
      if (metric == Metric::cosine) {
        for (std::size_t i = 0; i < 90; ++i) unit(rows.data() + i * dim);
        unit(query.data());
      }
      std::vector<float> middle(dim, 0.0f);
      for (std::size_t i = 0; i < 90 * dim; ++i) middle[i % dim] += rows[i] / 90;
      lists.add_list(middle.data());
      std::vector<Slot> slots(90);
      std::iota(slots.begin(), slots.end(), Slot{5});
      lists.append(0, {slots.data(), 40}, rows.data());
      lists.append(0, {slots.data() + 40, 50}, rows.data() + 40 * dim);
      const auto truth = [&](const float* other) {
        if (metric == Metric::ip) {
          float sum = 0;
          for (std::uint32_t d = 0; d < dim; ++d) sum -= query[d] * other[d];
          return sum;
        }
        return distance2(query.data(), other, dim) * (metric == Metric::cosine ? 0.5f : 1.0f);
      };
      QueryBuffer buffer;
      const simd::BlockQuery tables = lists.codes().prepare(query.data(), buffer);
      const auto found = scanned(lists, 0, tables, truth(middle.data()), kAll);
      CHECK_EQ(found.size(), 90u);
      double error = 0, spread = 0;
      for (std::size_t i = 0; i < 90; ++i) {
        CHECK_EQ(found[i].first, slots[i]);
        error += std::pow(found[i].second - truth(rows.data() + i * dim), 2.0);
        spread += std::pow(truth(rows.data() + i * dim) - truth(middle.data()), 2.0);
      }
      CHECK(error < spread, "dim ", dim, " error ", error, " spread ", spread);
      const float bound = found[20].second;
      for (const auto& [slot, estimate] : scanned(lists, 0, tables, truth(middle.data()), bound)) {
        CHECK(estimate < bound, slot);
      }
    }
  }
}

TEST(lists_hold_what_was_put_in_and_not_taken_out) {
  constexpr std::uint32_t kDim = 20;
  PostingLists lists(kDim, Metric::l2);
  const std::vector<float> rows = normal(200 * kDim, 4);
  lists.add_list(rows.data());
  lists.add_list(rows.data() + kDim);
  std::set<Slot> inside;
  QueryBuffer buffer;
  const std::vector<float> query = normal(kDim, 5);
  const simd::BlockQuery tables = lists.codes().prepare(query.data(), buffer);
  const float base = distance2(query.data(), rows.data(), kDim);
  for (Slot slot = 0; slot < 200; ++slot) {
    lists.append(slot % 2, {&slot, 1}, rows.data() + slot * kDim);
    if (slot % 2 == 0) inside.insert(slot);
  }
  const auto before = scanned(lists, 0, tables, base, kAll);
  for (Slot slot = 0; slot < 200; slot += 6) {
    lists.remove(0, slot);
    inside.erase(slot);
  }
  const auto expect = [&] {
    std::vector<std::pair<Slot, float>> left;
    for (const auto& one : before) {
      if (inside.count(one.first)) left.push_back(one);
    }
    return left;
  };
  CHECK(scanned(lists, 0, tables, base, kAll) == expect());
  CHECK(lists.wasted_bytes() > 0);
  lists.compact();
  CHECK_EQ(lists.wasted_bytes(), 0u);
  CHECK(scanned(lists, 0, tables, base, kAll) == expect());
  std::vector<Slot> slots;
  lists.slots_of(0, slots);
  CHECK(std::set<Slot>(slots.begin(), slots.end()) == inside);
  lists.reset(0, rows.data() + 3 * kDim);
  CHECK_EQ(lists.size(0), 0u);
  CHECK(scanned(lists, 0, tables, base, kAll).empty());
}

TEST(lists_are_scanned_for_what_passes) {
  constexpr std::uint32_t kDim = 12, kRows = 600;
  PostingLists lists(kDim, Metric::l2);
  const std::vector<float> rows = normal(kRows * kDim, 4), query = normal(kDim, 5);
  lists.add_list(rows.data());
  std::vector<Slot> slots(kRows);
  std::iota(slots.begin(), slots.end(), Slot{0});
  lists.append(0, slots, rows.data());
  // Of the last block, what stands in places that are free is not looked at.
  for (Slot slot = kRows - 5; slot < kRows; ++slot) lists.remove(0, slot);
  QueryBuffer buffer;
  const simd::BlockQuery tables = lists.codes().prepare(query.data(), buffer);
  const float base = distance2(query.data(), rows.data(), kDim);
  const auto all = scanned(lists, 0, tables, base, kAll);
  CHECK_EQ(all.size(), kRows - 5u);
  for (const std::size_t every : {1, 2, 40, 1000}) {
    Bitset passing(kRows);
    for (std::size_t slot = 0; slot < kRows; slot += every) passing.set(slot);
    for (const float bound : {kAll, all[30].second}) {
      std::vector<std::pair<Slot, float>> expected, found;
      for (const auto& one : all) {
        if (passing.test(one.first) && one.second < bound) expected.push_back(one);
      }
      const std::size_t passed = lists.scan(0, kNoList, tables, base, bound, &passing, simd::kernels(),
                                            [&](Slot slot, float estimate) { found.emplace_back(slot, estimate); });
      CHECK(found == expected, "every ", every, " bound ", bound);
      CHECK_EQ(passed, (kRows - 5 + every - 1) / every);
    }
  }
}

TEST(rows_are_put_into_their_lists_at_once) {
  constexpr std::uint32_t kDim = 8;
  PostingLists one_by_one(kDim, Metric::l2), at_once(kDim, Metric::l2);
  const std::vector<float> rows = normal(90 * kDim, 4);
  std::vector<Slot> slots(90);
  std::iota(slots.begin(), slots.end(), Slot{10});
  std::vector<PostingLists::Entry> entries;
  for (std::uint32_t list = 0; list < 3; ++list) {
    one_by_one.add_list(rows.data() + list * kDim);
    at_once.add_list(rows.data() + list * kDim);
  }
  one_by_one.append(1, {slots.data(), 1}, rows.data());
  at_once.append(1, {slots.data(), 1}, rows.data());
  for (std::size_t i = 90; i-- > 1;) entries.push_back({i % 2 == 0 ? 0u : 1u, i});
  for (std::size_t i = 1; i < 90; ++i) one_by_one.append(i % 2 == 0 ? 0 : 1, {&slots[i], 1}, rows.data() + i * kDim);
  const auto filled = at_once.append_each(
      slots, entries, [&](std::size_t i, float* out) { std::copy_n(rows.data() + i * kDim, kDim, out); });
  CHECK(filled == std::vector<std::uint32_t>{0});
  QueryBuffer buffer;
  const simd::BlockQuery tables = at_once.codes().prepare(rows.data(), buffer);
  for (std::uint32_t list = 0; list < 3; ++list) {
    CHECK(scanned(at_once, list, tables, 1.0f, kAll) == scanned(one_by_one, list, tables, 1.0f, kAll), list);
  }
}

TEST(rows_in_lists_are_found_once_they_are_revealed) {
  constexpr std::uint32_t kDim = 16, kRows = 500;
  const std::vector<float> rows = normal((kRows + 1) * kDim, 6);
  Table table(kDim, DType::f32, Metric::l2);
  const auto append = [&](std::size_t i) {
    return table.append(reinterpret_cast<const std::byte*>(rows.data() + i * kDim));
  };
  std::vector<Slot> slots;
  table.reserve(kRows + 1);
  for (std::size_t i = 0; i < kRows; ++i) {
    slots.push_back(append(i));
    table.reveal(slots.back(), static_cast<std::int64_t>(i), table.next_arrival());
  }
  Postings postings(table, 20, 2, 0);
  postings.build(slots, 1);
  const Slot fresh = append(kRows);
  postings.settle({&fresh, 1}, postings.homes_for({&fresh, 1}, 1));
  Scratch s;
  const auto nearest = [&] {
    postings.probe({rows.data() + kRows * kDim, DType::f32, kNoSlot}, {1, 4}, s);
    return s.nearest.sorted().front().slot();
  };
  CHECK(nearest() != fresh);
  table.reveal(fresh, kRows, table.next_arrival());
  CHECK_EQ(nearest(), fresh);
}

TEST(nearest_centroids_are_found_while_they_come_and_go) {
  constexpr std::pair<std::uint32_t, Metric> kCases[] = {
      {16, Metric::l2}, {16, Metric::ip}, {64, Metric::l2}, {64, Metric::ip}};
  for (const auto& [dim, metric] : kCases) {
    Table table(dim, DType::f32, metric);
    PostingLists lists(dim, metric);
    CentroidIndex index(table);
    const std::vector<float> rows = normal(600 * dim, 6);
    const Slot slot = 0;
    for (std::uint32_t l = 0; l < 500; ++l) {
      lists.add_list(rows.data() + l * dim);
      lists.append(l, {&slot, 1}, rows.data() + l * dim);
    }
    index.build(lists, 2);
    CHECK_EQ(index.count(), 500u);
    for (std::uint32_t l = 0; l < 100; ++l) index.remove(l);
    for (std::uint32_t l = 500; l < 600; ++l) {
      lists.add_list(rows.data() + l * dim);
      lists.append(l, {&slot, 1}, rows.data() + l * dim);
      index.add(lists, l);
    }
    CHECK_EQ(index.count(), 500u);
    Scratch s;
    std::size_t hits = 0;
    for (std::uint64_t q = 0; q < 20; ++q) {
      const std::vector<float> query = normal(dim, 100 + q);
      const simd::BlockQuery tables = lists.codes().prepare(query.data(), s.tables);
      std::vector<std::pair<float, Slot>> truth;
      for (std::uint32_t l = 100; l < 600; ++l) {
        float value = 0;
        for (std::uint32_t d = 0; d < dim; ++d) value -= query[d] * rows[l * dim + d];
        if (metric == Metric::l2) value = distance2(query.data(), rows.data() + l * dim, dim);
        truth.emplace_back(value, l);
      }
      std::sort(truth.begin(), truth.end());
      index.search(lists, query.data(), tables, 20, s);
      CHECK_EQ(s.found.size(), 20u);
      CHECK(std::is_sorted(s.found.begin(), s.found.end()));
      for (const Candidate& c : s.found) {
        CHECK(c.slot() >= 100 && c.slot() < 600);
        hits += std::any_of(truth.begin(), truth.begin() + 20, [&](const auto& t) { return t.second == c.slot(); });
      }
    }
    CHECK(hits >= (dim == 16 ? 400 : 280), "dim ", dim, " hits ", hits);
  }
}

// More lists than are scanned are in a graph, which goes by codes: distances are those of the centroids all the same.
TEST(nearest_of_many_centroids_by_squared_distance) {
  constexpr std::uint32_t kDim = 8, kLists = CentroidIndex::kScanned + 1000;
  constexpr std::size_t kNearest = 16;
  const std::vector<float> rows = normal((kLists + 40) * kDim, 8);
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    const Table table(kDim, DType::f32, metric);
    PostingLists lists(kDim, metric);
    std::vector<std::uint32_t> numbers;
    for (std::uint32_t l = 0; l < kLists; ++l) {
      lists.add_list(rows.data() + std::size_t{l} * kDim);
      if (l % 100 != 7) numbers.push_back(l);
    }
    CentroidIndex index(table);
    index.build(lists, numbers, 2);
    index.remove(3);
    index.add(lists, 7);
    CHECK_EQ(index.count(), numbers.size());
    Scratch s;
    std::vector<NearCentroid> near;
    std::size_t hits = 0;
    for (std::size_t q = kLists; q < kLists + 40; ++q) {
      const float* row = rows.data() + q * kDim;
      std::vector<NearCentroid> truth = nearest_lists(lists.centroids(), row, kDim);
      std::erase_if(
          truth, [](const NearCentroid& n) { return n.centroid == 3 || (n.centroid % 100 == 7 && n.centroid != 7); });
      truth.resize(kNearest);
      index.search_squared(lists, row, kNearest, s, near);
      CHECK_EQ(near.size(), kNearest);
      CHECK(std::is_sorted(near.begin(), near.end()));
      for (const NearCentroid& one : near) {
        CHECK_NEAR(one.distance, distance2(row, lists.centroid(one.centroid), kDim), 1e-4);
        hits += std::any_of(truth.begin(), truth.end(), [&](const auto& t) { return t.centroid == one.centroid; });
      }
    }
    CHECK(hits >= 40 * kNearest * 95 / 100, hits);
  }
}
