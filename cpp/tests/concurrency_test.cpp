/// Everything at once from several threads; to be run under ThreadSanitizer.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/shared_lock.h"
#include "tests/check.h"
#include "tests/index_harness.h"

using namespace annlib;
using namespace annlib::test;

namespace {

constexpr std::uint32_t kDim = 8;

/// Runs each body over and over on a thread of its own, until one of the `finite` ones has done its rounds.
struct Crowd {
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::string trouble;
  std::vector<std::thread> threads;

  void start(const std::function<void(unsigned)>& body, unsigned rounds = 0) {
    threads.emplace_back([this, body, rounds] {
      try {
        for (unsigned round = 0; rounds > 0 ? round < rounds : !stop; ++round) body(round);
      } catch (const test::Failure& failure) {
        note(failure.text);
      } catch (const std::exception& error) {
        note(error.what());
      }
    });
  }
  void note(const std::string& text) {
    const std::lock_guard lock(mutex);
    if (trouble.empty()) trouble = text;
    stop = true;
  }
  /// Waits for the first `finite` threads, then ends the others.
  void finish(std::size_t finite) {
    for (std::size_t i = 0; i < threads.size(); ++i) {
      if (i == finite) stop = true;
      threads[i].join();
    }
    CHECK(trouble.empty(), trouble);
  }
};

void check_results(const Found& found) {
  for (std::size_t q = 0; q < found.counts.size(); ++q) {
    std::set<std::int64_t> distinct;
    for (std::size_t j = 0; j < static_cast<std::size_t>(found.counts[q]); ++j) {
      CHECK(found.ids[q * found.k + j] >= 0);
      CHECK(distinct.insert(found.ids[q * found.k + j]).second);
      CHECK(j == 0 || found.distances[q * found.k + j - 1] <= found.distances[q * found.k + j]);
    }
  }
}

/// Readers of all kinds beside `write`, which is called from two threads as write(thread, round).
void run_beside_readers(Index& index, unsigned rounds, const std::function<void(std::int64_t, unsigned)>& write) {
  const Vectors queries = Vectors::clustered(40, kDim, DType::f32, 3);
  Crowd crowd;
  for (std::int64_t thread = 0; thread < 2; ++thread) {
    crowd.start([&, thread](unsigned round) { write(thread, round); }, rounds);
  }
  crowd.start([&](unsigned) { check_results(search(index, queries.block(), 5, {.ef = 8, .threads = 2})); });
  crowd.start([&](unsigned round) {
    check_results(search(index, queries.block(round % 40, 1), 5, {.ef = 8, .threads = 1}));
    index.search_radius(queries.block(round % 40, 1), 4.0f, {.ef = 8, .threads = 1});
  });
  crowd.start([&](unsigned round) {
    const std::vector<std::int64_t> some = ids_from(round % 100, 50);
    const RowFilter filter = RowFilter::ids(some);
    for (const std::int64_t id :
         search(index, queries.block(), 5, {.ef = 8, .filters = {&filter, 1}, .threads = 1}).ids) {
      CHECK(id == -1 || (id >= some.front() && id <= some.back()));
    }
  });
  crowd.start([&](unsigned round) {
    const std::vector<std::int64_t> ids = index.ids();
    CHECK_EQ(std::set<std::int64_t>(ids.begin(), ids.end()).size(), ids.size());
    index.size();
    index.memory_bytes();
    std::int64_t id = round % 300;
    bool there = false;
    index.contains({&id, 1}, &there);
    std::vector<std::byte> vector(kDim * sizeof(float));
    try {
      index.get({&id, 1}, vector.data());
    } catch (const KeyError&) {  // gone since
    }
    if (const auto* hnsw = dynamic_cast<const HnswIndex*>(&index)) {
      const HnswIndex::Counts counts = hnsw->counts();
      CHECK(counts.twins <= counts.live);
      hnsw->unreachable();
    }
  });
  crowd.start([&](unsigned) {  // as save() does
    CHECK_EQ(open_index(storage::Container::from_bytes(bytes_of(index)))->dim(), kDim);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  });
  crowd.finish(2);
}

std::vector<std::unique_ptr<Index>> all_kinds() {
  auto indexes = every_kind(kDim);
  indexes.push_back(std::make_unique<HnswIndex>(params_of(kDim, DType::f32, Metric::cosine)));
  return indexes;
}

}  // namespace

