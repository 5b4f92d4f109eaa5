#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "disk/disk_index.h"
#include "flat/flat_index.h"
#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/index_harness.h"

/// What the tests of the index on disk share.
namespace annlib::disk::testing {

using storage::testing::Bytes;
using storage::testing::TempDir;
using test::Found;
using test::search;
using test::Vectors;

inline constexpr std::size_t kEveryList = 10'000;  ///< as effort

/// Lists of about ten, so that some hundreds of vectors have many.
inline Params params_of(std::uint32_t dim, Metric metric = Metric::l2, const std::string& codec = "rabitq:2",
                        DType dtype = DType::f32) {
  Params params;
  params.lists.dim = dim;
  params.lists.dtype = dtype;
  params.lists.metric = metric;
  params.lists.list_size = 10;
  params.codec = codec;
  return params;
}

/// An integer attribute "n" of these values.
inline Columns numbers(std::vector<std::int64_t> values) {
  AttributeRows rows;
  rows.type = AttributeType::integer;
  rows.present.assign(values.size(), 1);
  rows.integers = std::move(values);
  Columns columns;
  columns.resize(rows.count());
  columns.put("n", Column(rows));
  return columns;
}

/// A directory of all these vectors under 0, 1, ..., which are their numbers, too.
inline void build(const std::string& directory, const Params& params, const Vectors& vectors,
                  const BuildProgress& progress = {}) {
  const auto ids = test::ids_from(0, vectors.count());
  Builder builder(directory, params);
  builder.add(vectors.block(), ids);
  builder.finish(numbers(ids), {}, 1, progress);
}

inline std::unique_ptr<FlatIndex> flat_of(const Params& params, const Vectors& vectors) {
  const auto ids = test::ids_from(0, vectors.count());
  auto flat = std::make_unique<FlatIndex>(params.lists.dim, params.lists.dtype, params.lists.metric);
  flat->add(vectors.block(), ids, OnConflict::raise, 1, {}, numbers(ids));
  return flat;
}

/// Reads come from the calling thread, so that system calls have an order.
inline OpenOptions mapped(bool read_only = false) {
  OpenOptions options;
  options.cache_bytes = 0;
  options.engine = io::Engine::mmap;
  options.direct = false;
  options.read_only = read_only;
  return options;
}

inline std::unique_ptr<DiskIndex> open(const std::string& directory, const OpenOptions& options = mapped()) {
  return DiskIndex::open(directory, options, {});
}

/// A directory as it is at this moment, as a process that is killed would leave it.
inline void copy_directory(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

inline Bytes vectors_of(const Index& index) {
  const std::vector<std::int64_t> ids = index.ids();
  Bytes out(ids.size() * index.dim() * dtype_size(index.dtype()));
  index.get(ids, out.data());
  return out;
}

/// Null as -1.
inline std::vector<std::int64_t> numbers_of(const Index& index) {
  const auto all = index.attributes(index.ids());
  const auto found = all.find("n");
  if (found == all.end()) return {};
  std::vector<std::int64_t> out = found->second.integers;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (found->second.present[i] == 0) out[i] = -1;
  }
  return out;
}

/// Whether both hold the same items, in the same order, with the same attributes.
inline bool same_items(const Index& a, const Index& b) {
  return a.ids() == b.ids() && vectors_of(a) == vectors_of(b) && numbers_of(a) == numbers_of(b);
}

/// The index holds what the flat one does, its files are sound, and it finds the same.
inline void check_same(const DiskIndex& index, const FlatIndex& flat, const Vectors& queries) {
  constexpr std::size_t kResults = 5;
  CHECK(index.ids() == flat.ids());
  CHECK(vectors_of(index) == vectors_of(flat));
  CHECK(numbers_of(index) == numbers_of(flat));
  const std::vector<std::string> damage = index.damage();
  CHECK(damage.empty(), damage.empty() ? "" : damage.front());
  const Found wanted = search(flat, queries.block(), kResults, {.threads = 1});
  const Found exact = search(index, queries.block(), kResults, {.threads = 1, .plan = Plan::exact});
  CHECK(exact.ids == wanted.ids && exact.counts == wanted.counts);
  for (std::size_t i = 0; i < wanted.distances.size(); ++i) {
    if (wanted.ids[i] >= 0) CHECK_NEAR(exact.distances[i], wanted.distances[i], 1e-4);
  }
  // All lists: only what codes are wrong about may be missing.
  const Found walked = search(index, queries.block(), kResults, {.ef = kEveryList, .threads = 1, .plan = Plan::walk});
  CHECK(walked.counts == wanted.counts);
  std::size_t hits = 0, all = 0;
  for (std::size_t q = 0; q < queries.count(); ++q) {
    const auto first = wanted.ids.begin() + static_cast<std::ptrdiff_t>(q * kResults);
    for (std::size_t j = 0; j < static_cast<std::size_t>(wanted.counts[q]); ++j, ++all) {
      hits += std::find(first, first + wanted.counts[q], walked.ids[q * kResults + j]) != first + wanted.counts[q];
    }
  }
  if (index.params().codec == "float32") CHECK(walked.ids == wanted.ids);
  CHECK(hits * 100 >= all * 90, hits, " of ", all);
  const std::vector<std::int64_t> some = flat.ids();
  const RowFilter filter = RowFilter::ids(std::span(some).first(some.size() / 3));
  CHECK(search(index, queries.block(), kResults, {.filters = {&filter, 1}, .threads = 1, .plan = Plan::exact}).ids ==
        search(flat, queries.block(), kResults, {.filters = {&filter, 1}, .threads = 1}).ids);
  const float radius = wanted.distances[kResults - 1];
  if (std::isfinite(radius)) {
    CHECK_EQ(index.search_radius(queries.block(0, 1), radius * (1 + 1e-5f), {.threads = 1}).ids.size(),
             flat.search_radius(queries.block(0, 1), radius * (1 + 1e-5f), {.threads = 1}).ids.size());
  }
}

}  // namespace annlib::disk::testing
