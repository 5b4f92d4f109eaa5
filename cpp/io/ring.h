#pragma once

#include <cstddef>
#include <cstdint>

#include "io/ring_abi.h"

namespace annlib::io {

/// The system calls of io_uring. Tests put others here; nothing else writes to it.
struct RingCalls {
  int (*setup)(unsigned entries, abi::Params* params);
  int (*enter)(int fd, unsigned submit, unsigned least, unsigned flags);
};

RingCalls& ring_calls();

/// Reads by io_uring: two queues in memory that is shared with the kernel (Axboe, "Efficient IO with io_uring", 2019).
/// For one thread at a time.
class Ring {
 public:
  /// Throws OsError where the system has no io_uring that can read (Linux 5.6), forbids it, as containers do, or has no
  /// memory or descriptor left for one.
  explicit Ring(unsigned entries);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  unsigned entries() const { return entries_; }
  /// Queues a read. At most entries() may be under way, from here to pop().
  void push(std::uint64_t key, int descriptor, std::byte* into, std::uint32_t bytes, std::uint64_t offset);
  /// How many are queued and not the kernel's yet.
  unsigned queued() const;
  /// Takes back the one queued last. There is one.
  std::uint64_t withdraw();
  /// Hands the kernel what is queued and waits until `least` have ended; returns 0 or the errno.
  int enter(unsigned least);
  /// The next that has ended, with its result as of pread() or a negative errno.
  bool pop(std::uint64_t& key, std::int32_t& result);

 private:
  void map(const abi::Params& params);
  void probe();
  void release() noexcept;
  abi::Submission& next_submission();

  int fd_ = -1;
  unsigned entries_ = 0;
  unsigned tail_ = 0;  ///< of the submission queue, ahead of what the kernel sees until enter()
  std::byte* rings_ = nullptr;
  std::size_t rings_bytes_ = 0;
  abi::Submission* submissions_ = nullptr;
  std::size_t submissions_bytes_ = 0;
  // Inside rings_.
  std::uint32_t* submission_head_ = nullptr;
  std::uint32_t* submission_tail_ = nullptr;
  std::uint32_t submission_mask_ = 0;
  std::uint32_t* completion_head_ = nullptr;
  std::uint32_t* completion_tail_ = nullptr;
  std::uint32_t completion_mask_ = 0;
  abi::Completion* completions_ = nullptr;
};

}  // namespace annlib::io
