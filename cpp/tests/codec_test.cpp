/// The room codec/: distances of stored vectors against plain arithmetic, and distances of codes against those.

#include "codec/codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "codec/space.h"
#include "core/error.h"
#include "tests/check.h"
#include "tests/codec_fixture.h"

using namespace annlib;
using namespace annlib::test;

namespace {

constexpr const char* kCoded[] = {"float16",  "int8",     "int4",     "rabitq:1",
                                  "rabitq:2", "rabitq:3", "rabitq:4", "rabitq:8"};

/// Of the spread of the distances.
double allowed_error(const std::string& codec) {
  static const std::map<std::string, double> kAllowed = {{"float16", 0.002}, {"int8", 0.03},    {"int4", 0.4},
                                                         {"rabitq:1", 0.8},  {"rabitq:2", 0.4}, {"rabitq:3", 0.2},
                                                         {"rabitq:4", 0.1},  {"rabitq:8", 0.02}};
  return kAllowed.at(codec);
}

double product(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// Of n vectors, or of their directions.
std::vector<double> mean_of(const Vectors& vectors, std::size_t n, bool directions) {
  std::vector<double> mean(vectors.row(0).size());
  for (std::size_t i = 0; i < n; ++i) {
    const std::vector<double> row = vectors.row(i);
    const double length = directions ? std::sqrt(product(row, row)) : 1.0;
    for (std::size_t d = 0; d < row.size(); ++d) mean[d] += row[d] / (length * static_cast<double>(n));
  }
  return mean;
}

}  // namespace

TEST(stored_distances_are_those_of_the_metric) {
  for (const Metric metric : kMetrics) {
    for (const DType stored : kDTypes) {
      for (const std::uint32_t dim : {1u, 33u, 130u}) {
        const Vectors vectors = Vectors::clustered(50, dim, stored, dim);
        const Table table = table_of(vectors, metric);
        const StoredSpace space(table);
        for (const DType asked : kDTypes) {  // queries of every dtype; of float32 also such as no integer is equal to
          const Vectors queries = Vectors::clustered(3, dim, asked, dim + 1);
          for (std::size_t q = 0; q < queries.count(); ++q) {
            const auto found = scores(space, queries.query(q), 50);
            for (std::size_t i = 0; i < 50; ++i) {
              const std::vector<double> a = queries.row(q), b = vectors.row(i);
              double scale = 1;
              for (std::uint32_t d = 0; metric != Metric::cosine && d < dim; ++d) {
                scale += std::pow(std::fabs(a[d]) + std::fabs(b[d]), 2);
              }
              CHECK_NEAR(found[i], reference_distance(metric, a, b), 2e-6 * scale, "metric ", int(metric), " stored ",
                         int(stored), " dim ", dim);
            }
          }
        }
        for (const Slot slot : {0u, 49u}) {  // a row is the same query as its vector
          const float as_query = scores(space, vectors.query(slot), 50)[0];
          CHECK_NEAR(scores_of_row(space, slot, 50)[0], as_query, 1e-6 * (1 + std::fabs(as_query)));
        }
      }
    }
  }
}

TEST(zero_vectors_are_at_cosine_distance_one) {
  Vectors vectors(40, DType::f32);
  vectors.add(std::vector<float>(40, 0.0f).data());
  vectors.add(std::vector<float>(40, 2.0f).data());
  const Table table = table_of(vectors, Metric::cosine);
  CHECK_EQ(scores(StoredSpace(table), vectors.query(0), 2), (std::vector<float>{1, 1}));
  CHECK_EQ(scores(StoredSpace(table), vectors.query(1), 2)[0], 1.0f);
  for (const char* codec : kCoded) {
    const auto space = trained(table, codec);
    for (const std::size_t q : {0u, 1u}) CHECK_NEAR(scores(*space, vectors.query(q), 2)[0], 1.0, 0.02, codec);
  }
}

TEST(codes_are_near_what_they_stand_for) {
  for (const char* codec : kCoded) {
    const double allowed = allowed_error(codec);
    for (const Metric metric : kMetrics) {
      for (const DType dtype : {DType::f32, DType::f16}) {
        for (const std::uint32_t dim : {2u, 5u, 64u, 257u}) {
          const Vectors vectors = Vectors::clustered(400, dim, dtype, dim);
          const Vectors queries = Vectors::clustered(10, dim, DType::f32, dim);
          const Table table = table_of(vectors, metric);
          const StoredSpace stored(table);
          const auto space = trained(table, codec);
          for (std::size_t q = 0; q < 10; ++q) {
            const Error e = error_of(scores(*space, queries.query(q), 400), scores(stored, queries.query(q), 400));
            CHECK(e.difference < allowed * e.spread, codec, " metric ", int(metric), " dim ", dim, " rms ",
                  e.difference, " of ", e.spread);
            // The error it reports is of rows against rows, which is what reranking goes by.
            const Error rows = error_of(scores_of_row(*space, static_cast<Slot>(q), 400),
                                        scores_of_row(stored, static_cast<Slot>(q), 400));
            CHECK(rows.difference < 5 * space->error() + 1e-6, codec, " metric ", int(metric), " dim ", dim, " rms ",
                  rows.difference, " reported ", space->error());
          }
        }
      }
    }
  }
}

TEST(int8_codes_of_whole_numbers_lose_nothing) {
  constexpr std::uint32_t dim = 70;
  std::mt19937 random(3);
  Vectors vectors(dim, DType::f32), between(dim, DType::f32);
  std::vector<float> row(dim);
  for (std::size_t i = 0; i < 320; ++i) {
    for (float& x : row) x = static_cast<float>(1000 + random() % 256);  // far from 0
    vectors.add(row.data());
    for (float& x : row) x = std::clamp(x + std::uniform_real_distribution<float>(-1, 1)(random), 1000.0f, 1255.0f);
    between.add(row.data());
  }
  const Table table = table_of(vectors, Metric::l2);
  const StoredSpace stored(table);
  const auto space = trained(table, "int8");
  CHECK_EQ(space->error(), 0.0f);
  CHECK(space->exact());
  CodeSpace again(table, make_codec("int8", Metric::l2, dim));
  Array<std::byte> codes(space->codes().size());
  std::copy(space->codes().begin(), space->codes().end(), codes.data());
  again.restore(std::move(codes), space->codec().params(), space->error(), space->exact());
  std::size_t beyond = 0;
  for (std::size_t q = 0; q < 20; ++q) {
    CHECK(scores(*space, vectors.query(q), 320) == scores(stored, vectors.query(q), 320));
    CHECK(scores(again, vectors.query(q), 320) == scores(stored, vectors.query(q), 320));
    // One that lies between whole numbers is rounded, and says by how much that may be felt.
    QueryBuffer buffer;
    CHECK(space->prepare(vectors.query(q), buffer).exact && again.prepare(vectors.query(q), buffer).exact);
    const Scan rounded = space->prepare(between.query(q), buffer);
    CHECK(!rounded.exact);
    const float margin = rounded.margin;
    const auto coded = scores(*space, between.query(q), 320), exact = scores(stored, between.query(q), 320);
    for (std::size_t i = 0; i < 320; ++i) beyond += std::fabs(coded[i] - exact[i]) > margin;
    CHECK(margin > 0 && margin < 2000, margin);
  }
  CHECK(beyond <= 20 * 320 * 3 / 100, beyond);
  // What is not whole any more calls for training.
  Table other = table_of(vectors, Metric::l2);
  const auto learnt = trained(other, "int8");
  for (std::size_t i = 0; i < 40; ++i) {
    const Slot slot = other.append(between.block().row(i));
    other.reveal(slot, static_cast<std::int64_t>(320 + i), static_cast<std::uint32_t>(320 + i));
    learnt->grow();
    learnt->encode(slot);
    CHECK(!learnt->exact());
  }
  QueryBuffer buffer;
  CHECK(!learnt->prepare(vectors.query(0), buffer).exact);
  CHECK(learnt->wants_training());
  learnt->train(StoredSpace(other), all_slots(other), 1);
  CHECK(learnt->error() > 0 && !learnt->exact());
}

TEST(int8_codes_of_whole_numbers_have_room_beyond_the_sample) {
  constexpr std::uint32_t dim = 40;
  struct Case {
    int low, high, beyond;
  };
  for (const Case& c :
       {Case{3, 90, 0}, {3, 90, 255}, {-50, 40, -128}, {-50, 40, 127}, {900, 1000, 850}, {900, 1000, 1050}}) {
    Vectors vectors(dim, DType::f32);
    std::vector<float> row(dim);
    for (int i = 0; i < 300; ++i) {
      for (std::uint32_t d = 0; d < dim; ++d) {
        row[d] = static_cast<float>(c.low + (i * 7 + static_cast<int>(d)) % (c.high - c.low + 1));
      }
      vectors.add(row.data());
    }
    Table table = table_of(vectors, Metric::l2);
    const auto space = trained(table, "int8");
    CHECK(space->exact());
    row[7] = static_cast<float>(c.beyond);
    vectors.add(row.data());
    const Slot slot = table.append(vectors.block().row(300));
    table.reveal(slot, 300, 300);
    space->grow();
    space->encode(slot);
    CHECK(space->exact());
    CHECK(scores(*space, vectors.query(300), 301) == scores(StoredSpace(table), vectors.query(300), 301));
  }
}

TEST(codes_of_odd_data) {
  const std::uint32_t dim = 36;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  Vectors vectors(dim, DType::f32);
  for (int i = 0; i < 300; ++i) {
    std::vector<float> v(dim);
    for (std::uint32_t d = 0; d < dim; ++d) v[d] = normal(random);
    v[0] = 7.0f;                                                // constant
    v[1] *= 1e-3f;                                              // small
    v[2] *= 100.0f;                                             // large
    v[3] = random() % 50 == 0 ? 40.0f : 0.1f * normal(random);  // mostly small
    v[4] = 0.0f;
    vectors.add(v.data());
  }
  for (const char* codec : kCoded) {
    for (const Metric metric : kMetrics) {
      const Table table = table_of(vectors, metric);
      const auto space = trained(table, codec);
      for (std::size_t q = 0; q < 10; ++q) {
        const auto exact = scores(StoredSpace(table), vectors.query(q), 300);
        const Error e = error_of(scores(*space, vectors.query(q), 300), exact);
        CHECK(e.difference < allowed_error(codec) * e.spread, codec, " metric ", int(metric), " ", e.difference, " of ",
              e.spread);
      }
    }
  }
}

TEST(codes_of_very_large_and_small_numbers_are_finite) {
  for (const float scale : {1e-30f, 1e-6f, 1e6f, 1e15f}) {
    Vectors vectors(40, DType::f32);
    const Vectors model = Vectors::clustered(200, 40);
    for (std::size_t i = 0; i < model.count(); ++i) {
      std::vector<float> v;
      for (const double x : model.row(i)) v.push_back(static_cast<float>(x) * scale);
      vectors.add(v.data());
    }
    for (const char* codec : kCoded) {
      for (const Metric metric : kMetrics) {
        const Table table = table_of(vectors, metric);
        const auto space = trained(table, codec);
        for (const float d : scores(*space, vectors.query(0), 200)) {
          CHECK(std::isfinite(d), codec, " metric ", int(metric), " scale ", scale);
        }
      }
    }
  }
}

// What a code is taken for: with many random queries, distances of codes are those of what they decode to, but for the
// rounding of the query, and under l2 for a constant of the code, which knows its vector's own length better.
TEST(decoded_codes_have_the_products_of_their_codes) {
  for (const char* codec : kCoded) {
    for (const Metric metric : kMetrics) {
      for (const std::uint32_t dim : {5u, 37u, 130u}) {
        const Vectors vectors = Vectors::clustered(300, dim, DType::f32, dim);
        const Vectors queries = Vectors::clustered(40, dim, DType::f32, dim + 1);
        const Table table = table_of(vectors, metric);
        const auto space = trained(table, codec);
        Vectors decoded(dim, DType::f32);
        std::vector<float> vector(dim);
        for (Slot slot = 0; slot < 300; ++slot) {
          CHECK(space->codec().decode(space->code(slot), vector.data()));
          decoded.add(vector.data());
        }
        const Table stood_for = table_of(decoded, metric == Metric::cosine ? Metric::ip : metric);
        const StoredSpace exact(stood_for);
        const std::vector<double> mean = mean_of(vectors, 300, metric == Metric::cosine);
        for (std::size_t q = 0; q < 20; ++q) {
          // Differences between two queries that are mirror images of each other about the mean: what a code says of
          // itself, and of the mean, is not in them.
          const std::vector<double> given = queries.row(q);
          const double along = product(given, mean) / product(mean, mean);
          Vectors pair(dim, DType::f32);
          std::vector<float> mirrored(dim);
          for (std::uint32_t d = 0; d < dim; ++d) mirrored[d] = static_cast<float>(2 * along * mean[d] - given[d]);
          pair.add(queries, q);
          pair.add(mirrored.data());
          auto found = scores(*space, pair.query(0), 300), other = scores(*space, pair.query(1), 300);
          std::vector<double> a = pair.row(0), b = pair.row(1);
          if (metric == Metric::cosine) {
            for (auto* row : {&a, &b}) {
              const double length = std::sqrt(product(*row, *row));
              for (double& x : *row) x /= length;
            }
          }
          double worst = 0, scale = 0;
          for (Slot slot = 0; slot < 300; ++slot) {
            const std::vector<double> x = decoded.row(slot);
            const Metric plain = metric == Metric::cosine ? Metric::ip : metric;
            const double wanted = reference_distance(plain, a, x) - reference_distance(plain, b, x);
            worst = std::max(worst, std::fabs(static_cast<double>(found[slot]) - other[slot] - wanted));
            scale = std::max(scale, std::fabs(wanted));
          }
          CHECK(worst < 0.05 * scale, codec, " metric ", int(metric), " dim ", dim, " off by ", worst, " of ", scale);
        }
      }
    }
  }
}

TEST(codes_that_are_not_finite_are_not_decoded) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Vectors vectors = Vectors::clustered(50, 16);
  const Table table = table_of(vectors, Metric::l2);
  std::vector<float> out(16);
  for (const char* codec : kCoded) {
    const auto space = trained(table, codec);
    const Codec& made = space->codec();
    std::vector<std::byte> code(space->code(3), space->code(3) + made.code_bytes());
    CHECK(made.decode(code.data(), out.data()), codec);
    std::memcpy(code.data() + made.tail_offset(), &nan, sizeof nan);
    CHECK(!made.decode(code.data(), out.data()), codec);
  }
}

