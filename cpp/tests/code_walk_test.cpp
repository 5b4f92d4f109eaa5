/// Neighbour codes, and the walk that goes by them.

#include "graph/code_walk.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "codec/neighbour_codes.h"
#include "graph/frontier.h"
#include "tests/check.h"
#include "tests/index_fixture.h"
#include "tests/index_harness.h"

using namespace annlib;
using namespace annlib::test;

namespace {

std::vector<float> estimates_of(const NeighbourCodes& codes, const simd::BlockQuery& query,
                                const std::vector<std::byte>& made, float base, std::size_t degree) {
  std::vector<float> all(codes.blocks() * simd::kBlockRows);
  for (std::size_t b = 0; b < codes.blocks(); ++b) {
    simd::kernels().scan_block(query, made.data() + codes.header_bytes() + b * codes.block_bytes(), base,
                               codes.lean(made.data(), base), std::numeric_limits<float>::infinity(),
                               &all[b * simd::kBlockRows]);
  }
  all.resize(degree);
  return all;
}

}  // namespace

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
