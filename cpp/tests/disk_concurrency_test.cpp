/// Searches of an index on disk beside changes, merges, compact(), readers of other objects and close(); to be run
/// under ThreadSanitizer.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/check.h"
#include "tests/disk_fixture.h"

using namespace annlib;
using namespace annlib::disk;
using namespace annlib::disk::testing;
using annlib::test::ids_from;

namespace {

constexpr std::uint32_t kDim = 8;
constexpr std::size_t kItems = 200;

/// Runs each body over and over on a thread of its own until finish(), which fails if one of them threw.
class Threads {
 public:
  ~Threads() { join(); }
  void start(const std::function<void(unsigned)>& body) {
    threads_.emplace_back([this, body] {
      try {
        for (unsigned round = 0; !stop_; ++round) body(round);
      } catch (const test::Failure& failure) {
        note(failure.text);
      } catch (const std::exception& error) {
        note(error.what());
      }
    });
  }
  void finish() {
    join();
    CHECK(trouble_.empty(), trouble_);
  }

 private:
  void join() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  void note(const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (trouble_.empty()) trouble_ = text;
  }

  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::string trouble_;
  std::vector<std::thread> threads_;
};

/// Items 0 to 99 stay as they are: whatever else is going on, each is found by its vector.
void start_readers(Threads& threads, const DiskIndex& index, const Vectors& stock) {
  for (const Plan plan : {Plan::walk, Plan::exact}) {
    threads.start([&, plan](unsigned round) {
      const std::size_t row = round * 7 % 96;
      const Found found = search(index, stock.block(row, 4), 3, {.ef = kEveryList, .threads = 2, .plan = plan});
      for (std::size_t q = 0; q < 4; ++q) {
        CHECK_EQ(found.ids[q * 3], static_cast<std::int64_t>(row + q));
        CHECK_EQ(std::set<std::int64_t>(found.ids.begin() + static_cast<std::ptrdiff_t>(q * 3),
                                        found.ids.begin() + static_cast<std::ptrdiff_t>(q * 3 + 3))
                     .size(),
                 3u);
      }
    });
  }
  threads.start([&](unsigned round) {
    const std::int64_t id = round % 100;
    std::vector<std::byte> vector(kDim * sizeof(float));
    index.get({&id, 1}, vector.data());
    CHECK(std::equal(vector.begin(), vector.end(), stock.block().row(static_cast<std::size_t>(id))));
    const std::vector<std::int64_t> some = ids_from(round % 50, 50);
    const RowFilter filter = RowFilter::ids(some);
    for (const std::int64_t found :
         search(index, stock.block(0, 2), 5, {.ef = 8, .filters = {&filter, 1}, .threads = 1}).ids) {
      CHECK(found >= some.front() && found <= some.back());
    }
    CHECK(index.search_radius(stock.block(round % 100, 1), 1e-4f, {.threads = 1}).ids.size() == 1);
  });
  threads.start([&](unsigned) {
    const std::vector<std::int64_t> ids = index.ids();
    CHECK(std::is_sorted(ids.begin(), ids.begin() + 100) && ids[99] == 99);
    index.memory_bytes();
    const DiskIndex::Counts counts = index.counts();
    CHECK(counts.lists > 0 && counts.shortest <= counts.longest);
    CHECK(index.attribute_types().size() == 1);
    CHECK(index.damage().empty());
  });
}

/// 600 vectors and a directory of the first 200 of them.
struct Fixture {
  Fixture() : stock(Vectors::clustered(600, kDim)) {
    Vectors first(kDim, DType::f32);
    for (std::size_t i = 0; i < kItems; ++i) first.add(stock, i);
    build(path(), params_of(kDim, Metric::l2, "int8"), first);
    flat = flat_of(params_of(kDim), first);
  }
  std::string path() const { return dir.file("x"); }

  TempDir dir;
  Vectors stock;
  std::unique_ptr<FlatIndex> flat;
};

}  // namespace

