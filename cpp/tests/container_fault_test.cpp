// Each system call fails in turn: the old file must survive and nothing else may be left behind.

#include <cerrno>
#include <initializer_list>

#include "storage/file.h"
#include "tests/check.h"
#include "tests/container_fixture.h"

using namespace annlib;
using namespace annlib::storage;
using namespace annlib::storage::testing;

namespace {

enum Call { kOpen, kFstat, kPread, kPwrite, kFtruncate, kFchmod, kFsync, kClose, kRename, kMmap, kCalls };

/// What the calls below do: call number `nth` (from 1) of sort `call` fails with `code`. `odd` makes every second
/// call of any sort fail with EINTR, and every transfer short.
struct Plan {
  Call call = kCalls;
  int nth = 0;
  int code = 0;
  bool odd = false;
  bool no_progress = false;  ///< pwrite returns 0
};

Plan plan;
int calls_made[kCalls];
bool triggered;
bool interrupt_next;
SystemCalls real;

bool fails(Call call) {
  if (plan.odd && (interrupt_next = !interrupt_next)) return errno = EINTR, true;
  if (++calls_made[call] != plan.nth || call != plan.call) return false;
  triggered = true;
  return errno = plan.code, true;
}

std::size_t shortened(std::size_t n) { return plan.odd ? std::min<std::size_t>(n, 1000) : n; }

const SystemCalls kFailing{
    [](const char* path, int flags, mode_t mode) { return fails(kOpen) ? -1 : real.open(path, flags, mode); },
    [](int fd, struct stat* out) { return fails(kFstat) ? -1 : real.fstat(fd, out); },
    [](int fd, void* out, std::size_t n, off_t at) {
      return fails(kPread) ? ssize_t{-1} : real.pread(fd, out, shortened(n), at);
    },
    [](int fd, const void* in, std::size_t n, off_t at) {
      if (plan.no_progress) return ssize_t{0};
      return fails(kPwrite) ? ssize_t{-1} : real.pwrite(fd, in, shortened(n), at);
    },
    [](int fd, off_t size) { return fails(kFtruncate) ? -1 : real.ftruncate(fd, size); },
    [](int fd, mode_t mode) { return fails(kFchmod) ? -1 : real.fchmod(fd, mode); },
    [](int fd) { return fails(kFsync) ? -1 : real.fsync(fd); },
    [](int fd) {  // the descriptor is gone whatever close() says
      const bool failed = fails(kClose);
      const int code = errno, result = real.close(fd);
      return failed ? (errno = code, -1) : result;
    },
    [](const char* from, const char* to) { return fails(kRename) ? -1 : real.rename(from, to); },
    [](void* at, std::size_t n, int protection, int flags, int fd, off_t offset) {
      return fails(kMmap) ? reinterpret_cast<void*>(-1) : real.mmap(at, n, protection, flags, fd, offset);
    },
};

/// Puts the failing calls in place, and the real ones back.
class Faults {
 public:
  explicit Faults(Plan wanted) {
    plan = wanted;
    std::fill_n(calls_made, kCalls, 0);
    triggered = interrupt_next = false;
    real = std::exchange(system_calls(), kFailing);
  }
  ~Faults() { system_calls() = real; }
};

int open_descriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

/// The errno of the OsError that the call throws under the plan; 0 for none.
template <class Action>
int error_under(Plan wanted, Action action) {
  const Faults faults(wanted);
  try {
    action();
  } catch (const OsError& error) {
    return error.errno_code;
  }
  return 0;
}

}  // namespace

