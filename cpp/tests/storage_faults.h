#pragma once

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "storage/file.h"

/// System calls of cpp/storage that fail when they are told to.
namespace annlib::storage::testing {

enum Call {
  kOpen,
  kFstat,
  kPread,
  kPwrite,
  kFtruncate,
  kFchmod,
  kFsync,
  kClose,
  kRename,
  kMmap,
  kFdatasync,
  kFlock,
  kMkdir,
  kUnlink,
  kCalls
};

/// What the calls below do: call number `nth` (from 1) of sort `call` fails with `code`, and so do all of sort
/// `always`. `odd` makes every second call of any sort fail with EINTR, and every transfer short.
struct Plan {
  Call call = kCalls;
  int nth = 0;
  int code = 0;
  bool odd = false;
  bool no_progress = false;  ///< pwrite returns 0
  Call always = kCalls;
};

inline Plan plan;
inline int calls_made[kCalls];
inline bool triggered;
inline bool interrupt_next;
inline SystemCalls real;

inline bool fails(Call call) {
  if (plan.odd && (interrupt_next = !interrupt_next)) return errno = EINTR, true;
  const bool chosen = ++calls_made[call] == plan.nth && call == plan.call;
  if (!chosen && call != plan.always) return false;
  triggered = true;
  return errno = plan.code, true;
}

inline std::size_t shortened(std::size_t n) { return plan.odd ? std::min<std::size_t>(n, 1000) : n; }

inline const SystemCalls kFailing{
    [](const char* path, int flags, mode_t mode) {
      const bool of_process = std::string_view(path).starts_with("/proc/");  // which is asked and need not answer
      return !of_process && fails(kOpen) ? -1 : real.open(path, flags, mode);
    },
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
    [](int fd) { return fails(kFdatasync) ? -1 : real.fdatasync(fd); },
    [](int fd, int operation) { return fails(kFlock) ? -1 : real.flock(fd, operation); },
    [](const char* path, mode_t mode) { return fails(kMkdir) ? -1 : real.mkdir(path, mode); },
    [](const char* path) { return fails(kUnlink) ? -1 : real.unlink(path); },
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

inline int open_descriptors() {
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

}  // namespace annlib::storage::testing
