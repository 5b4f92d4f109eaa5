/// Rows of a narrower type than the vectors that they hold.

#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "hnsw/hnsw_index.h"
#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/index_harness.h"

using namespace annlib;
using namespace annlib::test;
using annlib::storage::testing::Bytes;

namespace {

RowView view(const Vectors& vectors, std::size_t i = 0) { return {vectors.block().row(i), vectors.block().dtype}; }

Vectors row_of(DType dtype, const std::vector<float>& values) {
  Vectors made(static_cast<std::uint32_t>(values.size()), dtype);
  made.add(values.data());
  return made;
}

bool same_numbers(Metric metric, const Vectors& vectors, const Index& narrow, const Index& wide) {
  const Found a = search(narrow, vectors.block(0, 50), 10, {.ef = 400}),
              b = search(wide, vectors.block(0, 50), 10, {.ef = 400});
  for (std::size_t i = 0; i < a.distances.size(); ++i) {
    const double off = std::fabs(a.distances[i] - b.distances[i]);
    if (off > 1e-5 * (1 + std::fabs(b.distances[i])) * (metric == Metric::cosine ? 1 : 100)) return false;
  }
  return true;
}

}  // namespace

TEST(a_type_holds_what_it_gives_back_to_the_last_bit) {
  const float big = std::numeric_limits<float>::max();
  struct Case {
    float value;
    bool u8, i8;
  };
  const Case cases[] = {{0, true, true},      {-0.0f, false, false}, {1, true, true},         {127, true, true},
                        {128, true, false},   {255, true, false},    {256, false, false},     {-1, false, true},
                        {-128, false, true},  {-129, false, false},  {0.5f, false, false},    {-0.25f, false, false},
                        {big, false, false},  {-big, false, false},  {1e-40f, false, false},  {254.999f, false, false},
                        {1000, false, false}, {-300, false, false},  {-127.5f, false, false}, {3, true, true}};
  for (const Case& c : cases) {
    for (const std::uint32_t dim : {1u, 7u, 255u, 256u, 257u, 600u}) {
      for (const std::size_t at : {std::size_t{0}, std::size_t{dim / 2}, std::size_t{dim - 1}}) {
        std::vector<float> values(dim, 5.0f);
        values[at] = c.value;
        const Vectors row = row_of(DType::f32, values);
        CHECK_EQ(holds(DType::u8, view(row), dim), c.u8);
        CHECK_EQ(holds(DType::i8, view(row), dim), c.i8);
        CHECK(holds(DType::f32, view(row), dim));
        for (const DType to : {DType::u8, DType::i8}) {
          if (!holds(to, view(row), dim)) continue;
          std::vector<std::byte> narrow(dim);
          convert(view(row), dim, to, narrow.data());
          std::vector<float> back(dim), half_back(dim);
          convert({narrow.data(), to}, dim, DType::f32, back.data());
          CHECK(back == values);
          std::vector<std::uint16_t> half(dim);
          CHECK(holds(DType::f16, {narrow.data(), to}, dim));
          convert({narrow.data(), to}, dim, DType::f16, half.data());
          const RowView halves{reinterpret_cast<const std::byte*>(half.data()), DType::f16};
          CHECK(holds(to, halves, dim));
          convert(halves, dim, DType::f32, half_back.data());
          CHECK(half_back == values);
        }
      }
    }
  }
}

