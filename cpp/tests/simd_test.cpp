/// Every kernel of every set that this machine has, against the scalar reference; and the reference against known
/// answers. Rows, queries and outputs end (and rows and
/// queries also begin) where a mapping does.

#include "simd/simd.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/check.h"
#include "tests/guarded.h"

using namespace annlib::simd;
using annlib::test::Edge;
using annlib::test::Guarded;

namespace {

const Kernels& reference() { return *kernels_for(Isa::scalar); }

constexpr Op kOps[] = {Op::l2, Op::dot};
constexpr Pair kPairs[] = {Pair::f32_f32, Pair::f32_f16, Pair::f32_i8, Pair::f32_u8, Pair::i8_i8,
                           Pair::u8_u8,   Pair::q8_u8,   Pair::q8_u4,  Pair::parts};
constexpr Tail kTails[] = {Tail::none, Tail::times, Tail::plus, Tail::affine, Tail::halves};

bool is_exact(Pair pair) { return pair >= Pair::i8_i8; }
bool is_missing(Op op, Pair pair) { return op == Op::l2 && pair >= Pair::q8_u8; }
/// Rows in parts of every width, which lie over each other; that of 2 bits begins in the middle.
void cut_into_parts(Parts& parts, const std::byte* query, std::size_t dim) {
  const auto* at = reinterpret_cast<const std::int8_t*>(query);
  for (const std::uint32_t bits : {8u, 4u, 2u, 1u}) {
    const auto offset = static_cast<std::uint32_t>(bits == 2 ? dim / 2 : 0);
    const auto n = static_cast<std::uint32_t>(dim) - offset;
    parts.part[parts.count++] = {at, offset, n, bits, 0.5f + 0.25f * static_cast<float>(bits)};
    at += n * 8 / bits;
  }
}
/// Fields of a row's element, in all parts together, and query elements to each.
std::size_t fields(Pair pair) { return pair == Pair::q8_u4 ? 2 : pair == Pair::parts ? 1 + 2 + 4 + 8 : 1; }
std::size_t query_element_size(Pair pair) { return is_exact(pair) ? fields(pair) : 4; }
std::size_t row_element_size(Pair pair) { return pair == Pair::f32_f32 ? 4 : pair == Pair::f32_f16 ? 2 : 1; }

/// Bytes of a tail.
std::size_t tail_size(Tail tail) { return tail == Tail::none ? 0 : tail == Tail::affine ? 8 : 4; }

std::string case_name(const Kernels& set, Op op, Pair pair, Tail tail, std::size_t dim) {
  return std::string(set.name) + " op " + std::to_string(int(op)) + " pair " + std::to_string(int(pair)) + " tail " +
         std::to_string(int(tail)) + " dim " + std::to_string(dim);
}

std::vector<std::size_t> small_dims() {
  std::vector<std::size_t> dims;
  for (std::size_t dim = 1; dim <= 130; ++dim) dims.push_back(dim);
  return dims;
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void fill_floats(std::byte* to, std::size_t n, std::mt19937& random) {
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (std::size_t i = 0; i < n; ++i) {
    const float value = uniform(random);
    std::memcpy(to + 4 * i, &value, 4);
  }
}

void fill_bytes(std::byte* to, std::size_t n, std::mt19937& random) {
  for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<std::byte>(random());
}

void fill_query(std::byte* to, Pair pair, std::size_t dim, std::mt19937& random) {
  if (!is_exact(pair)) return fill_floats(to, dim, random);
  const std::size_t n = dim * fields(pair);
  fill_bytes(to, n, random);
  for (std::size_t i = 0; i < n && pair >= Pair::q8_u8; ++i) {
    if (to[i] == std::byte{0x80}) to[i] = std::byte{0x81};
  }
}

void fill_row(std::byte* to, Pair pair, std::size_t dim, std::mt19937& random) {
  if (pair == Pair::f32_f32) return fill_floats(to, dim, random);
  if (pair != Pair::f32_f16) return fill_bytes(to, dim, random);
  std::vector<float> values(dim);
  fill_floats(reinterpret_cast<std::byte*>(values.data()), dim, random);
  std::vector<std::uint16_t> halves(dim);
  reference().float_to_half(values.data(), dim, halves.data());
  std::memcpy(to, halves.data(), 2 * dim);
}

/// A query and rows of one pair, at an edge of their mappings. Rows are `gap` bytes apart.
struct Problem {
  Problem(Pair pair, Tail tail, std::size_t dim, std::size_t count, std::size_t gap, Edge edge, std::mt19937& random)
      : query_data(dim * query_element_size(pair), edge),
        row_data(count * (dim * row_element_size(pair) + tail_size(tail) + gap) - gap, edge),
        n(count) {
    const std::size_t elements = dim * row_element_size(pair);
    rows.data = row_data.data();
    rows.stride = elements + tail_size(tail) + gap;
    rows.dim = static_cast<std::uint32_t>(dim);
    rows.tails = rows.data + elements;
    rows.tail_stride = rows.stride;
    rows.prefetch_bytes = static_cast<std::uint32_t>(elements + tail_size(tail));
    fill_query(query_data.data(), pair, dim, random);
    for (std::size_t i = 0; i < n; ++i) {
      std::byte* row = row_data.data() + i * rows.stride;
      fill_row(row, pair, dim, random);
      fill_row(row + elements, tail == Tail::halves ? Pair::f32_f16 : Pair::f32_f32,
               tail_size(tail) / (tail == Tail::halves ? 2 : 4), random);
    }
    query = {query_data.data(), 1.5f, -0.75f, 0.25f, 3.0f};
    if (pair == Pair::parts) {
      cut_into_parts(parts, query_data.data(), dim);
      columns.resize(column_words(dim * fields(pair)));
      arrange_columns(parts, dim, columns.data());
      query.data = &parts;
    }
  }

  std::vector<float> range(const Kernels& set, Op op, Pair pair, Tail tail) const {
    std::vector<float> out(n);
    set.scorer(op, pair, tail).range(query, rows, 0, n, out.data());
    return out;
  }

  Guarded<std::byte> query_data;
  Parts parts;
  std::vector<std::int32_t> columns;
  Guarded<std::byte> row_data;
  std::size_t n;
  Query query;
  Rows rows;
};

/// What rounding may change: a few units in the last place of each partial sum, relative to the sum of magnitudes.
double tolerance(Op op, Pair pair, std::size_t dim) {
  const double largest_row = pair == Pair::f32_i8 ? 128.0 : pair == Pair::f32_u8 ? 255.0 : 1.0;
  const double term = op == Op::l2 ? (1 + largest_row) * (1 + largest_row) : largest_row;
  const auto size = static_cast<double>(dim);
  return is_exact(pair) ? 0.0 : (4.0 + size / 64.0) * 0x1p-24 * size * term;
}

void check_against_reference(const Kernels& set, Op op, Pair pair, Tail tail, std::size_t dim, std::size_t gap,
                             Edge edge) {
  std::mt19937 random(static_cast<unsigned>(dim));
  const std::size_t count = dim > 5000 ? 2 : pair == Pair::parts ? 37 : 6;
  const Problem problem(pair, tail, dim, count, gap, edge, random);
  const std::vector<float> expected = problem.range(reference(), op, pair, tail);
  const std::vector<float> actual = problem.range(set, op, pair, tail);
  for (std::size_t i = 0; i < count; ++i) {
    CHECK_NEAR(actual[i], expected[i], tolerance(op, pair, dim), case_name(set, op, pair, tail, dim));
  }
}

template <class Check>
void for_all_cases(const Check& check) {
  for (const Kernels* set : available_kernels()) {
    for (const Op op : kOps) {
      for (const Pair pair : kPairs) {
        for (const Tail tail : kTails) {
          if (!is_missing(op, pair)) check(*set, op, pair, tail);
        }
      }
    }
  }
}

}  // namespace

TEST(reference_scores_known_values) {
  const float f[] = {1, 2, 3};
  const std::uint8_t bytes[] = {1, 2, 3};
  const float row_f32[] = {4, 6, 8, 0.5f};
  const std::uint16_t row_f16[] = {0x4400, 0x4600, 0x4800, 0, 0x3800};
  const std::uint8_t row_u8[] = {4, 6, 8};
  for (const Pair pair : kPairs) {
    if (fields(pair) > 1) continue;  // below
    const void* row = pair == Pair::f32_f32   ? static_cast<const void*>(row_f32)
                      : pair == Pair::f32_f16 ? static_cast<const void*>(row_f16)
                                              : row_u8;
    std::byte stored[12 + 8];
    const std::size_t elements = 3 * row_element_size(pair);
    std::memcpy(stored, row, elements);
    const Rows rows{stored, sizeof stored, 3, stored + elements, sizeof stored, 0};
    const Query query{is_exact(pair) ? static_cast<const void*>(bytes) : f, 1.0f, 2.0f, 4.0f, 8.0f};
    for (const Op op : kOps) {
      if (is_missing(op, pair)) continue;
      const float v = op == Op::l2 ? 9 + 16 + 25 : 4 + 12 + 24;
      const float expected[] = {1 + 2 * v, 1 + 2 * v * 0.5f, 1 + 2 * v + 0.5f, 1 + 8 * (0.5f + 3 * (2 * v + 4)),
                                1 + 8 * (0.5f + 3 * (2 * v + 4))};
      for (const Tail kind : kTails) {
        const float floats[] = {0.5f, 3.0f};
        const std::uint16_t halves[] = {0x3800, 0x4200};
        std::memcpy(stored + elements, kind == Tail::halves ? static_cast<const void*>(halves) : floats,
                    tail_size(kind));
        float out = 0;
        reference().scorer(op, pair, kind).range(query, rows, 0, 1, &out);
        CHECK_EQ(out, expected[int(kind)], "pair ", int(pair), " tail ", int(kind));
      }
    }
  }
}

TEST(reference_knows_the_order_of_packed_fields) {
  const std::uint8_t row[] = {0b11'10'01'00, 0b00'01'10'11};
  const std::int8_t query[] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16};
  const Rows rows{reinterpret_cast<const std::byte*>(row), sizeof row, sizeof row};
  const auto value = [&](Pair pair, const void* data) {
    float out = 0;
    reference().scorer(Op::dot, pair, Tail::none).range({data, 0.0f, 1.0f}, rows, 0, 1, &out);
    return out;
  };
  const auto part = [&](std::uint32_t bits) {
    const Parts parts{{{query, 0, sizeof row, bits, 1.0f}}, 1};
    return value(Pair::parts, &parts);
  };
  const float four = 1 * 4 - 2 * 11 + 3 * 14 - 4 * 1,
              two = 1 * 0 - 2 * 3 + 3 * 1 - 4 * 2 + 5 * 2 - 6 * 1 + 7 * 3 - 8 * 0;
  const float one = 5 + 11 + 13 + 15 - 2 - 4 - 8 - 10, eight = 1 * 228 - 2 * 27;
  CHECK_EQ(value(Pair::q8_u4, query), four);
  CHECK_EQ(part(8), eight);
  CHECK_EQ(part(4), four);
  CHECK_EQ(part(2), two);
  CHECK_EQ(part(1), one);
  // The second byte alone, and both, each times its scale.
  const Parts both{{{query, 1, 1, 4, 2.0f}, {query, 0, 2, 1, 0.5f}}, 2};
  CHECK_EQ(value(Pair::parts, &both), 2.0f * (1 * 11 - 2 * 1) + 0.5f * one);
}

