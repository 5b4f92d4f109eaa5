/// Indexes as a whole: against exact search in plain arithmetic, through any history of changes.

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "flat/flat_index.h"
#include "hnsw/hnsw_index.h"
#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/index_harness.h"

using namespace annlib;
using namespace annlib::test;
using annlib::storage::Container;

namespace {

using Limits = std::numeric_limits<float>;

/// Ids and distances of all vectors, nearest first.
std::vector<std::pair<double, std::int64_t>> exact_order(Metric metric, const Vectors& vectors,
                                                         const std::vector<double>& query) {
  std::vector<std::pair<double, std::int64_t>> all;
  for (std::size_t i = 0; i < vectors.count(); ++i) {
    all.emplace_back(reference_distance(metric, query, vectors.row(i)), static_cast<std::int64_t>(i));
  }
  std::sort(all.begin(), all.end());
  return all;
}

/// Share of the k results that are no farther than the k-th of all that pass.
double recall(
    const Found& found, Metric metric, const Vectors& vectors, const Vectors& queries,
    const std::function<bool(std::int64_t)>& passes = [](std::int64_t) { return true; }) {
  double hits = 0, wanted = 0;
  for (std::size_t q = 0; q < queries.count(); ++q) {
    auto all = exact_order(metric, vectors, queries.row(q));
    std::erase_if(all, [&](const auto& item) { return !passes(item.second); });
    const std::size_t k = std::min(found.k, all.size());
    CHECK_EQ(static_cast<std::size_t>(found.counts[q]), k);
    std::set<std::int64_t> distinct;
    for (std::size_t j = 0; j < k; ++j) {
      const std::int64_t id = found.ids[q * found.k + j];
      const double distance = reference_distance(metric, queries.row(q), vectors.row(static_cast<std::size_t>(id)));
      CHECK(passes(id));
      CHECK(distinct.insert(id).second, "id ", id);
      CHECK_NEAR(found.distances[q * found.k + j], distance, 1e-4 * (1 + std::fabs(distance)));
      CHECK(j == 0 || found.distances[q * found.k + j - 1] <= found.distances[q * found.k + j]);
      hits += distance <= all[k - 1].first + 1e-5 * (1 + std::fabs(distance));
    }
    for (std::size_t j = k; j < found.k; ++j) {
      CHECK_EQ(found.ids[q * found.k + j], -1);
      CHECK_EQ(found.distances[q * found.k + j], Limits::infinity());
    }
    wanted += static_cast<double>(k);
  }
  return wanted > 0 ? hits / wanted : 1.0;
}

}  // namespace

// Searching

TEST(flat_is_exact) {
  for (const Metric metric : kMetrics) {
    for (const DType dtype : kDTypes) {
      for (const std::uint32_t dim : {1u, 5u, 40u}) {
        const Vectors vectors = Vectors::clustered(300, dim, dtype, dim),
                      queries = Vectors::clustered(20, dim, dtype, 1);
        FlatIndex index(dim, dtype, metric);
        add(index, vectors, ids_from(0, 300));
        CHECK_EQ(recall(search(index, queries.block(), 10), metric, vectors, queries), 1.0);
        CHECK_EQ(recall(search(index, queries.block(), 500), metric, vectors, queries), 1.0);
      }
    }
  }
}

TEST(hnsw_finds_nearly_all) {
  for (const Metric metric : kMetrics) {
    for (const DType dtype : kDTypes) {
      for (const char* codec : {"float32", "float16", "int8", "int4", "rabitq:4", "rabitq:8"}) {
        if (is_integer(dtype) && std::string(codec) != "float32") continue;
        const std::uint32_t dim = 12;
        const Vectors vectors = Vectors::clustered(1000, dim, dtype, 3),
                      queries = Vectors::clustered(30, dim, dtype, 3);
        for (const Layout layout : {Layout::plain, Layout::fused}) {
          HnswParams params = params_of(dim, dtype, metric, codec);
          params.layout = layout;
          HnswIndex index(params);
          add(index, vectors, ids_from(0, 1000));
          CHECK(index.layout().layout == layout);
          CHECK_EQ(index.unreachable(), 0u);
          const Found found = search(index, queries.block(), 10, {.ef = 40});
          CHECK(found.cost.distances > 0 && found.cost.hops > 0, "the graph was not walked");
          CHECK((found.cost.estimates > 0) == (layout == Layout::fused));
          const double reached = recall(found, metric, vectors, queries);
          CHECK(reached >= 0.95, codec, " metric ", int(metric), " dtype ", int(dtype), " layout ", int(layout),
                " recall ", reached);
          CHECK_EQ(recall(search(index, queries.block(), 10, {.plan = Plan::exact}), metric, vectors, queries), 1.0);
        }
      }
    }
  }
}