TEST(whole_numbers_are_kept_in_bytes) {
  constexpr std::uint32_t kDim = 40;
  for (const Metric metric : kMetrics) {
    for (const DType given : {DType::f32, DType::f16}) {
      for (const DType integer : {DType::u8, DType::i8}) {
        for (const Layout layout : {Layout::plain, Layout::fused}) {
          const Vectors whole = Vectors::clustered(800, kDim, integer), vectors = whole.as(given);
          HnswParams params = params_of(kDim, given, metric, "auto");
          params.layout = layout;
          HnswIndex index(params), codes([&] {
            HnswParams other = params;
            other.codec = "int8";  // asked for: of vectors as they come
            return other;
          }());
          for (HnswIndex* each : {&index, &codes}) add(*each, vectors, ids_from(0, 800));
          CHECK(index.stored_dtype() == integer && codes.stored_dtype() == given);
          CHECK_EQ(index.vector_bytes() * dtype_size(given), codes.vector_bytes());
          CHECK(index.dtype() == given);
          CHECK(same_numbers(metric, vectors, index, codes));

          // More of the same, and what is written and read again, stays narrow.
          const Vectors more = Vectors::clustered(60, kDim, integer, 1).as(given);
          add(index, more, ids_from(800, 60));
          CHECK(index.stored_dtype() == integer);
          const auto bytes = bytes_of(index);
          const auto opened = open_index(storage::Container::from_bytes(bytes));
          CHECK(dynamic_cast<HnswIndex&>(*opened).stored_dtype() == integer);
          CHECK(bytes_of(*opened) == bytes);

          // What no byte holds makes rows as wide as what was given; nothing else changes.
          Vectors stock = vectors;
          for (std::size_t i = 0; i < 60; ++i) stock.add(more, i);
          stock.add(std::vector<float>(kDim, 0.5f).data());
          std::map<std::int64_t, std::size_t> items;
          for (std::size_t i = 0; i < stock.count(); ++i) items[static_cast<std::int64_t>(i)] = i;
          opened->add(stock.block(860, 1), ids_from(860, 1), OnConflict::raise, 2, {});
          CHECK(dynamic_cast<HnswIndex&>(*opened).stored_dtype() == given);
          if (metric == Metric::ip) {  // no vector need be its own nearest
            Bytes all(stock.block().row_bytes() * 861);
            opened->get(ids_from(0, 861), all.data());
            CHECK(std::equal(all.begin(), all.end(), stock.block().row(0)));
          } else {
            check_items(*opened, items, ids_from(0, 861), stock);
          }
          // Copies of rows from before are known as such.
          const std::size_t twins = dynamic_cast<HnswIndex&>(*opened).counts().twins;
          opened->add(stock.block(3, 1), ids_from(900, 1), OnConflict::raise, 2, {});
          CHECK_EQ(dynamic_cast<HnswIndex&>(*opened).counts().twins, twins + 1);
          // Built without it, the index is what it was.
          opened->remove(std::vector<std::int64_t>{860, 900}, 2);
          opened->compact(2, {});
          index.compact(2, {});
          CHECK(sections_of(*opened) == sections_of(index));
        }
      }
    }
  }
}

TEST(one_number_that_is_not_whole_keeps_all_as_they_are) {
  Vectors vectors = Vectors::clustered(300, 40, DType::u8).as(DType::f32);
  vectors.add(std::vector<float>(40, 0.5f).data());
  HnswIndex index(params_of(40, DType::f32, Metric::l2, "auto"));
  add(index, vectors, ids_from(0, 301));
  CHECK(index.stored_dtype() == DType::f32);
  CHECK(sections_of(index).count("table.dtype") == 0);
}

TEST(a_file_says_of_which_type_its_rows_are) {
  const Vectors vectors = Vectors::clustered(50, 8, DType::u8).as(DType::f32);
  HnswIndex index(params_of(8, DType::f32, Metric::l2, "auto"));
  add(index, vectors, ids_from(0, 50));
  for (const int type : {0, 1, 4, 77, 255}) {
    auto bytes = bytes_of(index);
    const auto container = storage::Container::from_bytes(bytes);
    for (const auto& section : container->sections()) {
      if (section.name == "table.dtype") bytes[section.offset] = static_cast<std::byte>(type);
    }
    storage::testing::reseal(bytes);
    CHECK_THROWS(CorruptError, (open_index(storage::Container::from_bytes(bytes)), 0));
  }
}