TEST(disk_searches_beside_changes_and_merges) {
  for (const io::Engine engine : {io::Engine::automatic, io::Engine::pread, io::Engine::mmap}) {
    Fixture fixture;
    OpenOptions options;
    options.engine = engine;
    options.cache_bytes = engine == io::Engine::pread ? 0 : std::size_t{1} << 18;
    const auto index = disk::testing::open(fixture.path(), options);
    Threads threads;
    start_readers(threads, *index, fixture.stock);
    threads.start([&](unsigned) {
      const auto reader = disk::testing::open(fixture.path(), mapped(true));
      CHECK(reader->ids()[99] == 99);
      search(*reader, fixture.stock.block(0, 2), 3, {.threads = 1});
    });
    Threads merging;
    merging.start([&](unsigned) { index->merge(2); });
    for (std::size_t round = 0; round < 12; ++round) {
      for (Index* each : {static_cast<Index*>(index.get()), static_cast<Index*>(fixture.flat.get())}) {
        const auto id = static_cast<std::int64_t>(1000 + round * 30);
        each->add(fixture.stock.block(kItems + round * 30, 30), ids_from(id, 30), OnConflict::raise, 2, {});
        each->update(fixture.stock.block(kItems + round * 10, 10), ids_from(120, 10), 2, {});
        each->set_attributes(ids_from(id, 5), numbers(ids_from(id, 5)));
        if (round > 0) each->remove(ids_from(id - 20, 15), 2);
        if (round == 8) each->compact(2, {});
      }
    }
    merging.finish();
    threads.finish();
    CHECK(same_items(*index, *fixture.flat));
    index->merge(2);
    CHECK(same_items(*index, *fixture.flat));
    CHECK(index->damage().empty());
  }
}

TEST(disk_closing_while_others_are_at_work) {
  for (int delay = 0; delay < 12; ++delay) {
    Fixture fixture;
    const auto index = disk::testing::open(fixture.path());
    std::atomic<std::size_t> acknowledged{0};
    Threads threads;
    const auto until_closed = [&](const std::function<void(unsigned)>& body) {
      threads.start([&, body](unsigned round) {
        try {
          body(round);
        } catch (const OsError& error) {
          CHECK(error.errno_code == EBADF && index->closed(), error.what());
          std::this_thread::yield();
        }
      });
    };
    until_closed([&](unsigned) { search(*index, fixture.stock.block(0, 4), 3, {.threads = 2}); });
    until_closed([&](unsigned) { vectors_of(*index); });
    until_closed([&](unsigned) { index->merge(1); });
    until_closed([&](unsigned) { index->wait_for_work(0.001); });
    until_closed([&](unsigned round) { index->set_attributes(ids_from(round % 100, 1), numbers({round})); });
    until_closed([&](unsigned) {
      const std::size_t n = acknowledged;
      if (n == 300) return;
      index->add(fixture.stock.block(kItems + n, 1), ids_from(1000 + static_cast<std::int64_t>(n), 1),
                 OnConflict::raise, 1, {});
      ++acknowledged;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(3 * delay));
    index->close();
    threads.finish();
    const auto again = disk::testing::open(fixture.path());
    const std::size_t added = again->size() - kItems;
    CHECK(added == acknowledged, added, " of ", acknowledged.load());
    CHECK(again->damage().empty());
  }
}

TEST(disk_who_waits_for_work_is_told) {
  Fixture fixture;
  OpenOptions options = mapped();
  options.fresh_bytes = 1;
  const auto index = disk::testing::open(fixture.path(), options);
  CHECK(!index->wait_for_work(0.001));
  std::atomic<int> told{0};
  std::thread waiting([&] {
    if (index->wait_for_work(60)) ++told;
  });
  index->add(fixture.stock.block(kItems, 1), ids_from(1000, 1), OnConflict::raise, 1, {});
  waiting.join();
  CHECK_EQ(told.load(), 1);
  index->merge(1);
  CHECK(!index->wait_for_work(0.001));
  std::thread closing([&] {
    if (!index->wait_for_work(60)) ++told;
  });
  index->close();
  closing.join();
  CHECK_EQ(told.load(), 2);
}
