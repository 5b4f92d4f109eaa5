// How many blocks a second each engine reads: read_blocks_bench DIRECTORY [MIB [SECONDS]].
// Writes a file of that size (default: 1024) into the directory, reads it at random offsets, and removes it.

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "core/random.h"
#include "io/pages.h"
#include "io/reader.h"

using namespace annlib;
using namespace annlib::io;

namespace {

using Clock = std::chrono::steady_clock;

/// Gone with this object.
struct BigFile {
  BigFile(const std::string& directory, std::size_t mib) : path(directory + "/read_blocks_bench.tmp") {
    auto file = storage::File::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    std::vector<std::uint64_t> words((std::size_t{1} << 20) / 8);
    for (std::size_t i = 0; i < mib; ++i) {
      for (std::size_t w = 0; w < words.size(); ++w) words[w] = mix64(i * words.size() + w);
      file.write_at(i << 20, std::as_bytes(std::span(words)));
    }
    file.sync();
  }
  ~BigFile() { ::unlink(path.c_str()); }
  /// Clean pages leave the page cache, so that what is not direct comes from the device too.
  void forget() const {
    const auto file = storage::File::open(path, O_RDONLY);
    ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
  }
  std::string path;
};

/// Reads a second, from `threads` threads that each have `depth` reads under way as a search has: all at once, then
/// none until the last has come.
double reads_a_second(const BigFile& file, Engine engine, bool direct, std::size_t bytes, std::size_t depth,
                      int threads, double seconds) {
  file.forget();
  Reader reader(file.path, engine, direct);
  const std::size_t blocks = reader.file().size() / bytes;
  std::atomic<std::uint64_t> reads{0};
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  std::vector<std::thread> running;
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      Pages pages(depth * bytes);
      std::vector<ReadRequest> requests(depth);
      std::vector<std::uint64_t> done(depth);
      const auto channel = reader.channel();
      for (std::uint64_t round = 0; elapsed() < seconds; ++round) {
        for (std::size_t i = 0; i < depth; ++i) {
          const std::uint64_t block = random64(static_cast<std::uint64_t>(thread), i, round) % blocks;
          requests[i] = {block * bytes, {pages.data() + i * bytes, bytes}, i};
        }
        channel->submit(requests);
        while (channel->wait(done, true) > 0) {
        }
        reads += depth;
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  return static_cast<double>(reads) / elapsed();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: %s DIRECTORY [MIB [SECONDS]]\n", argv[0]), 2;
  const std::size_t mib = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1024;
  const double seconds = argc > 3 ? std::strtod(argv[3], nullptr) : 1;
  const BigFile file(argv[1], mib);
  std::printf("%-9s %-7s %7s %6s %8s %10s %8s\n", "engine", "direct", "KiB", "depth", "threads", "reads/s", "GB/s");
  for (const Engine engine : {Engine::io_uring, Engine::pread, Engine::mmap}) {
    for (const bool direct : {true, false}) {
      if (direct && engine == Engine::mmap) continue;
      for (const std::size_t kib : {4, 48}) {
        for (const auto& [depth, threads] : {std::pair<std::size_t, int>{1, 1}, {16, 1}, {64, 1}, {16, 2}}) {
          const double rate = reads_a_second(file, engine, direct, kib << 10, depth, threads, seconds);
          std::printf("%-9s %-7s %7zu %6zu %8d %10.0f %8.2f\n", engine_name(engine).data(), direct ? "yes" : "no", kib,
                      depth, threads, rate, rate * static_cast<double>(kib << 10) / 1e9);
          std::fflush(stdout);
        }
      }
    }
  }
}
