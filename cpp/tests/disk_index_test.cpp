/// The index on disk beside a flat one to which the same is done: after a build, changes, merges, compact() and opening
/// anew it holds and finds the same.

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "tests/check.h"
#include "tests/disk_fixture.h"
#include "tests/storage_faults.h"

using namespace annlib;
using namespace annlib::disk;
using namespace annlib::disk::testing;
using annlib::test::ids_from;
using annlib::test::kMetrics;
using annlib::test::reference_distance;

namespace {

constexpr std::size_t kItems = 400;
constexpr const char* kCodecs[] = {"rabitq:1", "rabitq:2", "int8", "float32"};

/// With room for all lists.
OpenOptions cached() {
  OpenOptions options = mapped();
  options.cache_bytes = std::size_t{4} << 20;
  return options;
}

/// An index of the first kItems vectors of `stock`, and all that is done to it done to a flat one, too.
struct Pair {
  explicit Pair(const Params& params, const OpenOptions& how = mapped())
      : Pair(params, how, Vectors::clustered(kItems + 200, params.lists.dim, params.lists.dtype, 1)) {}
  Pair(const Params& params, const OpenOptions& how, Vectors vectors)
      : options(how),
        stock(std::move(vectors)),
        queries(Vectors::clustered(20, params.lists.dim, params.lists.dtype, 2)) {
    Vectors first(params.lists.dim, params.lists.dtype);
    for (std::size_t i = 0; i < kItems; ++i) first.add(stock, i);
    build(path(), params, first);
    flat = flat_of(params, first);
    index = disk::testing::open(path(), options);
  }
  std::string path() const { return dir.file("x"); }

  template <class Change>
  void both(Change change) {
    change(static_cast<Index&>(*index));
    change(static_cast<Index&>(*flat));
  }
  void add(std::int64_t id, std::size_t row, std::size_t n) {
    both([&](Index& i) { i.add(stock.block(row, n), ids_from(id, n), OnConflict::update, 1, {}); });
  }
  void remove(std::int64_t id, std::size_t n) {
    both([&](Index& i) { i.remove(ids_from(id, n), 1); });
  }
  void merge() { index->merge(1); }
  void reopen() {
    index.reset();
    index = disk::testing::open(path(), options);
  }
  void check() const {
    check_same(*index, *flat, queries);
    if (options.cache_bytes > 0) check_resident();
  }
  /// What is in memory is what is in the files.
  void check_resident() const {
    const auto reader = disk::testing::open(path(), mapped(true));
    CHECK(index->counts().resident_bytes > 0);
    CHECK_EQ(reader->counts().resident_bytes, 0u);
    for (const std::size_t ef : {std::size_t{1}, std::size_t{3}, kEveryList}) {
      const SearchRequest how{.ef = ef, .threads = 1, .plan = Plan::walk};
      const Found resident = search(*index, queries.block(), 5, how), read = search(*reader, queries.block(), 5, how);
      CHECK(resident.ids == read.ids && resident.distances == read.distances);
      CHECK(resident.cost.reads < read.cost.reads);
    }
  }

  OpenOptions options;
  TempDir dir;
  Vectors stock, queries;
  std::unique_ptr<FlatIndex> flat;
  std::unique_ptr<DiskIndex> index;
};

/// One change of every kind.
void change_everything(Pair& pair) {
  pair.add(1000, kItems, 60);     // new ones
  pair.add(30, kItems + 100, 7);  // others in their places
  pair.both([&](Index& i) { i.update(pair.stock.block(kItems + 150, 2), ids_from(1003, 2), 1, {}); });
  pair.remove(90, 40);
  pair.remove(1010, 5);
  pair.both([](Index& i) { i.set_attributes(ids_from(200, 3), numbers({-7, 8, 9})); });
  pair.both([&](Index& i) {
    i.add(pair.stock.block(kItems + 190, 2), ids_from(2000, 2), OnConflict::raise, 1, {}, numbers({5, 6}));
  });
}

}  // namespace

