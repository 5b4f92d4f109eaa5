// System calls of reads fail, are interrupted or do half of what they were asked for.

#include <fcntl.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <utility>

#include "core/error.h"
#include "io/ring.h"
#include "storage/file.h"
#include "tests/check.h"
#include "tests/io_fixture.h"

using namespace annlib;
using namespace annlib::io;
using namespace annlib::io::testing;
using storage::system_calls;
using storage::SystemCalls;

namespace {

/// What becomes of the results of reads, counted from 1 in the order in which they end.
struct Plan {
  int first = 0, last = 0;  ///< these are -code
  int code = 0;
  bool direct_only = false;  ///< others are left alone; a ring's are not told apart
  bool odd = false;          ///< three quarters of all are interrupted, to be repeated, or short
};

struct RingPlan {
  int setup_code = 0;
  int enter_code = 0;  ///< of every call,
  int enter_nth = 0;   ///< or of this one alone
  bool odd = false;    ///< every second enter() fails for now, and one read is taken at a time
  bool old_kernel = false;
};

Plan plan;
RingPlan ring_plan;
std::atomic<int> transfers;
int enters;
bool refuse_direct;
int mmap_code;
SystemCalls real;
RingCalls real_ring;

std::int64_t distorted(std::int64_t result) {
  const int n = ++transfers;
  if (n >= plan.first && n <= plan.last) return -plan.code;
  if (!plan.odd) return result;
  constexpr std::int64_t kShort = 1000;
  const std::int64_t ways[] = {-EINTR, -EAGAIN, std::min(result, kShort), result};
  return ways[mix64(static_cast<std::uint64_t>(n)) % 4];
}

/// The completions of one ring, as the kernel writes them.
struct Queue {
  abi::Params params;
  std::byte* rings = nullptr;
  std::uint32_t seen = 0;       ///< completions distorted
  std::uint32_t submitted = 0;  ///< ever

