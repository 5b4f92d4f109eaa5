/// Neighbour codes, and the walk that goes by them.

#include "graph/code_walk.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "codec/neighbour_codes.h"
#include "graph/frontier.h"
#include "tests/check.h"
#include "tests/index_fixture.h"
#include "tests/index_harness.h"

using namespace annlib;
using namespace annlib::test;

namespace {

std::vector<float> estimates_of(const NeighbourCodes& codes, const NeighbourCodes::Query& query,
                                const std::vector<std::byte>& made, float base, std::size_t degree) {
  std::vector<float> all(codes.blocks() * simd::kBlockRows);
  for (std::size_t b = 0; b < codes.blocks(); ++b) {
    simd::kernels().scan_block(query.tables, made.data() + codes.header_bytes() + b * codes.block_bytes(),
                               query.base(base), codes.lean(made.data(), base), std::numeric_limits<float>::infinity(),
                               &all[b * simd::kBlockRows]);
  }
  all.resize(degree);
  return all;
}

// The 24 nearest of each of the first `nodes` rows.
std::vector<std::vector<Slot>> nearest_rows(const Vectors& vectors, std::size_t nodes) {
  std::vector<std::vector<Slot>> lists;
  for (std::size_t node = 0; node < nodes; ++node) {
    std::vector<std::pair<double, Slot>> all;
    for (std::size_t i = 0; i < vectors.count(); ++i) {
      if (i != node) {
        all.emplace_back(reference_distance(Metric::l2, vectors.row(node), vectors.row(i)), static_cast<Slot>(i));
      }
    }
    std::partial_sort(all.begin(), all.begin() + 24, all.end());
    lists.emplace_back();
    for (std::size_t j = 0; j < 24; ++j) lists.back().push_back(all[j].second);
  }
  return lists;
}

NeighbourCodes learnt(const Table& table, const std::vector<std::vector<Slot>>& lists) {
  NeighbourCodes codes(table, 24);
  std::vector<Slot> sample(table.slots());
  std::iota(sample.begin(), sample.end(), Slot{0});
  std::vector<std::pair<Slot, Slot>> edges;
  for (Slot node = 0; node < lists.size(); ++node) {
    for (Slot neighbour : lists[node]) edges.emplace_back(node, neighbour);
  }
  codes.learn(StoredSpace(table), sample, edges);
  return codes;
}

// Root mean square of the errors of the first `judged` estimates of each list, for queries each with the node of its
// number.
double error_of(const NeighbourCodes& codes, const Table& table, const Vectors& vectors, const Vectors& asked,
                const std::vector<std::vector<Slot>>& lists, std::size_t judged = 24) {
  std::vector<std::byte> made(codes.bytes());
  QueryBuffer buffer, tables;
  double squares = 0;
  for (std::size_t node = 0; node < asked.count(); ++node) {
    const std::vector<Slot>& list = lists[node];
    codes.encode(StoredSpace(table), static_cast<Slot>(node), list.data(), static_cast<std::uint32_t>(list.size()),
                 made.data(), buffer);
    const auto query = asked.row(node);
    const auto base = static_cast<float>(reference_distance(table.metric(), query, vectors.row(node)));
    const auto found = estimates_of(codes, codes.prepare(asked.query(node), tables), made, base, judged);
    for (std::size_t j = 0; j < judged; ++j) {
      const double off = found[j] - reference_distance(table.metric(), query, vectors.row(list[j]));
      squares += off * off / static_cast<double>(judged * asked.count());
    }
  }
  return std::sqrt(squares);
}

// `n` rows about `center`, normally distributed.
void add_cloud(Vectors& vectors, std::size_t n, float center, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(center, deviation);
  std::vector<float> row(vectors.dim());
  for (; n > 0; --n) {
    for (float& x : row) x = normal(random);
    vectors.add(row.data());
  }
}

}  // namespace

// Near neighbours of a node lie towards the middle of the data, and so does a query.
TEST(learning_makes_estimates_nearer) {
  for (const Metric metric : {Metric::l2, Metric::cosine}) {
    Vectors vectors(64, DType::f32), asked(64, DType::f32);
    add_cloud(vectors, 800, 0.5f, 1.0f, 1);
    add_cloud(asked, 100, 0.5f, 1.0f, 2);
    const Table table = table_of(vectors, metric);
    const auto lists = nearest_rows(vectors, 100);
    const double before = error_of(NeighbourCodes(table, 24), table, vectors, asked, lists);
    const double after = error_of(learnt(table, lists), table, vectors, asked, lists);
    CHECK(after < 0.85 * before, "metric ", int(metric), " from ", before, " to ", after);
  }
}

