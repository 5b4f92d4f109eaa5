// Blocks read by every engine, the cache before them, and what comes of a fork.

#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <numeric>
#include <set>

#include "core/error.h"
#include "io/block_reader.h"
#include "tests/check.h"
#include "tests/io_fixture.h"

using namespace annlib;
using namespace annlib::io;
using namespace annlib::io::testing;

namespace {

constexpr std::size_t kSize = (std::size_t{3} << 20) + 1234;

std::vector<std::uint64_t> up_to(std::size_t n) {
  std::vector<std::uint64_t> all(n);
  std::iota(all.begin(), all.end(), 0u);
  return all;
}

/// The exit status of a child that runs `body`: 0 where it returns true.
template <class Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace

TEST(engines_by_name) {
  for (const char* name : {"auto", "io_uring", "pread", "mmap"}) {
    CHECK_EQ(engine_name(engine_named(name)), std::string_view(name));
  }
  try {
    engine_named("aio");
    CHECK(false, "no exception");
  } catch (const ValueError& error) {
    CHECK(std::string(error.what()).find("'aio'; there are: auto, io_uring, pread, mmap") != std::string::npos);
  }
}

TEST(every_engine_reads_the_same_bytes) {
  const TestFile file(kSize);
  for (const Engine engine : engines()) {
    for (const bool direct : {false, true}) {
      Reader reader(file.path(), engine, direct);
      CHECK(reader.engine() == engine);
      CHECK_EQ(reader.file().size(), kSize);
      Requests requests(file);
      requests.add_random(300, 7);  // more than a ring holds
      requests.add(kSize - 1, 1);
      requests.add(kSize - 5000, 5000);
      requests.add(kSize / kAlignment * kAlignment, kSize % kAlignment);
      requests.add(0, kSize);
      const auto channel = reader.channel();
      channel->submit(requests.all());
      CHECK_EQ(channel->pending(), requests.all().size());
      CHECK(wait_for_all(*channel) == up_to(requests.all().size()), engine_name(engine), " direct ", direct);
      CHECK_EQ(channel->pending(), 0u);
      std::uint64_t bytes = 0;
      for (const ReadRequest& request : requests.all()) {
        CHECK(requests.right(request.tag), engine_name(engine), " direct ", direct, " tag ", request.tag);
        bytes += request.into.size();
      }
      CHECK_EQ(reader.counters().reads.load(), requests.all().size());
      CHECK_EQ(reader.counters().bytes.load(), bytes);
    }
  }
}

TEST(a_channel_without_reads_does_not_wait) {
  const TestFile file(kAlignment);
  for (const Engine engine : engines()) {
    Reader reader(file.path(), engine);
    std::uint64_t tag = 0;
    const auto channel = reader.channel();
    CHECK_EQ(channel->wait({&tag, 1}, true), 0u);
    channel->submit({});
    CHECK_EQ(channel->wait({&tag, 1}, true), 0u);
    Requests requests(file);
    requests.add(0, kAlignment);
    channel->submit(requests.all());
    CHECK_EQ(channel->wait({}, true), 0u);
    while (channel->wait({&tag, 1}, false) == 0) ::usleep(100);
    CHECK(requests.right(0));
  }
}

TEST(reads_beyond_the_end_are_refused) {
  const TestFile file(10000);
  const TestFile empty(0);
  for (const Engine engine : engines()) {
    Reader reader(file.path(), engine);
    const auto channel = reader.channel();
    std::byte buffer[16];
    for (const std::uint64_t offset : {std::uint64_t{9985}, std::uint64_t{10000}, ~std::uint64_t{0}}) {
      const ReadRequest request{offset, buffer, 0};
      CHECK_THROWS(CorruptError, channel->submit({&request, 1}));
    }
    const ReadRequest nothing{0, {}, 0};
    CHECK_THROWS(ValueError, channel->submit({&nothing, 1}));
    CHECK_EQ(channel->pending(), 0u);
    CHECK_EQ(reader.counters().reads.load(), 0u);
    Reader none(empty.path(), engine);
    const ReadRequest first{0, {buffer, 1}, 0};
    CHECK_THROWS(CorruptError, none.channel()->submit({&first, 1}));
  }
}

TEST(a_file_that_shrinks_while_it_is_open_is_corrupt) {
  for (const Engine engine : engines()) {
    const TestFile file(10 * kAlignment);
    Reader reader(file.path(), engine);
    std::filesystem::resize_file(file.path(), 5 * kAlignment + 100);
    const auto channel = reader.channel();
    Requests requests(file);
    requests.add(5 * kAlignment, kAlignment);
    requests.add(4 * kAlignment, kAlignment);
    requests.add(8 * kAlignment, kAlignment);
    channel->submit(requests.all());
    std::size_t failures = 0, well = 0;
    while (channel->pending() > 0) {
      std::uint64_t tag = 0;
      try {
        channel->wait({&tag, 1}, true);
        CHECK_EQ(tag, 1u);
        CHECK(requests.right(tag));
        ++well;
      } catch (const CorruptError& error) {
        CHECK(std::string(error.what()).find(file.path()) != std::string::npos);
        ++failures;
      }
    }
    CHECK_EQ(failures, 2u);
    CHECK_EQ(well, 1u);
  }
}

TEST(files_that_cannot_be_opened) {
  const TempDir dir;
  for (const Engine engine : {Engine::automatic, Engine::pread, Engine::mmap}) {
    CHECK_THROWS(OsError, Reader(dir.file("none"), engine));
    CHECK_THROWS(OsError, Reader(std::filesystem::path(dir.file("x")).parent_path(), engine));
    CHECK_THROWS(OsError, Reader("/dev/null", engine));
    CHECK_THROWS(ValueError, Reader(std::string("a\0b", 3), engine));
  }
}

TEST(blocks_that_were_appended_since) {
  constexpr std::size_t kBefore = 8 * kAlignment;
  const TestFile file(kSize);
  for (const Engine engine : engines()) {
    std::filesystem::resize_file(file.path(), kBefore);
    Reader reader(file.path(), engine);
    Requests requests(file);
    requests.add_random(100, 5);
    CHECK_THROWS(CorruptError, reader.channel()->submit(requests.all()));
    storage::testing::write_file(file.path(), file.content());
    reader.file().look_again();
    const auto channel = reader.channel();
    channel->submit(requests.all());
    CHECK(wait_for_all(*channel) == up_to(100));
    for (const ReadRequest& request : requests.all()) CHECK(requests.right(request.tag), engine_name(engine));
  }
}

TEST(what_is_under_way_is_waited_for) {
  const TestFile file(kSize);
  for (const Engine engine : engines()) {
    Reader reader(file.path(), engine);
    for (int round = 0; round < 20; ++round) {
      Requests requests(file);
      requests.add_random(100, static_cast<std::uint64_t>(round));
      const auto channel = reader.channel();
      CHECK_EQ(channel->pending(), 0u);  // nothing of the borrower before
      channel->submit(requests.all());
      std::uint64_t tag = 0;
      if (round % 2 == 0) channel->wait({&tag, 1}, true);
    }  // the channel goes first, then the buffers
    Requests requests(file);
    requests.add_random(10, 99);
    const auto channel = reader.channel();
    channel->submit(requests.all());
    CHECK(wait_for_all(*channel) == up_to(10));
  }
}

TEST(a_child_reads_on) {
  const TestFile file(kSize);
  for (const Engine engine : engines()) {
    Reader reader(file.path(), engine);
    Requests requests(file);
    requests.add_random(100, 3);
    const auto read_all = [&] {
      const auto channel = reader.channel();
      channel->submit(requests.all());
      if (wait_for_all(*channel) != up_to(100)) return false;
      return std::all_of(requests.all().begin(), requests.all().end(),
                         [&](const ReadRequest& request) { return requests.right(request.tag); });
    };
    CHECK(read_all());
    CHECK_EQ(in_child([&] { return read_all() && in_child(read_all) == 0; }), 0);
    CHECK(read_all());
    // A channel that is borrowed at the fork remains the parent's.
    const auto channel = reader.channel();
    channel->submit(requests.all());
    CHECK_EQ(in_child([&] { return channel->stale() && read_all(); }), 0);
    CHECK(wait_for_all(*channel) == up_to(100));
  }
}

TEST(pages_are_aligned_and_used_again) {
  std::set<const std::byte*> seen;
  {
    Pages first(1), second(kAlignment + 1), third(std::size_t{3} << 20), none(0);
    CHECK_EQ(first.size(), kAlignment);
    CHECK_EQ(second.size(), 2 * kAlignment);
    CHECK_EQ(none.size(), 0u);
    for (const Pages* pages : {&first, &second, &third}) {
      CHECK_EQ(reinterpret_cast<std::uintptr_t>(pages->data()) % kAlignment, 0u);
      seen.insert(pages->data());
    }
    Pages moved = std::move(second);
    CHECK_EQ(second.size(), 0u);
    CHECK_EQ(moved.size(), 2 * kAlignment);
  }
  CHECK(Pages::idle_bytes() >= 3 * kAlignment);
  const std::size_t idle = Pages::idle_bytes();
  const Pages again(2 * kAlignment);
  CHECK(seen.contains(again.data()));
  CHECK_EQ(Pages::idle_bytes(), idle - 2 * kAlignment);
}

TEST(pages_take_what_they_are_long) {
  const auto resident = [] {
    std::size_t all = 0, in_memory = 0;
    std::ifstream("/proc/self/statm") >> all >> in_memory;
    return in_memory * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  };
  constexpr std::size_t kBlocks = 20480;  // 80 MiB, more than is kept
  const auto fill = [&] {
    std::set<const std::byte*> places;
    std::vector<Pages> all;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      std::memset(all.emplace_back(kAlignment).data(), static_cast<int>(i % 251), kAlignment);
      places.insert(all.back().data());
    }
    CHECK_EQ(places.size(), kBlocks);
    for (std::size_t i = 0; i < kBlocks; ++i) {
      CHECK(all[i].data()[0] == std::byte(i % 251) && all[i].data()[kAlignment - 1] == std::byte(i % 251));
    }
    return resident();
  };
  const std::size_t before = resident() - std::min(resident(), Pages::idle_bytes()), filled = fill();
  CHECK(filled < before + kBlocks * kAlignment / 4 * 5, before, " to ", filled);
  CHECK(Pages::idle_bytes() <= std::size_t{64} << 20);
  CHECK(resident() < filled - (std::size_t{12} << 20), resident());
  fill();
}