TEST(l2_of_codes_is_missing) {
  for (const Kernels* set : available_kernels()) {
    for (const Pair pair : {Pair::q8_u8, Pair::q8_u4, Pair::parts}) {
      const Scorer scorer = set->scorer(Op::l2, pair, Tail::none);
      CHECK(scorer.ids == nullptr && scorer.range == nullptr && scorer.block == nullptr);
    }
  }
}

TEST(small_dims_agree_with_reference) {
  for_all_cases([](const Kernels& set, Op op, Pair pair, Tail tail) {
    for (const std::size_t dim : small_dims()) {
      check_against_reference(set, op, pair, tail, dim, 0, Edge::back);
      check_against_reference(set, op, pair, tail, dim, 0, Edge::front);
      check_against_reference(set, op, pair, tail, dim, 5, Edge::back);
    }
  });
}

TEST(large_dims_agree_with_reference) {
  for_all_cases([](const Kernels& set, Op op, Pair pair, Tail tail) {
    for (const std::size_t dim : {191, 255, 256, 257, 384, 511, 768, 1000, 1536, 4096, 20000}) {
      check_against_reference(set, op, pair, tail, dim, 0, Edge::back);
    }
    if (!is_exact(pair) || tail != Tail::none) return;
    for (const std::size_t dim : {32767, 32768, 32769, 100003, 1 << 20}) {
      check_against_reference(set, op, pair, tail, dim / fields(pair), 0, Edge::back);
    }
  });
}