// What serves the distant neighbours would drown those of a cluster far smaller than its distance from the mean.
TEST(learning_does_no_harm_to_dense_clusters) {
  Vectors vectors(64, DType::f32), asked(64, DType::f32);
  add_cloud(vectors, 300, 3.0f, 0.001f, 1);
  add_cloud(vectors, 300, 0.0f, 1.0f, 2);
  add_cloud(asked, 100, 3.0f, 0.001f, 3);
  const Table table = table_of(vectors, Metric::l2);
  const auto lists = nearest_rows(vectors, 600);
  const double before = error_of(NeighbourCodes(table, 24), table, vectors, asked, lists);
  const double after = error_of(learnt(table, lists), table, vectors, asked, lists);
  CHECK(after < 1.05 * before, "from ", before, " to ", after);
}

// A link out of a cluster does not pull what is expected of a query out of it.
TEST(a_far_neighbour_does_no_harm_to_near_ones) {
  Vectors vectors(64, DType::f32), asked(64, DType::f32);
  add_cloud(vectors, 300, 0.0f, 0.01f, 1);
  add_cloud(vectors, 1, 3.0f, 0.01f, 2);
  add_cloud(asked, 100, 0.0f, 0.01f, 3);
  const Table table = table_of(vectors, Metric::l2);
  auto lists = nearest_rows(vectors, 100);
  const NeighbourCodes codes(table, 24);
  const double before = error_of(codes, table, vectors, asked, lists, 23);
  for (std::vector<Slot>& list : lists) list.back() = 300;
  const double after = error_of(codes, table, vectors, asked, lists, 23);
  CHECK(after < 1.05 * before, "from ", before, " to ", after);
}

TEST(what_was_learnt_comes_back_or_is_refused) {
  Vectors vectors(48, DType::f32);
  add_cloud(vectors, 200, 0.5f, 1.0f, 1);
  const Table table = table_of(vectors, Metric::l2);
  const std::vector<float> params = learnt(table, nearest_rows(vectors, 50)).params();
  CHECK_EQ(params.size(), 49u);
  CHECK(params.back() > 0 && params.back() < 1);
  NeighbourCodes other(table, 24);
  CHECK(other.restore(params));
  CHECK(other.params() == params);
  const auto refused = [&](std::size_t i, float value) {
    std::vector<float> wrong(params);
    wrong[i] = value;
    return !other.restore(wrong) && other.params() == params;
  };
  CHECK(refused(0, std::numeric_limits<float>::quiet_NaN()));
  CHECK(refused(47, std::numeric_limits<float>::infinity()));
  CHECK(refused(48, 1.5f) && refused(48, -0.5f) && refused(48, std::numeric_limits<float>::quiet_NaN()));
  CHECK(!other.restore({}) && !other.restore(std::span(params).first(48)));
}

// Over many pairs the estimates are right on average, and wrong by what a bit a dimension leaves open.
TEST(estimates_are_unbiased_and_near) {
  for (const Metric metric : kMetrics) {
    for (const DType dtype : kDTypes) {
      for (const std::uint32_t dim : {20u, 64u, 300u}) {
        const Vectors vectors = Vectors::clustered(400, dim, dtype, 1, 4);
        const Table table = table_of(vectors, metric);
        for (const std::uint32_t degree : {1u, 24u, 32u, 50u}) {
          const NeighbourCodes codes(table, degree);
          CHECK_EQ(codes.bytes() % 64, 0u);
          std::vector<std::byte> made(codes.bytes());
          QueryBuffer buffer, tables;
          std::vector<Slot> neighbours(degree);
          double sum = 0, squares = 0, spread = 0;
          std::size_t n = 0;
          for (Slot node = 0; node < 40; ++node) {
            for (std::uint32_t j = 0; j < degree; ++j) neighbours[j] = 50 + (node * 7 + j * 3) % 300;
            codes.encode(StoredSpace(table), node, neighbours.data(), degree, made.data(), buffer);
            CHECK(NeighbourCodes::valid(made.data()));
            const std::vector<double> center = vectors.row(node);
            const Slot asked = 360 + node;
            const auto query = vectors.row(asked);
            const auto base = static_cast<float>(reference_distance(metric, query, center));
            const auto found = estimates_of(codes, codes.prepare(vectors.query(asked), tables), made, base, degree);
            for (std::uint32_t j = 0; j < degree; ++j) {
              const double truth = reference_distance(metric, query, vectors.row(neighbours[j]));
              sum += found[j] - truth;
              squares += (found[j] - truth) * (found[j] - truth);
              spread += std::fabs(truth - base);
              ++n;
            }
          }
          const double count = static_cast<double>(n), deviation = std::sqrt(squares / count);
          const double typical = spread / count;
          CHECK(deviation <= 12 * typical / std::sqrt(dim), "metric ", int(metric), " dtype ", int(dtype), " dim ", dim,
                " deviation ", deviation, " of ", typical);
          CHECK(std::fabs(sum / count) <= 6 * deviation / std::sqrt(count / degree), "metric ", int(metric), " dim ",
                dim, " bias ", sum / count, " deviation ", deviation);
        }
      }
    }
  }
}

