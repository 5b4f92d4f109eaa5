#include "io/ring.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <system_error>

#include "core/error.h"
#include "storage/file.h"

namespace annlib::io {
namespace {

[[noreturn]] void fail(int code) {
  throw OsError(code, "io_uring", "io_uring cannot be used here: " + std::generic_category().message(code));
}

// The kernel reads and writes the same words meanwhile.
std::uint32_t load(std::uint32_t* word) { return std::atomic_ref(*word).load(std::memory_order_acquire); }
void store(std::uint32_t* word, std::uint32_t value) { std::atomic_ref(*word).store(value, std::memory_order_release); }

std::byte* map_ring(int fd, std::size_t bytes, std::int64_t offset) {
  void* at = storage::system_calls().mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                                          static_cast<off_t>(offset));
  if (at == MAP_FAILED) fail(errno);
  return static_cast<std::byte*>(at);
}

}  // namespace

RingCalls& ring_calls() {
  static RingCalls calls{
      [](unsigned entries, abi::Params* params) {
        return static_cast<int>(::syscall(abi::kSetupCall, entries, params));
      },
      [](int fd, unsigned submit, unsigned least, unsigned flags) {
        return static_cast<int>(::syscall(abi::kEnterCall, fd, submit, least, flags, nullptr, 0));
      },
  };
  return calls;
}

Ring::Ring(unsigned entries) {
  abi::Params params{};
  fd_ = ring_calls().setup(entries, &params);
  if (fd_ < 0) fail(errno);
  try {
    // The last of these says Linux 5.6 or later, which is also the first that can read without a vector of buffers.
    constexpr std::uint32_t kNeeded = abi::kFeatureSingleMap | abi::kFeatureNoDrop | abi::kFeatureCurrentPosition;
    if ((params.features & kNeeded) != kNeeded) fail(ENOSYS);
    map(params);
    probe();
  } catch (...) {
    release();
    throw;
  }
}

Ring::~Ring() { release(); }

void Ring::map(const abi::Params& params) {
  const abi::SubmissionOffsets& submission = params.submission;
  const abi::CompletionOffsets& completion = params.completion;
  rings_bytes_ = std::max(submission.array + params.submission_entries * sizeof(std::uint32_t),
                          completion.completions + params.completion_entries * sizeof(abi::Completion));
  rings_ = map_ring(fd_, rings_bytes_, abi::kOffsetRings);
  submissions_bytes_ = params.submission_entries * sizeof(abi::Submission);
  submissions_ = reinterpret_cast<abi::Submission*>(map_ring(fd_, submissions_bytes_, abi::kOffsetSubmissions));

  const auto word = [&](std::uint32_t offset) { return reinterpret_cast<std::uint32_t*>(rings_ + offset); };
  submission_head_ = word(submission.head);
  submission_tail_ = word(submission.tail);
  submission_mask_ = *word(submission.ring_mask);
  completion_head_ = word(completion.head);
  completion_tail_ = word(completion.tail);
  completion_mask_ = *word(completion.ring_mask);
  completions_ = reinterpret_cast<abi::Completion*>(rings_ + completion.completions);
  entries_ = params.submission_entries;
  tail_ = *submission_tail_;
  // The queue holds indices of submissions: here the one at each place is always the same.
  for (std::uint32_t i = 0; i < entries_; ++i) word(submission.array)[i] = i;
}

/// A filter of system calls may let a ring be made and not be used.
void Ring::probe() {
  next_submission().operation = abi::kOperationNop;
  ++tail_;
  std::uint64_t key = 0;
  std::int32_t result = 0;
  while (!pop(key, result)) {
    const int code = enter(1);
    if (code != 0 && code != EINTR) fail(code);
  }
  if (result < 0) fail(-result);
}

void Ring::release() noexcept {
  if (submissions_ != nullptr) ::munmap(submissions_, submissions_bytes_);
  if (rings_ != nullptr) ::munmap(rings_, rings_bytes_);
  storage::system_calls().close(fd_);
}

abi::Submission& Ring::next_submission() { return submissions_[tail_ & submission_mask_] = abi::Submission{}; }

void Ring::push(std::uint64_t key, int descriptor, std::byte* into, std::uint32_t bytes, std::uint64_t offset) {
  abi::Submission& submission = next_submission();
  submission.operation = abi::kOperationRead;
  submission.descriptor = descriptor;
  submission.offset = offset;
  submission.address = reinterpret_cast<std::uintptr_t>(into);
  submission.bytes = bytes;
  submission.key = key;
  ++tail_;
}

unsigned Ring::queued() const { return tail_ - load(submission_head_); }

std::uint64_t Ring::withdraw() {
  --tail_;
  store(submission_tail_, tail_);
  return submissions_[tail_ & submission_mask_].key;
}

int Ring::enter(unsigned least) {
  store(submission_tail_, tail_);
  const int taken = ring_calls().enter(fd_, queued(), least, least > 0 ? abi::kEnterGetEvents : 0);
  return taken < 0 ? errno : 0;
}

bool Ring::pop(std::uint64_t& key, std::int32_t& result) {
  const std::uint32_t head = *completion_head_;
  if (head == load(completion_tail_)) return false;
  const abi::Completion& completion = completions_[head & completion_mask_];
  key = completion.key;
  result = completion.result;
  store(completion_head_, head + 1);
  return true;
}

}  // namespace annlib::io