TEST(a_failed_write_leaves_the_old_file) {
  Sections sections = varied();
  sections.add("big", ElementType::u8, {3 * 1024 * 1024});
  const int descriptors = open_descriptors();
  for (const bool exists : {true, false}) {
    const TempDir dir;
    const std::string path = dir.file("x");
    if (exists) write_container(path, "flat", small().views());
    const Bytes old = exists ? read_file(path) : Bytes();
    const auto names = dir.names();
    int failures = 0;
    for (const Call call : {kOpen, kPwrite, kFtruncate, kFchmod, kFsync, kClose, kRename}) {
      for (const int code : {ENOSPC, EIO, EACCES}) {
        for (int nth = 1;; ++nth) {
          const int thrown = error_under({call, nth, code}, [&] { write_container(path, "hnsw", sections.views()); });
          if (thrown == 0) break;
          CHECK(triggered);
          CHECK_EQ(thrown, code);
          ++failures;
          // Only the directory is synced after the rename, and the new file is whole then.
          if (call == kFsync && nth == 2) break;
          CHECK(dir.names() == names);
          if (exists) CHECK(read_file(path) == old);
        }
        CHECK(verify_container(path).empty());
        CHECK(Container::open(path, false)->kind() == "hnsw");
        std::filesystem::remove(path);
        if (exists) write_file(path, old);
      }
    }
    CHECK(failures > 3 * 40);
  }
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(a_failed_sync_of_the_directory_says_so) {
  const TempDir dir;
  const std::string path = dir.file("x");
  const auto write = [&] { write_container(path, "flat", small().views()); };
  const Faults faults({kFsync, 2, EIO});
  CHECK(contains(message_of<OsError>(write), "the new file is in place"));
  CHECK(verify_container(path).empty());
  plan = {kFsync, 4, EINVAL};  // a file system that cannot
  CHECK_EQ(message_of<OsError>(write), "no exception");
}

TEST(interruptions_and_short_transfers_are_continued) {
  const TempDir dir;
  const std::string path = dir.file("x");
  const Bytes expected = container_bytes("hnsw", varied().views());
  const Faults faults({.odd = true});
  for (int i = 0; i < 2; ++i) {
    write_container(path, "hnsw", varied().views());
    CHECK(read_file(path) == expected);
    CHECK(contents(*Container::open(path, false), false) == contents(*Container::from_bytes(expected), true));
    CHECK(verify_container(path).empty());
  }
  CHECK(dir.names() == std::vector<std::string>{"x"});
}

TEST(a_write_without_progress_ends) {
  const TempDir dir;
  const auto write = [&] { write_container(dir.file("x"), "flat", small().views()); };
  CHECK_EQ(error_under({.no_progress = true}, write), EIO);
  CHECK(dir.names().empty());
}

TEST(a_taken_temporary_name_is_stepped_over) {
  const TempDir dir;
  const auto write = [&] { write_container(dir.file("x"), "flat", small().views()); };
  CHECK_EQ(error_under({kOpen, 2, EEXIST}, write), 0);
  CHECK(triggered);
  CHECK(dir.names() == std::vector<std::string>{"x"});
}

TEST(failed_reads_are_os_errors) {
  const TempDir dir;
  const std::string path = dir.file("x");
  write_container(path, "hnsw", varied().views());
  const int descriptors = open_descriptors();
  for (const bool map : {true, false}) {
    for (const Call call : {kOpen, kFstat, kPread, kMmap}) {
      int failures = 0;
      for (int nth = 1;; ++nth) {
        const int thrown = error_under({call, nth, EIO}, [&] { contents(*Container::open(path, map), map); });
        if (thrown == 0) break;
        CHECK_EQ(thrown, EIO);
        ++failures;
      }
      CHECK_EQ(failures > 0, call != kMmap || map);
    }
  }
  CHECK_EQ(error_under({kPread, 3, EIO}, [&] { verify_container(path); }), EIO);
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(a_file_that_shrinks_is_corrupt) {
  const TempDir dir;
  const std::string path = dir.file("x");
  write_container(path, "flat", small().views());
  const auto container = Container::open(path, false);
  std::filesystem::resize_file(path, 8192);
  CHECK(contains(message_of<CorruptError>([&] { contents(*container, false); }), "shrank"));
}