TEST(the_cache_keeps_to_its_bytes_and_what_is_found_again) {
  BlockCache cache(10 * kAlignment, 1);
  const auto block = [] { return std::make_shared<const Pages>(kAlignment); };
  for (std::uint64_t i = 0; i < 10; ++i) cache.insert({1, i}, block());
  CHECK_EQ(cache.counts().bytes, 10 * kAlignment);
  const BlockCache::Block held = cache.find({1, 3});
  CHECK(held != nullptr);
  CHECK(cache.find({1, 7}) != nullptr);
  CHECK(cache.find({2, 3}) == nullptr);
  cache.insert({1, 3}, block());
  CHECK(cache.find({1, 3}) == held);  // the one that is there stays
  for (std::uint64_t i = 10; i < 18; ++i) cache.insert({1, i}, block());
  CHECK(cache.find({1, 3}) != nullptr);
  CHECK(cache.find({1, 7}) != nullptr);
  CHECK(cache.find({1, 0}) == nullptr);
  cache.insert({1, 99}, std::make_shared<const Pages>(11 * kAlignment));
  CHECK(cache.find({1, 99}) == nullptr);
  const BlockCache::Counts counts = cache.counts();
  CHECK_EQ(counts.hits, 5u);
  CHECK_EQ(counts.misses, 3u);
  CHECK_EQ(counts.blocks, 10u);
  CHECK_EQ(counts.bytes, 10 * kAlignment);
  cache.insert({2, 0}, block());
  cache.erase_file(1);
  CHECK(cache.find({2, 0}) != nullptr);
  CHECK_EQ(cache.counts().blocks, 1u);
  CHECK_EQ(held->size(), kAlignment);  // pinned, though it is forgotten
}