TEST(codes_of_numbers_out_of_range_are_marked) {
  Vectors vectors(32, DType::f32);
  std::vector<float> row(32, 3e38f);
  vectors.add(row.data());
  for (float& x : row) x = -3e38f;
  vectors.add(row.data());
  const Table table = table_of(vectors, Metric::l2);
  const NeighbourCodes codes(table, 4);
  std::vector<std::byte> made(codes.bytes());
  QueryBuffer buffer;
  const Slot other = 1;
  codes.encode(StoredSpace(table), 0, &other, 1, made.data(), buffer);
  CHECK(!NeighbourCodes::valid(made.data()));
  codes.encode(StoredSpace(table), 0, &other, 0, made.data(), buffer);
  CHECK(NeighbourCodes::valid(made.data()));
  NeighbourCodes::invalidate(made.data());
  CHECK(!NeighbourCodes::valid(made.data()));
}

TEST(frontier_gives_the_least_first) {
  std::mt19937 random(4);
  Frontier frontier;
  for (int round = 0; round < 60; ++round) {
    frontier.clear();
    CHECK(frontier.empty());
    std::multimap<float, Slot> model;
    float bound = std::numeric_limits<float>::infinity();
    for (int step = 0; step < 2000; ++step) {
      const auto value = static_cast<float>(random() % 5000);
      if (random() % 3 != 0 && value < bound) {
        frontier.push(value, static_cast<Slot>(step));
        model.emplace(value, static_cast<Slot>(step));
      } else if (!model.empty() && frontier.nearest_estimate() < bound) {
        CHECK_EQ(frontier.nearest_estimate(), model.begin()->first, "step ", step);
        const auto [first, last] = model.equal_range(model.begin()->first);
        const auto same = std::find_if(first, last, [&](const auto& m) { return m.second == frontier.nearest(); });
        CHECK(same != last, "step ", step);
        model.erase(same);
        frontier.remove_nearest();
      }
      if (round % 2 == 1 && step % 500 == 499) bound = std::min(bound, 4000.0f - static_cast<float>(step));
      frontier.prune(bound);
    }
    model.erase(model.lower_bound(bound), model.end());
    for (; !model.empty(); model.erase(model.begin()), frontier.remove_nearest()) {
      CHECK_EQ(frontier.nearest_estimate(), model.begin()->first);
      if (model.count(model.begin()->first) > 1) break;  // which of them comes first is open
    }
  }
}

TEST(kth_distance_is_that_of_all_seen) {
  std::mt19937 random(5);
  std::vector<float> memory, all;
  for (const std::size_t k : {1, 2, 7, 100}) {
    KthDistance kth(k, memory);
    all.clear();
    for (int i = 0; i < 300; ++i) {
      all.push_back(static_cast<float>(random() % 50));
      kth.push(all.back());
      std::sort(all.begin(), all.end());
      CHECK_EQ(kth.value(), all.size() < k ? std::numeric_limits<float>::infinity() : all[k - 1]);
    }
  }
}

