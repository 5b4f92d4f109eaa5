#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "flat/flat_index.h"
#include "hnsw/hnsw_index.h"
#include "index/index.h"
#include "storage/container.h"
#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/index_fixture.h"

/// What the tests of whole indexes share.
namespace annlib::test {

inline HnswParams params_of(std::uint32_t dim, DType dtype = DType::f32, Metric metric = Metric::l2,
                            const char* codec = "float32") {
  HnswParams params;
  params.dim = dim;
  params.dtype = dtype;
  params.metric = metric;
  params.codec = codec;
  params.m = 8;
  params.ef_construction = 60;
  return params;
}

/// A flat one, a graph with codes, and one whose lists are fused with those of the neighbours.
inline std::vector<std::unique_ptr<Index>> every_kind(std::uint32_t dim, Metric metric = Metric::l2) {
  std::vector<std::unique_ptr<Index>> indexes;
  indexes.push_back(std::make_unique<FlatIndex>(dim, DType::f32, metric));
  HnswParams params = params_of(dim, DType::f32, metric, "int8");
  indexes.push_back(std::make_unique<HnswIndex>(params));
  params.layout = Layout::fused;
  indexes.push_back(std::make_unique<HnswIndex>(params));
  return indexes;
}

inline void add(Index& index, const Vectors& vectors, const std::vector<std::int64_t>& ids) {
  index.add(vectors.block(), ids, OnConflict::raise, 2, {});
}

struct Found {
  std::size_t k = 0;
  std::vector<std::int64_t> ids, counts;
  std::vector<float> distances;
  SearchCost cost;
};

/// `how` says all but k.
inline Found search(const Index& index, const VectorBlock& queries, std::size_t k, SearchRequest how = {}) {
  how.k = k;
  Found found;
  found.k = k;
  found.ids.resize(queries.count * k);
  found.distances.resize(queries.count * k);
  found.counts.resize(queries.count);
  found.cost = index.search(queries, how, {found.ids.data(), found.distances.data(), found.counts.data()});
  return found;
}

inline storage::testing::Bytes bytes_of(const Index& index) {
  storage::testing::Bytes bytes;
  index.with_sections([&](const std::string& kind, const std::vector<storage::SectionView>& sections) {
    bytes = storage::container_bytes(kind, sections);
  });
  return bytes;
}

inline std::map<std::string, storage::testing::Bytes> sections_of(const Index& index) {
  std::map<std::string, storage::testing::Bytes> all;
  index.with_sections([&](const std::string&, const std::vector<storage::SectionView>& sections) {
    for (const auto& section : sections) all[section.name].assign(section.bytes.begin(), section.bytes.end());
  });
  return all;
}

inline std::unique_ptr<Index> open_index(const std::shared_ptr<const storage::Container>& file) {
  if (file->kind() == "flat") return FlatIndex::open(file);
  return HnswIndex::open(file);
}

/// The index has exactly these items (id -> row of `stock`), in this order of arrival, and a search for its vector
/// finds each of them.
inline void check_items(const Index& index, const std::map<std::int64_t, std::size_t>& items,
                        const std::vector<std::int64_t>& order, const Vectors& stock) {
  CHECK_EQ(index.size(), items.size());
  CHECK(index.ids() == order);
  std::map<std::size_t, std::set<std::int64_t>> equal;
  for (const auto& [id, row] : items) equal[row].insert(id);
  std::vector<std::byte> vector(stock.block().row_bytes());
  for (const auto& [row, ids] : equal) {
    for (const std::int64_t id : ids) {
      bool there = false;
      index.contains({&id, 1}, &there);
      CHECK(there);
      index.get({&id, 1}, vector.data());
      CHECK(std::equal(vector.begin(), vector.end(), stock.block().row(row)));
    }
    const Found found = search(index, stock.block(row, 1), ids.size(), {.ef = 16, .threads = 1});
    CHECK(std::set<std::int64_t>(found.ids.begin(), found.ids.end()) == ids, "row ", row, " has ", ids.size(),
          " items, of ", items.size());
  }
  if (const auto* hnsw = dynamic_cast<const HnswIndex*>(&index)) {
    const HnswIndex::Counts counts = hnsw->counts();
    CHECK_EQ(counts.live, items.size());
    CHECK_EQ(counts.twins, items.size() - equal.size());
    CHECK(counts.dead * 5 <= counts.live);
  }
}

}  // namespace annlib::test