  std::uint32_t tail() const {
    return std::atomic_ref(*reinterpret_cast<std::uint32_t*>(rings + params.completion.tail))
        .load(std::memory_order_acquire);
  }
  void distort() {
    auto* all = reinterpret_cast<abi::Completion*>(rings + params.completion.completions);
    for (; seen != tail(); ++seen) {
      std::int32_t& result = all[seen & (params.completion_entries - 1)].result;
      result = static_cast<std::int32_t>(distorted(result));
    }
  }
};
std::map<int, Queue> queues;  // by descriptor

int failing_setup(unsigned entries, abi::Params* params) {
  if (ring_plan.setup_code != 0) return errno = ring_plan.setup_code, -1;
  const int fd = real_ring.setup(entries, params);
  if (fd >= 0) queues[fd] = {*params};
  if (ring_plan.old_kernel) params->features &= ~abi::kFeatureCurrentPosition;
  return fd;
}

/// Returns when all that was submitted has ended, so that no result is seen before it is distorted.
int failing_enter(int fd, unsigned submit, unsigned least, unsigned flags) {
  ++enters;
  const bool nth = enters == ring_plan.enter_nth;
  if (ring_plan.enter_code != 0 && (nth || ring_plan.enter_nth == 0)) return errno = ring_plan.enter_code, -1;
  if (ring_plan.odd && enters % 2 == 0) {
    const int codes[] = {EINTR, EAGAIN, EBUSY};
    return errno = codes[enters / 2 % 3], -1;
  }
  if (ring_plan.odd) submit = std::min(submit, 1u);
  Queue& queue = queues.at(fd);
  const int taken = real_ring.enter(fd, submit, least, flags);
  if (taken > 0) queue.submitted += static_cast<std::uint32_t>(taken);
  while (queue.tail() != queue.submitted) real_ring.enter(fd, 0, 1, abi::kEnterGetEvents);
  queue.distort();
  return taken;
}

/// Puts the failing calls in place, and the real ones back.
class Faults {
 public:
  Faults() {
    plan = {};
    ring_plan = {};
    transfers = enters = mmap_code = 0;
    refuse_direct = false;
    real = system_calls();
    real_ring = std::exchange(ring_calls(), {failing_setup, failing_enter});
    system_calls().open = [](const char* path, int flags, mode_t mode) {
      return refuse_direct && (flags & O_DIRECT) != 0 ? (errno = EINVAL, -1) : real.open(path, flags, mode);
    };
    system_calls().pread = [](int fd, void* out, std::size_t n, off_t at) {
      const ssize_t result = real.pread(fd, out, n, at);
      if (plan.direct_only && (::fcntl(fd, F_GETFL) & O_DIRECT) == 0) return result;
      const std::int64_t told = distorted(result);
      return told < 0 ? (errno = static_cast<int>(-told), ssize_t{-1}) : static_cast<ssize_t>(told);
    };
    system_calls().mmap = [](void* address, std::size_t n, int protection, int flags, int fd, off_t offset) {
      if (mmap_code != 0) return errno = mmap_code, MAP_FAILED;
      void* const at = real.mmap(address, n, protection, flags, fd, offset);
      if (offset == abi::kOffsetRings && queues.contains(fd)) queues[fd].rings = static_cast<std::byte*>(at);
      return at;
    };
  }
  ~Faults() {
    system_calls() = real;
    ring_calls() = real_ring;
    queues.clear();
  }
};

/// From now on: the reader is there already.
void begin(const Plan& wanted) {
  plan = wanted;
  transfers = 0;
}

std::vector<Engine> calling_engines() {
  std::vector<Engine> all{Engine::pread};
  if (ring_works()) all.push_back(Engine::io_uring);
  return all;
}

/// Reads `count` random pieces and returns how many failed; the others must be right.
int read_random(Reader& reader, const TestFile& file, std::size_t count, int code) {
  Requests requests(file);
  requests.add_random(count, count);
  const auto channel = reader.channel();
  channel->submit(requests.all());
  int failures = 0;
  std::size_t well = 0;
  while (channel->pending() > 0) {
    std::uint64_t tag = 0;
    try {
      channel->wait({&tag, 1}, true);
      CHECK(requests.right(tag), "tag ", tag);
      ++well;
    } catch (const OsError& error) {
      CHECK_EQ(error.errno_code, code);
      CHECK_EQ(error.path, file.path());
      ++failures;
    }
  }
  CHECK_EQ(well + static_cast<std::size_t>(failures), count);
  return failures;
}

int open_descriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

constexpr std::size_t kSize = (std::size_t{2} << 20) + 77;

}  // namespace

TEST(interrupted_and_short_reads_are_continued) {
  const TestFile file(kSize);
  for (const Engine engine : calling_engines()) {
    for (const bool direct : {false, true}) {
      const Faults faults;
      Reader reader(file.path(), engine, direct);
      begin({.odd = true});
      CHECK_EQ(read_random(reader, file, 200, 0), 0);
      CHECK(transfers > 400, engine_name(engine));
      CHECK_EQ(reader.counters().reads.load(), 200u);
    }
  }
}

TEST(a_failed_read_is_an_os_error_and_no_other_suffers) {
  const TestFile file(kSize);
  for (const Engine engine : calling_engines()) {
    const Faults faults;
    Reader reader(file.path(), engine, false);
    for (const int code : {EIO, ENOMEM, EINVAL}) {
      begin({.first = 5, .last = 7, .code = code});
      CHECK_EQ(read_random(reader, file, 100, code), 3, engine_name(engine));
      begin({});
      CHECK_EQ(read_random(reader, file, 100, code), 0, engine_name(engine));
    }
    begin({.first = 1, .last = 1, .code = EIO});
    Requests one(file);
    one.add(12345, 10);
    const auto channel = reader.channel();
    channel->submit(one.all());
    std::uint64_t tag = 0;
    std::string message;
    try {
      channel->wait({&tag, 1}, true);
    } catch (const OsError& error) {
      message = error.what();
    }
    CHECK_EQ(message, "cannot read '" + file.path() + "' at offset 12345: Input/output error");
    // What failed and was not told is nobody's any more.
    begin({.first = 1, .last = 1, .code = EIO});
    channel->submit(one.all());
    channel->drain();
    channel->submit(one.all());
    CHECK_EQ(wait_for_all(*channel).size(), 1u);
  }
}

