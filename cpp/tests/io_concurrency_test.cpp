// Many threads read one file through one cache; to be run under ThreadSanitizer.

#include <atomic>
#include <thread>
#include <vector>

#include "io/block_reader.h"
#include "tests/check.h"
#include "tests/io_fixture.h"

using namespace annlib;
using namespace annlib::io;
using namespace annlib::io::testing;

TEST(threads_share_a_file_and_a_cache) {
  constexpr std::size_t kSize = std::size_t{2} << 20;
  const TestFile file(kSize);
  for (const Engine engine : engines()) {
    // The cache holds a quarter of the file, so that blocks come and go.
    const auto cache = std::make_shared<BlockCache>(kSize / 4, 4);
    BlockReader blocks(file.path(), engine, true, cache);
    std::atomic<std::uint64_t> wrong{0}, arrived{0}, hits{0};
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < 6; ++thread) {
      threads.emplace_back([&, thread] {
        for (std::uint64_t round = 0; round < 40; ++round) {
          std::vector<BlockRequest> requests;
          for (std::uint64_t i = 0; i < 20; ++i) {
            const std::uint64_t block = random64(thread, round, i) % (kSize / 8192);
            requests.push_back({block * 8192, 8000, block});
          }
          BlockBatch batch(blocks);
          batch.add(requests);
          // Every eighth is left alone with its reads under way.
          for (std::uint64_t i = 0; i < (round % 8 == 0 ? 3 : 20); ++i) {
            const auto arrival = batch.next();
            const std::byte* const true_bytes = file.content().data() + arrival->tag * 8192;
            wrong += std::memcmp(arrival->block->data(), true_bytes, 8000) != 0;
            ++arrived;
          }
          hits += batch.hits();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK_EQ(wrong.load(), 0u, engine_name(engine));
    CHECK_EQ(arrived.load(), 6u * (35 * 20 + 5 * 3));
    const BlockCache::Counts counts = cache->counts();
    CHECK_EQ(counts.hits, hits.load());
    CHECK_EQ(counts.hits + counts.misses, 6u * 40 * 20);
    CHECK(counts.hits > 0 && counts.bytes <= cache->capacity());
  }
}