TEST(disk_search_as_the_scalar_reference) {
  for (const Metric metric : kMetrics) {
    for (const char* codec : kCodecs) {
      const Pair pair(params_of(12, metric, codec));
      constexpr std::size_t kResults = 4;
      const Found exact = search(*pair.index, pair.queries.block(), kResults, {.threads = 2, .plan = Plan::exact});
      const Found walked =
          search(*pair.index, pair.queries.block(), kResults, {.ef = kEveryList, .threads = 2, .plan = Plan::walk});
      for (std::size_t q = 0; q < pair.queries.count(); ++q) {
        std::vector<std::pair<double, std::int64_t>> all;
        for (std::size_t i = 0; i < kItems; ++i) {
          all.emplace_back(reference_distance(metric, pair.queries.row(q), pair.stock.row(i)), i);
        }
        std::sort(all.begin(), all.end());
        for (std::size_t j = 0; j < kResults; ++j) {
          CHECK_EQ(exact.ids[q * kResults + j], all[j].second);
          CHECK_NEAR(exact.distances[q * kResults + j], all[j].first, 1e-3);
        }
      }
      CHECK(walked.cost.distances + walked.cost.estimates >= kItems);
      pair.check();
    }
  }
}

TEST(disk_changes_are_there_before_and_after_merging_and_opening) {
  for (const Metric metric : kMetrics) {
    for (const char* codec : kCodecs) {
      Pair pair(params_of(12, metric, codec));
      change_everything(pair);
      pair.check();
      pair.reopen();  // by the log
      pair.check();
      pair.merge();
      pair.check();
      CHECK_EQ(pair.index->counts().fresh, 0u);
      pair.add(3000, kItems + 70, 20);
      pair.remove(0, 20);
      pair.reopen();  // by lists and log
      pair.check();
      pair.both([](Index& i) { i.compact(1, {}); });
      pair.check();
      CHECK_EQ(pair.index->counts().fresh, 0u);
      pair.reopen();
      pair.check();
    }
  }
}

TEST(disk_lists_in_memory_are_those_of_the_files) {
  for (const Metric metric : kMetrics) {
    for (const char* codec : {"rabitq:2", "int8", "float32"}) {
      Pair pair(params_of(12, metric, codec), cached());
      pair.check();
      change_everything(pair);
      pair.check();
      pair.merge();
      pair.check();
      pair.add(3000, kItems + 70, 20);
      pair.remove(0, 20);
      pair.merge();
      pair.check();
      pair.both([](Index& i) { i.compact(1, {}); });
      pair.check();
      pair.reopen();
      pair.check();
    }
  }
}

TEST(disk_lists_leave_memory_when_they_outgrow_it) {
  OpenOptions options = cached();
  Pair pair(params_of(8, Metric::l2, "int8"), options);
  options.cache_bytes = pair.index->counts().resident_bytes + 64;
  pair.options = options;
  pair.reopen();
  CHECK(pair.index->counts().resident_bytes > 0);
  CHECK(pair.index->counts().cache_bytes <= options.cache_bytes);
  pair.add(1000, kItems, 100);
  pair.merge();
  CHECK_EQ(pair.index->counts().resident_bytes, 0u);
  check_same(*pair.index, *pair.flat, pair.queries);
  CHECK(pair.index->counts().cache_bytes <= options.cache_bytes);
}

TEST(disk_packed_slots_are_the_slots) {
  const std::vector<std::vector<Slot>> lists = {
      {0, 1, 127, 128, 255}, {}, {5, 5 + 16383, 5 + 2 * 16384, 0xFFFFFFFEu}, {0xFFFFFFFEu}, {7}};
  PackedSlots packed(lists.size() + 1);
  for (const std::size_t l : {4u, 0u, 3u, 2u, 1u}) packed.set(l, lists[l]);
  for (std::size_t l = 0; l < lists.size(); ++l) {
    std::vector<Slot> slots(packed.size(l));
    packed.unpack(l, slots.data());
    CHECK(slots == lists[l], l);
  }
  CHECK_EQ(packed.size(lists.size()), 0u);
}