TEST(files_without_direct_reads_are_read_plainly) {
  const TestFile file(kSize);
  for (const Engine engine : calling_engines()) {
    const Faults faults;
    {
      refuse_direct = true;
      Reader reader(file.path(), engine, true);
      CHECK(!reader.file().direct());
      CHECK_EQ(read_random(reader, file, 50, 0), 0);
      refuse_direct = false;
    }
    Reader reader(file.path(), engine, true);
    if (!reader.file().direct()) continue;  // the file system of temporary files has none
    Requests pages(file);
    for (std::uint64_t i = 0; i < 20; ++i) pages.add(i * kAlignment, kAlignment);
    begin({.first = 1, .last = 20, .code = EINVAL, .direct_only = true});
    const auto channel = reader.channel();
    channel->submit(pages.all());
    CHECK_EQ(wait_for_all(*channel).size(), 20u);
    for (const ReadRequest& request : pages.all()) CHECK(pages.right(request.tag));
    CHECK(!reader.file().direct());
  }
}

TEST(without_io_uring_threads_read) {
  const TestFile file(kSize);
  const int descriptors = open_descriptors();
  if (!ring_works()) {
    CHECK(Reader(file.path()).engine() == Engine::pread);
    return;
  }
  const auto check = [&](int code) {
    Reader reader(file.path());
    CHECK(reader.engine() == Engine::pread);
    CHECK_EQ(read_random(reader, file, 50, 0), 0);
    try {
      const Reader asked(file.path(), Engine::io_uring);
      CHECK(false, "no exception");
    } catch (const OsError& error) {
      CHECK_EQ(error.errno_code, code);
      CHECK(std::string(error.what()).find("io_uring") != std::string::npos);
    }
  };
  for (const int code : {ENOSYS, EPERM, ENOMEM, EMFILE}) {
    {
      const Faults faults;
      ring_plan.setup_code = code;
      check(code);
    }
    const Faults faults;  // a filter that lets it be made
    ring_plan.enter_code = code;
    check(code);
  }
  {
    const Faults faults;
    ring_plan.old_kernel = true;
    check(ENOSYS);
  }
  {
    const Faults faults;
    mmap_code = ENOMEM;
    check(ENOMEM);
  }
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(a_second_ring_that_cannot_be_made) {
  const TestFile file(kSize);
  if (!ring_works()) return;
  const Faults faults;
  Reader automatic(file.path());
  Reader asked(file.path(), Engine::io_uring);
  const auto first = automatic.channel(), second = asked.channel();
  ring_plan.setup_code = EMFILE;
  CHECK_EQ(read_random(automatic, file, 50, 0), 0);
  CHECK_THROWS(OsError, asked.channel());
}

TEST(a_ring_that_is_slow_to_take_reads) {
  const TestFile file(kSize);
  if (!ring_works()) return;
  const Faults faults;
  Reader reader(file.path(), Engine::io_uring);
  ring_plan.odd = true;
  CHECK_EQ(read_random(reader, file, 150, 0), 0);
  CHECK(enters > 300);
}

TEST(a_ring_that_fails) {
  const TestFile file(kSize);
  if (!ring_works()) return;
  for (int nth = 1; nth < 4; ++nth) {
    const Faults faults;
    Reader reader(file.path(), Engine::io_uring);
    enters = 0;
    ring_plan.enter_code = EBADF;
    ring_plan.enter_nth = nth;
    const int failures = read_random(reader, file, 200, EBADF);
    CHECK(failures > 0 && failures <= 64, failures);
    CHECK_EQ(read_random(reader, file, 200, EBADF), 0);
  }
}