TEST(extreme_integers_are_exact) {
  constexpr std::size_t kMostDims = 1 << 20;
  const std::size_t dims[] = {1, 15, 63, 64, 65, 130, 4096, 32768, 32769, 65536, kMostDims / 2, kMostDims};
  const auto sweep = [&](const Kernels& set, Op op, Pair pair, std::span<const int> query_values,
                         std::span<const int> row_values) {
    for (const std::size_t dim : dims) {
      if (dim * fields(pair) > kMostDims) continue;
      for (const int q : query_values) {
        for (const int x : row_values) {
          Guarded<std::uint8_t> query(dim * fields(pair)), row(dim);
          std::memset(query.data(), q, query.size());
          std::memset(row.data(), x, dim);
          const Rows rows{reinterpret_cast<std::byte*>(row.data()), dim, static_cast<std::uint32_t>(dim)};
          float out = 0;
          set.scorer(op, pair, Tail::none).range({query.data(), 0.0f, 1.0f}, rows, 0, 1, &out);
          std::int64_t term = op == Op::l2 ? (q - x) * (q - x) : q * x;
          if (pair == Pair::q8_u4) term = q * (x % 16 + x / 16);
          CHECK_EQ(out, static_cast<float>(term * static_cast<std::int64_t>(dim)), set.name, " dim ", dim, " q ", q,
                   " x ", x);
        }
      }
    }
  };
  const int full_signed[] = {-128, -127, -1, 0, 127};
  const int symmetric[] = {-127, 1, 127};
  const int full_unsigned[] = {0, 1, 127, 128, 255};
  for (const Kernels* set : available_kernels()) {
    for (const Op op : kOps) {
      sweep(*set, op, Pair::i8_i8, full_signed, full_signed);
      sweep(*set, op, Pair::u8_u8, full_unsigned, full_unsigned);
    }
    sweep(*set, Op::dot, Pair::q8_u8, symmetric, full_unsigned);
    sweep(*set, Op::dot, Pair::q8_u4, symmetric, full_unsigned);
  }
}