TEST(disk_vectors_of_every_dtype) {
  for (const DType dtype : annlib::test::kDTypes) {
    for (const char* codec : {"rabitq:1", "float32"}) {
      Pair pair(params_of(8, Metric::l2, codec, dtype));
      pair.add(1000, kItems, 50);
      pair.merge();
      pair.reopen();
      CHECK(same_items(*pair.index, *pair.flat));
      CHECK(pair.index->damage().empty());
    }
  }
}

TEST(disk_vectors_of_whole_numbers_are_bytes) {
  constexpr std::uint32_t kWide = 100;  // 10 floats, 20 halves, 40 bytes to a page
  for (const DType dtype : {DType::f32, DType::f16}) {
    for (const DType integer : {DType::u8, DType::i8}) {
      for (const Metric metric : kMetrics) {
        const char* codec = metric == Metric::ip ? "float32" : "int8";
        Pair pair(params_of(kWide, metric, codec, dtype), mapped(),
                  Vectors::clustered(kItems + 200, kWide, integer, 1).as(dtype));
        const auto stored = [&] { return pair.index->counts().stored_dtype; };
        const std::size_t narrow = pair.index->counts().vector_file_bytes;
        CHECK(stored() == integer);
        CHECK(narrow <= kHeaderBytes + (kItems + 39) / 40 * 4096);
        change_everything(pair);
        pair.merge();
        CHECK(stored() == integer);
        pair.check();
        pair.reopen();
        CHECK(stored() == integer);
        // What no byte holds: in memory at first, then all is built anew as it was given.
        const Vectors other = Vectors::clustered(3, kWide, dtype, 3);
        pair.both([&](Index& i) { i.add(other.block(), ids_from(5000, 3), OnConflict::raise, 1, {}); });
        CHECK(stored() == integer);
        pair.check();
        pair.reopen();
        pair.check();
        pair.merge();
        CHECK(stored() == dtype);
        pair.check();
        pair.add(3000, kItems + 70, 20);
        pair.merge();
        pair.reopen();
        CHECK(stored() == dtype);
        pair.check();
        // Built without them, it is narrow again.
        pair.remove(5000, 3);
        pair.both([](Index& i) { i.compact(1, {}); });
        CHECK(stored() == integer);
        pair.check();
      }
    }
  }
}

TEST(disk_merges_split_lists_and_give_short_ones_up) {
  for (const char* codec : {"rabitq:1", "int8"}) {
    Pair pair(params_of(8, Metric::l2, codec), std::string(codec) == "int8" ? cached() : mapped());
    const std::size_t lists = pair.index->counts().lists;
    // All into one place, little by little: more than a list may hold, and less than what builds everything anew.
    Vectors heap(8, DType::f32);
    for (std::size_t i = 0; i < 150; ++i) {
      std::vector<float> row(8);
      for (std::size_t d = 0; d < 8; ++d) {
        row[d] = reinterpret_cast<const float*>(pair.stock.block().row(7))[d] +
                 0.01f * reinterpret_cast<const float*>(pair.stock.block().row(i))[d];
      }
      heap.add(row.data());
    }
    for (std::size_t i = 0; i < 150; i += 50) {
      pair.both([&](Index& index) {
        index.add(heap.block(i, 50), ids_from(5000 + static_cast<std::int64_t>(i), 50), OnConflict::raise, 1, {});
      });
      pair.merge();
      pair.check();
    }
    const DiskIndex::Counts split = pair.index->counts();
    CHECK(split.lists > lists, split.lists, " and ", lists);
    // Without half of the items, and merged as many times, lists have become short.
    for (std::int64_t id = 0; id < 150; id += 50) {
      pair.remove(id, 50);
      pair.merge();
      pair.check();
    }
    pair.remove(5000, 120);
    pair.merge();
    pair.check();
    CHECK(pair.index->counts().lists < split.lists);
    pair.reopen();
    pair.check();
  }
}

