/// RaBitQ codes: what they are off by.

#include <cmath>
#include <vector>

#include "tests/check.h"
#include "tests/codec_fixture.h"
#include "tests/normal.h"

using namespace annlib;
using namespace annlib::test;

TEST(distances_by_rabitq_keep_their_bound) {
  for (const char* codec : {"rabitq:1", "rabitq:2", "rabitq:4", "rabitq:8"}) {
    for (const Metric metric : kMetrics) {
      const Vectors vectors = Vectors::clustered(500, 100, DType::f32, 4);
      const Vectors queries = Vectors::clustered(20, 100, DType::f32, 5);
      const Table table = table_of(vectors, metric);
      const StoredSpace stored(table);
      const auto space = trained(table, codec);
      std::size_t beyond = 0;
      double margins = 0, errors = 0;
      for (std::size_t q = 0; q < 20; ++q) {
        QueryBuffer buffer;
        const double margin = space->prepare(queries.query(q), buffer).margin;
        const auto coded = scores(*space, queries.query(q), 500), exact = scores(stored, queries.query(q), 500);
        for (std::size_t i = 0; i < 500; ++i) beyond += std::fabs(coded[i] - exact[i]) > margin;
        margins += margin;
        errors += error_of(coded, exact).difference;
      }
      CHECK(beyond <= 3 * 500 * 20 / 100, codec, " metric ", int(metric), " ", beyond, " beyond");
      CHECK(margins < 8 * errors, codec, " metric ", int(metric), " margin ", margins / 20, " error ", errors / 20);
    }
  }
}

// The mean of the vectors, from which codes are reckoned, is not to matter to queries far shorter or longer than it.
TEST(products_by_rabitq_are_as_near_for_queries_of_any_length) {
  constexpr std::uint32_t kDim = 64;
  std::vector<float> rows = normal(400 * kDim, 1);
  for (float& x : rows) x += 2.0f;
  Vectors vectors(kDim, DType::f32);
  for (std::size_t i = 0; i < 400; ++i) vectors.add(rows.data() + i * kDim);
  const Table table = table_of(vectors, Metric::ip);
  const StoredSpace stored(table);
  for (const char* codec : {"rabitq:1", "rabitq:2", "rabitq:4"}) {
    const auto space = trained(table, codec);
    const auto relative_error = [&](float length) {
      double sum = 0;
      for (unsigned q = 0; q < 10; ++q) {
        std::vector<float> query = normal(kDim, 2 + q);
        for (float& x : query) x *= length / std::sqrt(static_cast<float>(kDim));
        const QueryView view{reinterpret_cast<const std::byte*>(query.data()), DType::f32, kNoSlot};
        sum += error_of(scores(*space, view, 400), scores(stored, view, 400)).difference / length;
      }
      return sum;
    };
    const double usual = relative_error(16.0f);
    for (const float length : {1e-6f, 0.1f, 1.0f, 1e3f, 1e8f}) {
      CHECK(relative_error(length) < 1.05 * usual, codec, " length ", length, ": ", relative_error(length) / usual);
    }
  }
}
