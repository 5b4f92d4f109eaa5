#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "io/pages.h"
#include "io/reader.h"
#include "tests/check.h"
#include "tests/container_fixture.h"

/// What the tests of cpp/io share.
namespace annlib::io::testing {

using storage::testing::Bytes;
using storage::testing::TempDir;

inline constexpr Engine kEngines[] = {Engine::io_uring, Engine::pread, Engine::mmap};

/// This process may use io_uring. Where it may not, its tests have nothing to say.
inline bool ring_works() {
  try {
    const TempDir dir;
    storage::testing::write_file(dir.file("x"), Bytes(1));
    const Reader reader(dir.file("x"), Engine::io_uring);
    return true;
  } catch (const OsError&) {
    return false;
  }
}

/// The engines that there are here.
inline std::vector<Engine> engines() {
  std::vector<Engine> all(std::begin(kEngines), std::end(kEngines));
  if (!ring_works()) all.erase(all.begin());
  return all;
}

/// A file of bytes that tell where they are from.
class TestFile {
 public:
  explicit TestFile(std::size_t size) : content_(size) {
    for (std::size_t i = 0; i < size; ++i) content_[i] = static_cast<std::byte>(mix64(i));
    storage::testing::write_file(path(), content_);
  }
  std::string path() const { return dir_.file("blocks"); }
  const Bytes& content() const { return content_; }

 private:
  TempDir dir_;
  Bytes content_;
};

/// Reads with buffers of their own, aligned or not.
class Requests {
 public:
  explicit Requests(const TestFile& file) : file_(file) {}

  void add(std::uint64_t offset, std::size_t bytes, std::size_t shift = 0) {
    buffers_.emplace_back(bytes + shift);
    requests_.push_back({offset, {buffers_.back().data() + shift, bytes}, requests_.size()});
  }
  /// Some of whole pages and some not.
  void add_random(std::size_t count, std::uint64_t seed) {
    const std::size_t size = file_.content().size();
    for (std::size_t i = 0; i < count; ++i) {
      const bool pages = random64(seed, 0, i) % 2 == 0;
      const std::size_t unit = pages ? kAlignment : 1;
      const std::size_t bytes = (1 + random64(seed, 1, i) % (pages ? 12 : 50000)) * unit;
      const std::uint64_t offset = random64(seed, 2, i) % (size - bytes) / unit * unit;
      add(offset, bytes, pages ? 0 : random64(seed, 3, i) % 64);
    }
  }
  const std::vector<ReadRequest>& all() const { return requests_; }
  bool right(std::uint64_t tag) const {
    const ReadRequest& request = requests_.at(tag);
    return std::memcmp(request.into.data(), file_.content().data() + request.offset, request.into.size()) == 0;
  }

 private:
  const TestFile& file_;
  std::vector<Pages> buffers_;
  std::vector<ReadRequest> requests_;
};

/// Waits for all; the tags in ascending order.
inline std::vector<std::uint64_t> wait_for_all(Channel& channel) {
  std::vector<std::uint64_t> all;
  std::uint64_t done[7];
  while (const std::size_t count = channel.wait(done, true)) all.insert(all.end(), done, done + count);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace annlib::io::testing