TEST(disk_old_files_go_when_new_ones_are_there) {
  Pair pair(params_of(12));
  const auto names = [&] {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(pair.path())) all.push_back(entry.path().filename());
    std::sort(all.begin(), all.end());
    return all;
  };
  CHECK(names() == (std::vector<std::string>{"LOCK", "index.ann", "lists-0", "log-0", "vectors-0"}));
  pair.add(1000, kItems, 30);
  pair.merge();
  CHECK(names() == (std::vector<std::string>{"LOCK", "index.ann", "lists-0", "log-1", "vectors-0"}));
  pair.remove(1000, 30);
  pair.both([](Index& i) { i.compact(1, {}); });
  CHECK(names() == (std::vector<std::string>{"LOCK", "index.ann", "lists-1", "log-2", "vectors-1"}));
}

TEST(disk_an_index_may_be_emptied_and_filled) {
  for (const bool merged : {false, true}) {
    Pair pair(params_of(12));
    pair.remove(0, kItems);
    if (merged) pair.merge();
    CHECK_EQ(pair.index->size(), 0u);
    CHECK_EQ(search(*pair.index, pair.queries.block(0, 1), 3).counts[0], 0);
    pair.reopen();
    CHECK_EQ(pair.index->size(), 0u);
    pair.add(7, 0, 50);
    pair.merge();
    pair.reopen();
    pair.check();
  }
}

TEST(disk_an_index_may_begin_empty) {
  const TempDir dir;
  const Params params = params_of(12);
  build(dir.file("x"), params, Vectors(12, DType::f32));
  const Vectors stock = Vectors::clustered(100, 12);
  const auto index = disk::testing::open(dir.file("x"));
  CHECK_EQ(search(*index, stock.block(0, 1), 3).counts[0], 0);
  index->merge(1);
  const auto flat = flat_of(params, stock);
  index->add(stock.block(), ids_from(0, 100), OnConflict::raise, 1, {}, numbers(ids_from(0, 100)));
  check_same(*index, *flat, stock);
  index->merge(1);
  check_same(*index, *flat, stock);
  CHECK(index->counts().lists > 5);
}

TEST(disk_merging_what_nobody_has_left_frees_it) {
  Pair pair(params_of(12));
  pair.add(1000, kItems, 100);
  pair.remove(0, kItems);
  pair.remove(1000, 100);
  pair.merge();
  const DiskIndex::Counts counts = pair.index->counts();
  CHECK_EQ(counts.fresh, 0u);
  CHECK_EQ(counts.stale, 0u);
  pair.reopen();
  CHECK_EQ(pair.index->size(), 0u);
}

TEST(disk_the_order_of_arrival_does_not_matter) {
  const Vectors stock = Vectors::clustered(kItems, 12);
  const auto files = [&](bool reversed) {
    const TempDir dir;
    Builder builder(dir.file("x"), params_of(12));
    for (std::size_t i = 0; i < kItems; ++i) {
      const std::size_t row = reversed ? kItems - 1 - i : i;
      builder.add(stock.block(row, 1), ids_from(static_cast<std::int64_t>(row), 1));
    }
    builder.finish({}, {}, reversed ? 2 : 1, {});
    return std::pair(storage::testing::read_file(dir.file("x/lists-0")),
                     storage::testing::read_file(dir.file("x/vectors-0")));
  };
  CHECK(files(false) == files(true));
}