TEST(codes_do_not_depend_on_threads_and_survive_a_restore) {
  for (const char* codec : kCoded) {
    for (const Metric metric : kMetrics) {
      const Vectors vectors = Vectors::clustered(3000, 37, DType::f32, 8);
      const Table table = table_of(vectors, metric);
      const auto one = trained(table, codec, 1), three = trained(table, codec, 3);
      CHECK(std::ranges::equal(one->codes(), three->codes()));
      CHECK(one->codec().params() == three->codec().params());
      CHECK_EQ(one->error(), three->error());

      CodeSpace other(table, make_codec(codec, metric, 37));
      Array<std::byte> copy(one->codes().size());
      std::ranges::copy(one->codes(), copy.begin());
      other.restore(std::move(copy), one->codec().params(), one->error(), one->exact());
      CHECK(scores(other, vectors.query(5), 3000) == scores(*one, vectors.query(5), 3000));
      CHECK_EQ(other.error(), one->error());
      CHECK(!other.wants_training());
      // What it makes from now on is the same too.
      other.encode(17);
      CHECK(std::ranges::equal(other.codes(), one->codes()));
    }
  }
}

TEST(restore_takes_nothing_that_does_not_fit) {
  const Vectors vectors = Vectors::clustered(10, 8);
  const Table table = table_of(vectors, Metric::l2);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const char* codec : kCoded) {
    const auto good = trained(table, codec);
    const auto attempt = [&](std::size_t bytes, std::vector<float> params, float error) {
      CodeSpace(table, make_codec(codec, Metric::l2, 8)).restore(Array<std::byte>(bytes), params, error, true);
    };
    const std::size_t bytes = good->codes().size();
    const std::vector<float> params = good->codec().params();
    attempt(bytes, params, 0.5f);
    CHECK_THROWS(CorruptError, (attempt(bytes - 1, params, 0.5f), 0));
    CHECK_THROWS(CorruptError, (attempt(bytes, params, nan), 0));
    CHECK_THROWS(CorruptError, (attempt(bytes, params, -1.0f), 0));
    CHECK_THROWS(CorruptError, (attempt(bytes, {}, 0.5f), 0));
    std::vector<float> more(params);
    more.push_back(1.0f);
    CHECK_THROWS(CorruptError, (attempt(bytes, more, 0.5f), 0));
    std::vector<float> infinite(params);
    infinite.back() = std::numeric_limits<float>::infinity();
    CHECK_THROWS(CorruptError, (attempt(bytes, infinite, 0.5f), 0));
    std::vector<float> negative(params);
    negative.back() = -1.0f;
    CHECK_THROWS(CorruptError, (attempt(bytes, negative, 0.5f), 0));
  }
}