TEST(filters_pass_what_they_say) {
  const Vectors vectors = Vectors::clustered(1500, 8), queries = Vectors::clustered(20, 8);
  for (const auto& index : every_kind(8)) {
    add(*index, vectors, ids_from(0, 1500));
    for (const std::int64_t every : {1, 2, 10, 300, 100'000}) {
      const auto passes = [&](std::int64_t id) { return id % every == every - 1; };
      const auto mask = std::make_unique<bool[]>(1500);
      std::vector<std::int64_t> ids{-1, 1'000'000};  // which are not there
      for (std::int64_t id = 0; id < 1500; ++id) {
        mask[static_cast<std::size_t>(id)] = passes(id);
        if (passes(id)) ids.push_back(id);
      }
      const RowFilter by_mask = RowFilter::mask({mask.get(), 1500}), by_ids = RowFilter::ids(ids);
      for (const RowFilter* filter : {&by_mask, &by_ids}) {
        const Found found = search(*index, queries.block(), 10, {.ef = 20, .filters = {filter, 1}});
        CHECK(recall(found, Metric::l2, vectors, queries, passes) >= 0.95, "every ", every);
      }
    }
    const bool few[3] = {true, true, true};
    const RowFilter wrong = RowFilter::mask(few);
    CHECK_THROWS(ValueError, search(*index, queries.block(), 1, {.filters = {&wrong, 1}}));
  }
}

TEST(radius_search_finds_the_ball) {
  const Vectors vectors = Vectors::clustered(1500, 8), queries = Vectors::clustered(20, 8);
  for (const Metric metric : kMetrics) {
    for (const auto& index : every_kind(8, metric)) {
      add(*index, vectors, ids_from(0, 1500));
      for (const std::size_t rank : {0u, 5u, 100u, 1499u}) {
        for (std::size_t q = 0; q < queries.count(); ++q) {
          const auto all = exact_order(metric, vectors, queries.row(q));
          const auto radius = static_cast<float>(all[rank].first + 1e-4 * (1 + std::fabs(all[rank].first)));
          const RadiusResult found = index->search_radius(queries.block(q, 1), radius, {.ef = 40});
          const auto within = static_cast<std::size_t>(
              std::count_if(all.begin(), all.end(), [&](const auto& a) { return a.first <= radius; }));
          CHECK_EQ(found.lims.size(), 2u);
          CHECK_EQ(static_cast<std::size_t>(found.lims[1]), found.ids.size());
          CHECK(std::is_sorted(found.distances.begin(), found.distances.end()));
          CHECK(found.distances.empty() || found.distances.back() <= radius);
          // Under an inner product a ball is no ball, and parts of it may lie behind what is outside.
          const double share = metric == Metric::ip ? 0.8 : 0.96;
          CHECK(static_cast<double>(found.ids.size()) >= share * static_cast<double>(within) &&
                    found.ids.size() <= within + 1,
                "metric ", int(metric), " rank ", rank, " found ", found.ids.size(), " of ", within);
        }
      }
      CHECK_EQ(index->search_radius(queries.block(0, 2), -Limits::infinity(), {}).ids.size(), 0u);
      CHECK_EQ(index->search_radius(queries.block(0, 1), Limits::infinity(), {}).ids.size(), 1500u);
      CHECK_THROWS(ValueError, index->search_radius(queries.block(0, 1), Limits::quiet_NaN(), {}));
    }
  }
}

TEST(results_do_not_depend_on_threads) {
  const Vectors vectors = Vectors::clustered(1500, 8), queries = Vectors::clustered(300, 8, DType::f32, 4);
  for (const auto& index : every_kind(8)) {
    add(*index, vectors, ids_from(0, 1500));
    const Found one = search(*index, queries.block(), 5, {.ef = 20, .threads = 1});
    const Found four = search(*index, queries.block(), 5, {.ef = 20, .threads = 4});
    CHECK(one.ids == four.ids && one.distances == four.distances);
    CHECK_EQ(one.cost.distances, four.cost.distances);
  }
}

TEST(empty_and_tiny_indexes) {
  const Vectors queries = Vectors::clustered(3, 4);
  for (const auto& index : every_kind(4)) {
    CHECK_EQ(index->size(), 0u);
    const Found none = search(*index, queries.block(), 2);
    CHECK(std::ranges::all_of(none.ids, [](std::int64_t id) { return id == -1; }));
    CHECK_EQ(index->search_radius(queries.block(), 1e9f, {}).lims.back(), 0);
    index->compact(1, {});
    add(*index, Vectors(4, DType::f32), {});
    index->remove({}, 1);
    add(*index, queries, {7, 8, 9});
    CHECK_EQ(search(*index, queries.block(1, 1), 5).ids[0], 8);
    index->remove(std::vector<std::int64_t>{7, 8, 9}, 1);
    CHECK_EQ(index->size(), 0u);
    CHECK_EQ(search(*index, queries.block(), 2).counts[0], 0);
    add(*index, queries, {1, 2, 3});
    CHECK_EQ(search(*index, queries.block(2, 1), 1).ids[0], 3);
  }
}

TEST(wrong_arguments_change_nothing) {
  const Vectors vectors = Vectors::clustered(50, 4), other = Vectors::clustered(3, 5);
  Vectors broken = Vectors::clustered(2, 4);
  broken.add(std::vector<float>{1, 2, Limits::quiet_NaN(), 4}.data());
  for (const auto& index : every_kind(4)) {
    add(*index, vectors, ids_from(0, 50));
    const auto before = sections_of(*index);
    CHECK_THROWS(ValueError, (add(*index, other, ids_from(90, 3)), 0));
    CHECK_THROWS(ValueError, (add(*index, broken, ids_from(90, 3)), 0));
    CHECK_THROWS(ValueError, (add(*index, Vectors::clustered(3, 4), {90, 91}), 0));
    CHECK_THROWS(ValueError, (add(*index, Vectors::clustered(3, 4), {90, 91, -1}), 0));
    CHECK_THROWS(ValueError, (add(*index, Vectors::clustered(3, 4), {90, 91, 90}), 0));
    CHECK_THROWS(KeyError, (add(*index, Vectors::clustered(3, 4), {90, 91, 49}), 0));
    CHECK_THROWS(KeyError, (index->update(Vectors::clustered(2, 4).block(), ids_from(49, 2), 1, {}), 0));
    CHECK_THROWS(KeyError, (index->remove(ids_from(40, 11), 1), 0));
    CHECK_THROWS(ValueError, (index->remove(std::vector<std::int64_t>{4, 4}, 1), 0));
    CHECK_THROWS(ValueError, search(*index, other.block(), 1));
    CHECK_THROWS(ValueError, search(*index, broken.block(), 1));
    std::vector<float> out(8);
    CHECK_THROWS(KeyError, (index->get(ids_from(49, 2), reinterpret_cast<std::byte*>(out.data())), 0));
    CHECK(sections_of(*index) == before);
  }
  CHECK_THROWS(ValueError, FlatIndex(0, DType::f32, Metric::l2));
  for (auto spoil : {+[](HnswParams& p) { p.m = 1; }, +[](HnswParams& p) { p.ef_construction = 0; },
                     +[](HnswParams& p) { p.codec = "none"; }, +[](HnswParams& p) { p.dim = (1u << 20) + 1; }}) {
    HnswParams params = params_of(4);
    spoil(params);
    CHECK_THROWS(ValueError, HnswIndex(params));
  }
}

// Changing

TEST(any_history_leaves_what_it_should) {
  for (const char* codec : {"float32", "int8"}) {
    for (const unsigned seed : {1u, 2u}) {
      const std::uint32_t dim = 6;
      const Vectors stock = Vectors::clustered(4000, dim, DType::f32, seed);
      std::mt19937 random(seed);
      std::vector<std::unique_ptr<Index>> indexes;
      indexes.push_back(std::make_unique<FlatIndex>(dim, DType::f32, Metric::l2));
      indexes.push_back(std::make_unique<HnswIndex>(params_of(dim, DType::f32, Metric::l2, codec)));
      std::map<std::int64_t, std::size_t> items;  // id -> row of the stock
      std::vector<std::int64_t> order;            // by arrival
      std::int64_t next_id = 0;
      // Of a third of the vectors there are many copies.
      const auto draw = [&] { return random() % 3 == 0 ? random() % 5 : random() % stock.count(); };
      for (int step = 0; step < 45; ++step) {
        const unsigned what = random() % 10;
        std::vector<std::int64_t> ids;
        Vectors some(dim, DType::f32);
        std::vector<std::int64_t> present;
        for (const auto& [id, row] : items) present.push_back(id);
        std::shuffle(present.begin(), present.end(), random);
        if (what < 4 || items.size() < 30) {  // add, replacing some
          const std::size_t n = step == 0 ? 600 : 1 + random() % 150;
          for (std::size_t i = 0; i < n; ++i) {
            const bool again = i < present.size() && random() % 5 == 0;
            ids.push_back(again ? present[i] : next_id++);
            if (!again) order.push_back(ids.back());
          }
        } else {
          ids.assign(present.begin(),
                     present.begin() + static_cast<std::ptrdiff_t>(1 + random() % (present.size() / 3)));
        }
        if (what < 7 || items.size() < 30) {
          for (const std::int64_t id : ids) {
            items[id] = draw();
            some.add(stock, items[id]);
          }
          for (const auto& index : indexes) index->add(some.block(), ids, OnConflict::update, 2, {});
        } else if (what < 9) {
          for (const auto& index : indexes) index->remove(ids, 2);
          for (const std::int64_t id : ids) items.erase(id);
          std::erase_if(order, [&](std::int64_t id) { return !items.contains(id); });
        } else {
          for (const auto& index : indexes) index->compact(2, {});
        }
        if (step % 3 > 0) continue;
        for (const auto& index : indexes) check_items(*index, items, order, stock);
      }
      for (const auto& index : indexes) index->compact(2, {});
      for (const auto& index : indexes) check_items(*index, items, order, stock);
    }
  }
}

TEST(deleted_items_cut_nobody_off) {
  const Vectors vectors = Vectors::clustered(3000, 8, DType::f32, 7),
                queries = Vectors::clustered(40, 8, DType::f32, 7);
  HnswIndex index(params_of(8));
  add(index, vectors, ids_from(0, 3000));
  std::mt19937 random(1);
  std::vector<std::int64_t> ids = ids_from(0, 3000);
  for (int round = 0; round < 6; ++round) {
    std::shuffle(ids.begin(), ids.end(), random);
    const std::vector<std::int64_t> half(ids.begin(), ids.begin() + 1500);
    index.remove(half, 2);
    CHECK(index.unreachable() <= 3, index.unreachable());
    Vectors again(8, DType::f32);
    for (const std::int64_t id : half) again.add(vectors, static_cast<std::size_t>(id));
    index.add(again.block(), half, OnConflict::raise, 2, {});
    CHECK(index.unreachable() <= 3, index.unreachable());
  }
  const double churned = recall(search(index, queries.block(), 10, {.ef = 30}), Metric::l2, vectors, queries);
  index.compact(2, {});
  const double fresh = recall(search(index, queries.block(), 10, {.ef = 30}), Metric::l2, vectors, queries);
  CHECK(churned >= fresh - 0.01, churned, " against ", fresh);
}

TEST(many_equal_vectors_are_one_node) {
  const Vectors vectors = Vectors::clustered(1500, 8);
  for (const Metric metric : kMetrics) {
    HnswIndex index(params_of(8, DType::f32, metric));
    add(index, vectors, ids_from(0, 1500));
    Vectors copies(8, DType::f32);
    for (int i = 0; i < 1000; ++i) copies.add(vectors, 33);
    add(index, copies, ids_from(5000, 1000));
    CHECK_EQ(index.counts().twins, 1000u);
    const Found found = search(index, vectors.block(33, 1), 1001, {.ef = 50});
    const auto equal = static_cast<std::size_t>(
        std::count_if(found.ids.begin(), found.ids.end(), [](std::int64_t id) { return id == 33 || id >= 5000; }));
    CHECK(equal == 1001 || metric == Metric::ip, equal);
    index.remove(std::vector<std::int64_t>{33}, 1);  // its place passes to one of the others
    CHECK_EQ(index.counts().twins, 999u);
    CHECK_EQ(index.counts().dead, 0u);
    index.remove(ids_from(5000, 1000), 1);
    CHECK_EQ(index.counts().twins, 0u);
    CHECK_EQ(index.size(), 1499u);
    CHECK_EQ(index.unreachable(), 0u);
  }
}

TEST(an_add_that_was_stopped_can_be_repeated) {
  struct Stop {};
  const Vectors vectors = Vectors::clustered(2500, 8), queries = Vectors::clustered(40, 8);
  const auto ids = ids_from(1500, 1000);
  for (const char* codec : {"float32", "int8"}) {
    HnswIndex index(params_of(8, DType::f32, Metric::l2, codec)), other(params_of(8, DType::f32, Metric::l2, codec));
    for (HnswIndex* each : {&index, &other}) {
      each->add(vectors.block(0, 1500), ids_from(0, 1500), OnConflict::raise, 2, {});
    }
    const auto stop = [](std::size_t done, std::size_t) {
      if (done > 100) throw Stop{};
    };
    CHECK_THROWS(Stop, (index.add(vectors.block(1500, 1000), ids, OnConflict::raise, 2, stop), 0));
    CHECK_EQ(index.size(), 1500u);
    CHECK(recall(search(index, queries.block(), 10, {.ef = 30}), Metric::l2, vectors, queries,
                 [](std::int64_t id) { return id < 1500; }) > 0.95);
    for (HnswIndex* each : {&index, &other}) each->add(vectors.block(1500, 1000), ids, OnConflict::raise, 2, {});
    CHECK_EQ(index.unreachable(), 0u);
    const double again = recall(search(index, queries.block(), 10, {.ef = 30}), Metric::l2, vectors, queries);
    const double once = recall(search(other, queries.block(), 10, {.ef = 30}), Metric::l2, vectors, queries);
    CHECK(again >= once - 0.01, codec, " ", again, " against ", once);
  }
}

TEST(the_build_depends_on_nothing_but_its_input) {
  const Vectors vectors = Vectors::clustered(1000, 8);
  std::mt19937 random(6);
  for (const char* codec : {"float32", "int8"}) {
    std::map<std::string, storage::testing::Bytes> first;
    for (int attempt = 0; attempt < 4; ++attempt) {
      std::vector<std::int64_t> ids = ids_from(0, 1000);
      if (attempt > 0) std::shuffle(ids.begin(), ids.end(), random);
      Vectors shuffled(8, DType::f32);
      for (const std::int64_t id : ids) shuffled.add(vectors, static_cast<std::size_t>(id));
      HnswIndex index(params_of(8, DType::f32, Metric::l2, codec));
      const std::size_t at_once = attempt == 3 ? 300 : 1000;
      for (std::size_t i = 0; i < 1000; i += at_once) {
        const std::size_t n = std::min(at_once, 1000 - i);
        index.add(shuffled.block(i, n), std::span(ids).subspan(i, n), OnConflict::raise, 1 + attempt, {});
      }
      if (attempt == 3) index.compact(2, {});
      auto sections = sections_of(index);
      sections.erase("table.arrival");
      if (attempt == 0) first = sections;
      CHECK(sections == first, codec, " attempt ", attempt);
    }
  }
}

// Persistence

TEST(an_index_is_the_same_after_a_round_trip) {
  const storage::testing::TempDir dir;
  const Vectors vectors = Vectors::clustered(900, 8), queries = Vectors::clustered(20, 8);
  for (const Metric metric : kMetrics) {
    for (const auto& index : every_kind(8, metric)) {
      add(*index, vectors, ids_from(0, 900));
      index->remove(ids_from(100, 30), 1);
      index->update(vectors.block(0, 50), ids_from(200, 50), 1, {});
      const auto bytes = bytes_of(*index);
      storage::testing::write_file(dir.file("x"), bytes);
      const Found before = search(*index, queries.block(), 10, {.ef = 20});
      for (const auto mode : storage::testing::kModes) {
        const auto again = open_index(storage::testing::open_as(mode, dir.file("x"), bytes));
        CHECK(bytes_of(*again) == bytes);
        const Found after = search(*again, queries.block(), 10, {.ef = 20});
        CHECK(after.ids == before.ids && after.distances == before.distances);
        CHECK(again->ids() == index->ids());
        // It can be changed, which changes no file.
        again->add(vectors.block(0, 300), ids_from(5000, 300), OnConflict::raise, 2, {});
        again->remove(ids_from(300, 300), 2);
        CHECK_EQ(again->size(), 870u);
        again->compact(2, {});
        CHECK_EQ(search(*again, vectors.block(50, 1), 1).ids[0] == 50 || metric == Metric::ip, true);
        CHECK(storage::testing::read_file(dir.file("x")) == bytes);
      }
    }
  }
}

TEST(a_file_of_another_kind_or_without_its_sections_is_corrupt) {
  const Vectors vectors = Vectors::clustered(30, 8);
  for (const auto& index : every_kind(8)) {
    add(*index, vectors, ids_from(0, 30));
    index->with_sections([](const std::string& kind, const std::vector<storage::SectionView>& sections) {
      for (std::size_t i = 0; i < sections.size(); ++i) {
        // Files of before there were layouts, or means of neighbours, have none.
        if (sections[i].name == "graph.layout" || sections[i].name == "graph.mean") continue;
        std::vector<storage::SectionView> fewer(sections);
        fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
        CHECK_THROWS(CorruptError, open_index(Container::from_bytes(storage::container_bytes(kind, fewer))));
        std::vector<storage::SectionView> empty(sections);
        if (empty[i].bytes.empty()) continue;
        empty[i].bytes = {};
        empty[i].shape[0] = 0;
        CHECK_THROWS(CorruptError, open_index(Container::from_bytes(storage::container_bytes(kind, empty))));
      }
    });
  }
}