TEST(blocks_come_from_the_cache_or_the_file) {
  const TestFile file(kSize);
  for (const Engine engine : engines()) {
    for (const std::size_t capacity : {std::size_t{0}, std::size_t{1} << 20, std::size_t{64} << 20}) {
      const auto cache = capacity > 0 ? std::make_shared<BlockCache>(capacity) : nullptr;
      {
        BlockReader blocks(file.path(), engine, true, cache);
        for (int round = 0; round < 3; ++round) {
          std::vector<BlockRequest> requests;
          for (std::uint64_t at = 0; at + 9000 < kSize; at += 4 * kAlignment) requests.push_back({at, 9000, at});
          requests.push_back({kSize - 5, 5, kSize - 5});
          BlockBatch batch(blocks);
          batch.add(std::span(requests).first(10));
          batch.add(std::span(requests).subspan(10));
          std::set<std::uint64_t> seen;
          while (const auto arrival = batch.next()) {
            const std::size_t bytes = arrival->tag == kSize - 5 ? 5 : 9000;
            CHECK(std::memcmp(arrival->block->data(), file.content().data() + arrival->tag, bytes) == 0);
            seen.insert(arrival->tag);
          }
          CHECK_EQ(seen.size(), requests.size());
          CHECK_EQ(batch.hits() + batch.reads(), requests.size());
          if (capacity == 0 || round == 0) CHECK_EQ(batch.hits(), 0u);
          if (capacity > kSize && round > 0) CHECK_EQ(batch.bytes_read(), 0u);
        }
        if (cache) CHECK(cache->counts().bytes > capacity / 4 || capacity > kSize);
        if (cache) CHECK(cache->counts().bytes <= capacity);
        BlockBatch dropped(blocks);
        dropped.add(std::vector<BlockRequest>{{0, 100, 0}, {kAlignment, 100, 1}});
        const BlockRequest beyond{kSize, 1, 0};
        CHECK_THROWS(CorruptError, dropped.add({&beyond, 1}));
      }
      if (cache) CHECK_EQ(cache->counts().bytes, 0u);  // no reader, no blocks
    }
  }
}