TEST(vectors_unlike_the_sample_call_for_training) {
  for (const char* codec : kCoded) {
    Vectors vectors = Vectors::clustered(500, 16);
    Table table = table_of(vectors, Metric::l2);
    const auto space = trained(table, codec);
    CHECK(!space->wants_training());
    const std::vector<float> far(16, 1e6f);
    for (std::int64_t i = 500; i < 600; ++i) {
      const Slot slot = table.append(reinterpret_cast<const std::byte*>(far.data()));
      table.reveal(slot, i, static_cast<std::uint32_t>(i));
      space->grow();
      space->encode(slot);
    }
    CHECK(space->wants_training(), codec);
    space->train(StoredSpace(table), all_slots(table), 1);
    CHECK(!space->wants_training(), codec);
    const auto found = scores(*space, vectors.query(0), 600);
    CHECK_NEAR(found[599] / 16e12, 1.0, 0.02, codec);
  }
}

TEST(codecs_by_name) {
  CHECK(codec_names() == (std::vector<std::string>{"auto", "float32", "float16", "int8", "int4", "rabitq"}));
  for (const char* codec : kCoded) CHECK_EQ(std::string(make_codec(codec, Metric::ip, 4)->name()), codec);
  CHECK(make_codec("float32", Metric::l2, 4) == nullptr);
  CHECK(make_codec("nothing", Metric::l2, 4) == nullptr);
  CHECK_THROWS(ValueError, choose_codec("int9", DType::f32, 64));
  for (const char* wrong : {"rabitq:0", "rabitq:9", "rabitq:", "rabitq:44", "rabitq:x", "int8:4", "auto:4"}) {
    CHECK_THROWS(ValueError, choose_codec(wrong, DType::f32, 64));
  }
  CHECK_EQ(choose_codec("rabitq", DType::f32, 64).name, "rabitq:4");
  CHECK_EQ(choose_codec("rabitq:2", DType::f32, 64).name, "rabitq:2");
  CHECK_EQ(choose_codec("auto", DType::f32, 64).name, "int8");
  CHECK_EQ(choose_codec("auto", DType::f32, 4).name, "float32");
  CHECK_EQ(choose_codec("int8", DType::u8, 64).name, "float32");
  CHECK_EQ(choose_codec("float16", DType::f16, 64).name, "float32");
  CHECK_EQ(choose_codec("float16", DType::f32, 4).name, "float16");
  // Where vectors are not kept, codes are made whatever the dtype and dim.
  CHECK_EQ(choose_codec("auto", DType::f32, 4, false).name, "int8");
  CHECK_EQ(choose_codec("rabitq", DType::u8, 4, false).name, "rabitq:4");
  CHECK_EQ(choose_codec("float16", DType::f16, 4, false).name, "float16");
  CHECK_THROWS(ValueError, choose_codec("float32", DType::f32, 64, false));
}