TEST(disk_a_budget_that_is_too_small_for_all_changes_no_item) {
  Params params = params_of(24);
  params.lists.list_size = 100;
  const Vectors stock = Vectors::clustered(12'000, 24);
  const TempDir dir;
  params.memory_budget = 1;
  CHECK_THROWS(ValueError, build(dir.file("x"), params, stock));
  CHECK_THROWS(OsError, disk::testing::open(dir.file("x")));
  params.memory_budget = std::uint64_t{1} << 40;
  params.memory_budget -= disk::room_beside(params, 12'000);  // the least: a megabyte a part
  build(dir.file("x"), params, stock);
  const auto index = disk::testing::open(dir.file("x"));
  CHECK(index->damage().empty());
  CHECK(same_items(*index, *flat_of(params, stock)));
  CHECK(index->counts().lists > 100);
}

TEST(disk_a_reader_sees_what_there_was_when_it_opened) {
  Pair pair(params_of(12));
  change_everything(pair);
  const auto reader = disk::testing::open(pair.path(), mapped(true));
  CHECK(same_items(*reader, *pair.flat));
  const auto ids = reader->ids();
  const Bytes vectors = vectors_of(*reader);
  const auto unchanged = [&] {
    CHECK(reader->ids() == ids);
    CHECK(vectors_of(*reader) == vectors);
    CHECK(reader->damage().empty());
  };
  pair.add(6000, kItems + 70, 40);
  unchanged();
  pair.merge();
  unchanged();
  pair.both([](Index& i) { i.compact(1, {}); });
  unchanged();
  CHECK(same_items(*disk::testing::open(pair.path(), mapped(true)), *pair.flat));
  pair.check();
  // It changes nothing, and there is one writer.
  CHECK_THROWS(OsError, reader->merge(1));
  CHECK_THROWS(OsError, reader->remove(ids_from(0, 1), 1));
  CHECK_THROWS(OsError, reader->add(pair.stock.block(0, 1), ids_from(9000, 1), OnConflict::raise, 1, {}));
  CHECK_THROWS(OsError, reader->compact(1, {}));
  CHECK_THROWS(OsError, disk::testing::open(pair.path()));
  unchanged();
}

TEST(disk_a_reader_that_is_overtaken_misses_nothing) {
  for (const char* moment : {"/index.ann", "/lists-0", "/log-0"}) {
    Pair pair(params_of(12));
    change_everything(pair);
    static DiskIndex* writer;
    static std::string name;
    writer = pair.index.get();
    name = pair.path() + moment;
    const storage::testing::Faults faults({});
    storage::system_calls().open = [](const char* path, int flags, mode_t mode) {
      if (path == name) {
        name.clear();
        writer->remove(ids_from(300, 1), 1);
        writer->merge(1);  // what the log held is in the lists now, and the log gone
        writer->remove(ids_from(301, 1), 1);
      }
      return storage::testing::real.open(path, flags, mode);
    };
    std::size_t told = 0;
    const auto reader = DiskIndex::open(pair.path(), mapped(true), [&](const std::string&, const auto&) { ++told; });
    CHECK(name.empty());
    pair.flat->remove(ids_from(300, 2), 1);
    CHECK(same_items(*reader, *pair.flat), moment);
    CHECK_EQ(told, 1u);
  }
}

TEST(disk_refused_calls_change_nothing) {
  Pair pair(params_of(12));
  const Vectors wide = Vectors::clustered(2, 13);
  CHECK_THROWS(KeyError, pair.index->add(pair.stock.block(0, 1), ids_from(5, 1), OnConflict::raise, 1, {}));
  CHECK_THROWS(KeyError, pair.index->remove(ids_from(kItems - 1, 2), 1));
  CHECK_THROWS(KeyError, pair.index->set_attributes(ids_from(kItems, 1), numbers({1})));
  CHECK_THROWS(ValueError, pair.index->add(wide.block(), ids_from(9000, 2), OnConflict::raise, 1, {}));
  CHECK_THROWS(ValueError, pair.index->drop_attributes({"no such"}));
  pair.check();
  CHECK_THROWS(OsError, Builder(pair.path(), params_of(12)));  // being written to
  pair.index->close();
  CHECK(pair.index->closed());
  CHECK_THROWS(OsError, search(*pair.index, pair.queries.block(), 3));
  CHECK_THROWS(OsError, pair.index->remove(ids_from(0, 1), 1));
  CHECK_THROWS(OsError, pair.index->merge(1));
  CHECK_THROWS(OsError, pair.index->damage());
  pair.index->close();
  CHECK_THROWS(OsError, Builder(pair.path(), params_of(12)));  // there is an index
  pair.reopen();
  pair.check();
}

TEST(disk_attributes_are_replaced_and_dropped_by_the_log_too) {
  Pair pair(params_of(12));
  pair.add(1000, kItems, 10);
  pair.both([](Index& i) { i.replace_attributes(numbers(ids_from(50, i.size()))); });
  pair.reopen();
  pair.check();
  pair.both([](Index& i) { i.drop_attributes({"n"}); });
  pair.reopen();
  CHECK(pair.index->attribute_types().empty());
  pair.merge();
  pair.reopen();
  CHECK(pair.index->attribute_types().empty());
  pair.check();
}