TEST(reading_and_writing_at_once) {
  const Vectors stock = Vectors::clustered(3000, kDim);
  for (const auto& index : all_kinds()) {
    add(*index, Vectors::clustered(300, kDim), ids_from(0, 300));
    constexpr std::size_t kBatch = 20;
    constexpr unsigned kRounds = 24;
    // Each writer has ids of its own: it adds, replaces, deletes, and now and then compacts.
    run_beside_readers(*index, kRounds, [&](std::int64_t thread, unsigned round) {
      const std::int64_t first = 1000 * (thread + 1) + static_cast<std::int64_t>(round * kBatch);
      const std::size_t row = (static_cast<std::size_t>(thread) * kRounds + round) * kBatch % 2900;
      index->add(stock.block(row, kBatch), ids_from(first, kBatch), OnConflict::raise, 2, {});
      index->update(stock.block(row / 2, kBatch / 2), ids_from(first, kBatch / 2), 2, {});
      if (round % 3 == 2) index->remove(ids_from(first - 2 * static_cast<std::int64_t>(kBatch), 2 * kBatch), 2);
      if (round % 16 == 15) index->compact(2, {});
    });
    // Of three batches of a thread, the first two are gone.
    std::set<std::int64_t> expected;
    for (std::int64_t id = 0; id < 300; ++id) expected.insert(id);
    for (std::int64_t thread = 1; thread <= 2; ++thread) {
      for (std::int64_t round = 2; round < kRounds; round += 3) {
        for (std::int64_t i = 0; i < 20; ++i) expected.insert(1000 * thread + round * 20 + i);
      }
    }
    const std::vector<std::int64_t> ids = index->ids();
    CHECK(std::set<std::int64_t>(ids.begin(), ids.end()) == expected);
    for (const std::int64_t id : ids) {
      Vectors vector(kDim, DType::f32);
      std::vector<float> values(kDim);
      index->get({&id, 1}, reinterpret_cast<std::byte*>(values.data()));
      vector.add(values.data());
      const Found found = search(*index, vector.block(), 1, {.ef = 40});
      CHECK(found.distances[0] < 1e-5f);
    }
  }
}

TEST(rows_that_get_wider_while_others_read) {
  const Vectors whole = Vectors::clustered(600, kDim, DType::i8).as(DType::f32), others = Vectors::clustered(600, kDim);
  HnswParams params = params_of(kDim, DType::f32, Metric::l2, "auto");
  for (const Layout layout : {Layout::plain, Layout::fused}) {
    params.layout = layout;
    HnswIndex index(params);
    index.add(whole.block(0, 300), ids_from(0, 300), OnConflict::raise, 2, {});
    // Both writers add what no byte holds, take it away again, and the last to compact makes rows narrow.
    run_beside_readers(index, 12, [&](std::int64_t thread, unsigned round) {
      const std::vector<std::int64_t> ids = ids_from(1000 * (thread + 1), 20);
      index.add(others.block(round * 20, 20), ids, OnConflict::raise, 2, {});
      index.remove(ids, 2);
      index.compact(2, {});
    });
    CHECK(index.stored_dtype() == DType::i8);
    CHECK(index.ids() == ids_from(0, 300));
  }
}

TEST(failures_while_others_read) {
  const Vectors stock = Vectors::clustered(600, kDim, DType::f32, 5);  // equal vectors would need no work to stop
  struct Stop : std::runtime_error {
    Stop() : std::runtime_error("stop") {}
  };
  for (const auto& index : all_kinds()) {
    add(*index, Vectors::clustered(300, kDim), ids_from(0, 300));
    run_beside_readers(*index, 10, [&](std::int64_t thread, unsigned round) {
      const std::size_t row = round * 20 + static_cast<std::size_t>(thread) * 200;
      CHECK_THROWS(Stop, (index->add(stock.block(row, 40), ids_from(1000, 40), OnConflict::raise, 2,
                                     [](std::size_t, std::size_t) { throw Stop(); }),
                          0));
      CHECK_THROWS(KeyError, (index->remove(ids_from(299, 2), 1), 0));
    });
    CHECK(index->ids() == ids_from(0, 300));
  }
}

TEST(whole_replacements_while_others_read) {
  for (const auto& index : all_kinds()) {
    add(*index, Vectors::clustered(100, kDim), ids_from(0, 100));
    // An add that doubles the index builds another beside it; deleting most of it does too.
    run_beside_readers(*index, 3, [&](std::int64_t thread, unsigned round) {
      const std::int64_t first = 10'000 * (thread + 1);
      index->add(Vectors::clustered(200, kDim, DType::f32, round).block(), ids_from(first, 200), OnConflict::raise, 2,
                 {});
      index->remove(ids_from(first, 200), 2);
    });
    CHECK(index->ids() == ids_from(0, 100));
  }
}

TEST(the_thread_pool_has_many_callers) {
  std::atomic<int> total{0};
  Crowd crowd;
  for (int caller = 0; caller < 4; ++caller) {
    crowd.start(
        [&](unsigned) {
          std::vector<int> marks(64);
          parallel_for(64, 4, 3, [&](std::size_t begin, std::size_t end, int) {
            for (std::size_t i = begin; i < end; ++i) marks[i] = 1;
          });
          total += static_cast<int>(std::count(marks.begin(), marks.end(), 1));
        },
        100);
  }
  crowd.finish(4);
  CHECK_EQ(total.load(), 4 * 100 * 64);
}

TEST(a_writer_is_not_starved) {
  FairSharedMutex mutex;
  std::atomic<int> writes{0};
  Crowd crowd;
  crowd.start(
      [&](unsigned) {
        const std::lock_guard lock(mutex);
        ++writes;
      },
      20);
  for (int reader = 0; reader < 3; ++reader) {
    crowd.start([&](unsigned) {
      const std::shared_lock lock(mutex);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  }
  crowd.finish(1);
  CHECK_EQ(writes.load(), 20);
}
