/// Memory that grows, views of it, and parts of a file.

#include "core/buffer.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "tests/check.h"

using namespace annlib;

namespace {

bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 64 == 0; }

}  // namespace

TEST(buffer_grows_and_keeps_what_it_has) {
  Array<std::uint32_t> array;
  CHECK(array.empty());
  // Past the heap, past the first mapping, and past a few moves of it.
  constexpr std::uint32_t kCount = 5'000'000;
  for (std::uint32_t i = 0; i < kCount; ++i) array.push_back(i * 7);
  CHECK(aligned(array.data()));
  bool same = true;
  for (std::uint32_t i = 0; i < kCount; ++i) same &= array[i] == i * 7;
  CHECK(same);
  CHECK_EQ(array.size(), kCount);
}

TEST(buffer_new_bytes_are_zero) {
  for (const std::size_t large : {100u, 5'000u, 3'000'000u, 9'000'000u}) {
    Buffer buffer;
    buffer.resize(large);
    std::fill_n(buffer.data(), large, std::byte{0xFF});
    buffer.resize(large / 3);
    buffer.resize(large / 2);  // within what was used once
    buffer.resize(large * 3);  // and beyond
    const auto is = [](std::byte wanted) { return [wanted](std::byte b) { return b == wanted; }; };
    CHECK(std::all_of(buffer.data(), buffer.data() + large / 3, is(std::byte{0xFF})), large);
    CHECK(std::all_of(buffer.data() + large / 3, buffer.data() + buffer.size(), is(std::byte{0})), large);
  }
}

TEST(buffer_reserve_makes_growth_free_of_moves) {
  for (const std::size_t large : {1000u, 8'000'000u}) {
    Buffer buffer;
    buffer.reserve(large);
    CHECK_EQ(buffer.size(), 0u);
    buffer.resize(1);
    const std::byte* before = buffer.data();
    buffer.resize(large);
    CHECK(buffer.data() == before);
    buffer.reserve(1);
    CHECK(buffer.data() == before);
  }
}

TEST(buffer_view_becomes_a_copy_when_it_grows) {
  auto owner = std::make_shared<std::vector<std::byte>>(100, std::byte{3});
  const std::weak_ptr<std::vector<std::byte>> watch = owner;
  Buffer view = Buffer::view(*owner, owner);
  owner.reset();
  CHECK(!watch.expired());
  CHECK_EQ(view.size(), 100u);
  CHECK(view.data() == watch.lock()->data());
  view.data()[0] = std::byte{9};
  CHECK(watch.lock()->front() == std::byte{9});

  view.resize(40);  // a view of less
  CHECK(view.data() == watch.lock()->data());
  view.resize(60);  // a copy, whose new bytes are zero whatever the owner has there
  CHECK(watch.expired());
  CHECK(view.data()[0] == std::byte{9} && view.data()[39] == std::byte{3});
  CHECK(std::all_of(view.data() + 40, view.data() + 60, [](std::byte b) { return b == std::byte{0}; }));
}

TEST(buffer_that_begins_with_a_file) {
  for (const std::size_t large : {100u, 5000u, 3'000'000u}) {
    std::FILE* file = std::tmpfile();
    const int descriptor = fileno(file);
    const std::vector<std::byte> before(4096, std::byte{7}), bytes(large, std::byte{3}), page(4096 - large % 4096);
    for (const auto* part : {&before, &bytes, &page}) std::fwrite(part->data(), 1, part->size(), file);
    std::fflush(file);
    Buffer buffer = Buffer::map(descriptor, 4096, large);
    CHECK_EQ(buffer.size(), large);
    CHECK_EQ(buffer.mapped_bytes(), large);
    CHECK(std::equal(bytes.begin(), bytes.end(), buffer.data()));
    buffer.data()[0] = std::byte{9};
    buffer.resize(large + large / 2);  // in its place
    CHECK_EQ(buffer.mapped_bytes(), large);
    std::fill(buffer.data() + large, buffer.data() + buffer.size(), std::byte{5});
    buffer.resize(large / 2);
    CHECK_EQ(buffer.mapped_bytes(), large / 2);
    buffer.resize(large * 3 + (std::size_t{4} << 20));  // in another
    CHECK_EQ(buffer.mapped_bytes(), 0u);
    const auto is = [](std::byte wanted) { return [wanted](std::byte b) { return b == wanted; }; };
    CHECK(buffer.data()[0] == std::byte{9});
    CHECK(std::all_of(buffer.data() + 1, buffer.data() + large / 2, is(std::byte{3})), large);
    CHECK(std::all_of(buffer.data() + large / 2, buffer.data() + buffer.size(), is(std::byte{0})), large);
    // The file has nothing of it.
    buffer = Buffer::map(descriptor, 4096, large);
    std::fclose(file);
    CHECK(std::equal(bytes.begin(), bytes.end(), buffer.data()));
  }
  CHECK_EQ(Buffer::map(-1, 0, 100).size(), 0u);
  CHECK_EQ(Buffer::map(0, 0, 0).size(), 0u);
}

TEST(buffer_moves_and_swaps) {
  Array<int> a(3);
  a[1] = 5;
  Array<int> b = std::move(a);
  CHECK_EQ(b.size(), 3u);
  CHECK_EQ(b[1], 5);
  b = Array<int>(1'000'000);
  CHECK_EQ(b[999'999], 0);
  b = Array<int>();
  CHECK(b.empty());
  b.resize(4, 7);
  b.resize(6, 8);
  CHECK(std::ranges::equal(b, std::vector{7, 7, 7, 7, 8, 8}));
}

TEST(buffer_without_memory_is_as_it_was) {
  Buffer buffer;
  buffer.resize(10);
  buffer.data()[9] = std::byte{1};
  CHECK_THROWS(std::bad_alloc, buffer.resize(std::size_t{1} << 62));
  CHECK_THROWS(std::bad_alloc, buffer.reserve(std::size_t{1} << 62));
  CHECK_EQ(buffer.size(), 10u);
  CHECK(buffer.data()[9] == std::byte{1});
}