TEST(values_do_not_depend_on_position_or_function) {
  for_all_cases([](const Kernels& set, Op op, Pair pair, Tail tail) {
    for (const std::size_t dim : {1, 7, 16, 31, 100, 128, 301, 2048}) {
      std::mt19937 random(7);
      constexpr std::size_t kRows = 13;
      const Problem problem(pair, tail, dim, kRows, 3, Edge::back, random);
      const Scorer scorer = set.scorer(op, pair, tail);
      const std::vector<float> whole = problem.range(set, op, pair, tail);
      const std::string name = case_name(set, op, pair, tail, dim);
      for (std::size_t first = 0; first < kRows; ++first) {
        std::vector<float> part(kRows - first);
        scorer.range(problem.query, problem.rows, first, part.size(), part.data());
        for (std::size_t i = 0; i < part.size(); ++i) CHECK(same_bits(part[i], whole[first + i]), name);
      }
      for (const std::size_t prefetch : {std::size_t{0}, std::size_t{64}, problem.rows.stride, std::size_t{10000}}) {
        Rows rows = problem.rows;
        rows.prefetch_bytes = static_cast<std::uint32_t>(prefetch);
        for (std::size_t n = 0; n <= 20; ++n) {
          Guarded<std::uint32_t> ids(n);
          for (std::uint32_t& id : ids) id = static_cast<std::uint32_t>(random() % kRows);
          Guarded<float> out(n);
          scorer.ids(problem.query, rows, ids.data(), n, out.data());
          for (std::size_t i = 0; i < n; ++i) CHECK(same_bits(out[i], whole[ids[i]]), name);
        }
      }
    }
  });
}

