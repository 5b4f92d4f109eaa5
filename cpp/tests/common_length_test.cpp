/// Under inner product, vectors of one length are walked as under cosine.

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "hnsw/hnsw_index.h"
#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/index_harness.h"

using namespace annlib;
using namespace annlib::test;

namespace {

constexpr std::uint32_t kDim = 48;
constexpr std::size_t kItems = 3000;

/// Around centres, each scaled to `length` (as its number says).
template <class Length>
Vectors scaled(std::size_t count, unsigned seed, Length&& length) {
  const Vectors raw = Vectors::clustered(count, kDim, DType::f32, seed);
  Vectors made(kDim, DType::f32);
  std::vector<float> row(kDim);
  for (std::size_t i = 0; i < count; ++i) {
    widen(raw.block().row(i), DType::f32, kDim, row.data());
    const float by = length(i) / std::sqrt(simd::kernels().norm2(row.data(), kDim));
    for (float& x : row) x *= by;
    made.add(row.data());
  }
  return made;
}

std::unique_ptr<HnswIndex> built(Metric metric, const Vectors& vectors) {
  HnswParams params = params_of(kDim, DType::f32, metric, "int8");
  params.layout = Layout::fused;
  auto index = std::make_unique<HnswIndex>(params);
  add(*index, vectors, ids_from(0, vectors.count()));
  return index;
}

double recall(const HnswIndex& index, const Vectors& queries, std::size_t ef) {
  const Found found = search(index, queries.block(), 10, {.ef = ef}),
              exact = search(index, queries.block(), 10, {.plan = Plan::exact});
  std::size_t hits = 0;
  for (std::size_t i = 0; i < found.distances.size(); ++i)
    hits += found.distances[i] <= exact.distances[i / 10 * 10 + 9];
  return static_cast<double>(hits) / static_cast<double>(found.distances.size());
}

bool says_one_length(const HnswIndex& index) {
  const auto sections = sections_of(index);
  float numbers[2];
  const auto found = sections.find("graph.length");
  CHECK(found != sections.end() && found->second.size() == sizeof numbers);
  std::memcpy(numbers, found->second.data(), sizeof numbers);
  return numbers[1] == 1.0f;
}

std::size_t steps(const HnswIndex& index, const Vectors& queries, std::size_t ef) {
  return search(index, queries.block(), 10, {.ef = ef}).cost.hops;
}

}  // namespace

TEST(vectors_of_one_length_are_walked_by_their_angles) {
  for (const float length : {1.0f, 1e-6f, 1e6f}) {
    // Equal but for what halves make of them.
    const Vectors vectors =
        scaled(kItems, 1, [&](std::size_t i) { return length * (1 + 0.0005f * static_cast<float>(i % 3)); });
    const Vectors queries = scaled(100, 1, [](std::size_t i) { return 0.1f + static_cast<float>(i); });
    const auto product = built(Metric::ip, vectors), cosine = built(Metric::cosine, vectors);
    CHECK(says_one_length(*product));
    CHECK_EQ(sections_of(*cosine).count("graph.length"), 0u);
    for (const std::size_t ef : {20u, 60u}) {
      CHECK_NEAR(static_cast<double>(steps(*product, queries, ef)) / static_cast<double>(steps(*cosine, queries, ef)),
                 1.0, 0.3);
      CHECK(recall(*product, queries, ef) >= recall(*cosine, queries, ef) - 0.02);
    }
    const auto opened = open_index(storage::Container::from_bytes(bytes_of(*product)));
    CHECK(bytes_of(*opened) == bytes_of(*product));
    CHECK_EQ(steps(dynamic_cast<HnswIndex&>(*opened), queries, 60), steps(*product, queries, 60));
    // A query whose length no float holds has no angle to go by.
    const Vectors huge = scaled(5, 2, [](std::size_t) { return 1e38f; });
    search(*product, huge.block(), 10, {.ef = 20});
  }
}

TEST(other_lengths_end_that) {
  const Vectors vectors = scaled(kItems, 1, [](std::size_t) { return 1.0f; });
  const Vectors queries = scaled(100, 1, [](std::size_t) { return 1.0f; });
  const auto index = built(Metric::ip, vectors);
  index->add(scaled(100, 5, [](std::size_t) { return 1.0f; }).block(), ids_from(5000, 100), OnConflict::raise, 2, {});
  CHECK(says_one_length(*index));
  const Vectors others = scaled(300, 3, [](std::size_t i) { return 0.5f + 0.01f * static_cast<float>(i % 100); });
  index->add(others.block(), ids_from(9000, 300), OnConflict::raise, 2, {});
  CHECK(!says_one_length(*index));
  CHECK(recall(*index, queries, 80) >= 0.9, recall(*index, queries, 80));
  index->remove(ids_from(9000, 300), 2);
  index->compact(2, {});
  CHECK(says_one_length(*index));
  CHECK(recall(*index, queries, 80) >= 0.95);
}

TEST(how_long_a_query_is_does_not_matter) {
  const Vectors vectors = scaled(kItems, 1, [](std::size_t i) { return 3.0f + 0.01f * static_cast<float>(i % 500); });
  const auto index = built(Metric::ip, vectors);
  CHECK(!says_one_length(*index));
  const auto queries = [](float length) { return scaled(100, 1, [&](std::size_t) { return length; }); };
  const std::size_t wanted = steps(*index, queries(4.0f), 40);
  for (const float length : {1e-4f, 0.125f, 64.0f, 1e4f}) {
    const double ratio = static_cast<double>(steps(*index, queries(length), 40)) / static_cast<double>(wanted);
    CHECK(ratio > 0.98 && ratio < 1.02, "length ", length, ": ", ratio);
    CHECK(recall(*index, queries(length), 40) >= 0.95);
  }
}