// More effort is more recall, whatever the data's scale, and lists whose codes are stale are walked all the same.
TEST(walk_over_codes_goes_as_far_as_it_is_told) {
  for (const Metric metric : kMetrics) {
    const Vectors vectors = Vectors::clustered(4000, 48, DType::f32, 6),
                  queries = Vectors::clustered(60, 48, DType::f32, 6);
    HnswParams params = params_of(48, DType::f32, metric, "int8");
    params.layout = Layout::fused;
    HnswIndex index(params);
    add(index, vectors, ids_from(0, 4000));
    const Found exact = search(index, queries.block(), 10, {.plan = Plan::exact});
    double before = 0;
    std::uint64_t hops = 0;
    for (const std::size_t ef : {10u, 20u, 80u}) {
      const Found found = search(index, queries.block(), 10, {.ef = ef});
      CHECK(found.cost.hops > hops, "ef ", ef);
      hops = found.cost.hops;
      double hits = 0;
      for (std::size_t q = 0; q < queries.count(); ++q) {
        for (std::size_t j = 0; j < 10; ++j) {
          hits += found.distances[q * 10 + j] <= exact.distances[q * 10 + 9] + 1e-6f;
        }
      }
      CHECK(hits >= before, "ef ", ef);
      before = hits;
    }
    CHECK(before >= 0.97 * 600, "metric ", int(metric), " hits ", before);
  }
}

// What passes may lie anywhere: a walk that looked there at once would take that for the query's surroundings.
TEST(walk_over_codes_begins_around_the_query_and_comes_to_what_passes_later) {
  constexpr Slot kNodes = 200, kFar = 150;
  constexpr std::uint32_t kWidth = 8, kDim = 16;
  Vectors vectors(kDim, DType::f32);
  for (Slot i = 0; i < kNodes; ++i) {  // on a line
    std::vector<float> vector(kDim, 0.0f);
    vector[0] = static_cast<float>(i);
    vectors.add(vector.data());
  }
  const Table table = table_of(vectors, Metric::l2);
  const NeighbourCodes codes(table, kWidth);
  const std::size_t stride = kWidth + (codes.bytes() + sizeof(Slot) - 1) / sizeof(Slot);
  std::vector<Slot> rows(kNodes * stride, kNoSlot);
  Layer layer;
  layer.slots = rows.data();
  layer.width = kWidth;
  layer.stride = stride;
  for (Slot i = 0; i < kNodes; ++i) {
    Slot* next = layer.links(i);
    for (const Slot step : {1u, 2u, 3u, 4u}) {
      if (i >= step) *next++ = i - step;
      if (i + step < kNodes) *next++ = i + step;
    }
    NeighbourCodes::invalidate(layer.codes(i));  // distances decide
  }
  struct : ToTheEnd {
    bool goes_on(std::size_t steps, std::size_t) const { return steps < most; }
    std::size_t most = 6;
  } patience;
  const auto passes = [](Slot slot) { return slot >= kFar; };
  QueryBuffer buffer, tables;
  const QueryView query = vectors.query(0);
  const Scan scan = StoredSpace(table).prepare(query, buffer);
  const LocalReach reach({1.0f, 0.0f, 1}, {1.0f, 0.0f, 1}, 1.0f);
  Scratch s;
  const auto walk = [&] {
    s.visited.reset(kNodes);
    s.seeds = {kFar + 20};
    return walk_codes(layer, codes, codes.prepare(query, tables), scan, 0, 1, reach, passes, patience, s);
  };
  CHECK(!walk());
  for (const Candidate c : s.expanded) CHECK(c.slot() < 20, "slot ", c.slot());
  patience.most = 1000;
  CHECK(walk());
  const bool came = std::any_of(s.expanded.begin(), s.expanded.end(), [&](Candidate c) { return c.slot() == kFar; });
  CHECK(came);
}

TEST(reach_follows_what_passes_around_the_query) {
  const Reach wide{2.0f, 0.4f, 40, 160}, narrow{1.0f, 0.2f, 20, 80};
  const LocalReach few(wide, narrow, 0.01f), most(wide, narrow, 0.9f);
  CHECK_EQ(few.at(10, 100).times, 1.0f);
  CHECK_EQ(few.at(25, 100).least, 20u);
  CHECK_EQ(few.at(100, 100).times, 2.0f);  // all do here, however few elsewhere
  CHECK_EQ(few.at(100, 100).least, 40u);
  CHECK_NEAR(few.at(625, 1000).plus, 0.3f, 1e-6);
  CHECK_EQ(few.at(10, 100).most, 160u);
  CHECK_NEAR(most.at(1, 100).times, most.at(90, 100).times, 1e-6);  // few do here, for the query lies apart
  CHECK(most.at(1, 100).times > 1.8f);
}