TEST(many_queries_score_as_each_does_alone) {
  for_all_cases([](const Kernels& set, Op op, Pair pair, Tail tail) {
    for (const std::size_t dim : {1, 7, 31, 64, 100, 129, 301, 2048, 32769}) {
      std::mt19937 random(11);
      constexpr std::size_t kMost = 19, kRows = 5;
      if (dim > 5000 && (!is_exact(pair) || tail != Tail::none)) continue;
      const std::string name = case_name(set, op, pair, tail, dim);
      const Problem rows(pair, tail, dim, kRows, 3, Edge::back, random);
      std::vector<std::unique_ptr<Problem>> others;
      std::vector<Query> queries;
      for (std::size_t q = 0; q < kMost; ++q) {
        others.push_back(std::make_unique<Problem>(pair, tail, dim, 1, 0, Edge::back, random));
        queries.push_back(others.back()->query);
        queries.back().a += static_cast<float>(q);
      }
      const Scorer scorer = set.scorer(op, pair, tail);
      for (const std::size_t count :
           {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{4}, std::size_t{7}, std::size_t{8}, kMost}) {
        for (const std::size_t n : {0, 1, 9}) {
          Guarded<std::uint32_t> ids(n);
          for (std::uint32_t& id : ids) id = static_cast<std::uint32_t>(random() % kRows);
          Guarded<float> out(n * count);
          scorer.block(queries.data(), count, rows.rows, ids.data(), n, out.data());
          for (std::size_t q = 0; q < count; ++q) {
            std::vector<float> alone(n);
            scorer.ids(queries[q], rows.rows, ids.data(), n, alone.data());
            for (std::size_t i = 0; i < n; ++i) CHECK(same_bits(out[i * count + q], alone[i]), name);
          }
        }
      }
    }
  });
}

TEST(kernels_are_chosen_once_by_name) {
  const char* inherited = std::getenv("ANNLIB_SIMD");
  const std::string restored = inherited != nullptr ? inherited : "";
  setenv("ANNLIB_SIMD", "mmx", 1);
  CHECK_THROWS(annlib::ValueError, kernels());
  setenv("ANNLIB_SIMD", kernels_for(Isa::neon) == nullptr ? "neon" : "avx2", 1);
  CHECK_THROWS(annlib::ValueError, kernels());
  setenv("ANNLIB_SIMD", restored.c_str(), 1);
  const Kernels& chosen = kernels();
  if (restored.empty()) {
    CHECK_EQ(&chosen, available_kernels().back());
  } else {
    CHECK_EQ(restored, chosen.name);
  }
  setenv("ANNLIB_SIMD", "mmx", 1);
  CHECK_EQ(&kernels(), &chosen);
  setenv("ANNLIB_SIMD", restored.c_str(), 1);
}

TEST(available_sets_are_consistent) {
  const auto sets = available_kernels();
  CHECK_EQ(sets.front(), &reference());
  for (const Kernels* set : sets) CHECK_EQ(kernels_for(set->isa), set);
}
