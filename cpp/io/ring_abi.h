#pragma once

#include <cstddef>
#include <cstdint>

/// What the kernel and io_uring's users have agreed on, as far as it is used here (io_uring_setup(2),
/// io_uring_enter(2)). Written out because the headers of older systems lack it, and the kernel that the program will
/// run on may not.
namespace annlib::io::abi {

inline constexpr long kSetupCall = 425;  // the same numbers on x86-64, aarch64 and riscv64
inline constexpr long kEnterCall = 426;

inline constexpr std::uint32_t kFeatureSingleMap = 1u << 0;
inline constexpr std::uint32_t kFeatureNoDrop = 1u << 1;
inline constexpr std::uint32_t kFeatureCurrentPosition = 1u << 3;
inline constexpr unsigned kEnterGetEvents = 1u << 0;
inline constexpr std::int64_t kOffsetRings = 0;
inline constexpr std::int64_t kOffsetSubmissions = 0x10000000;
inline constexpr std::uint8_t kOperationNop = 0;
inline constexpr std::uint8_t kOperationRead = 22;

struct SubmissionOffsets {
  std::uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, reserved;
  std::uint64_t user_address;
};
struct CompletionOffsets {
  std::uint32_t head, tail, ring_mask, ring_entries, overflow, completions, flags, reserved;
  std::uint64_t user_address;
};
struct Params {
  std::uint32_t submission_entries, completion_entries, flags, thread_cpu, thread_idle, features, workqueue_fd;
  std::uint32_t reserved[3];
  SubmissionOffsets submission;
  CompletionOffsets completion;
};
static_assert(sizeof(Params) == 120 && offsetof(Params, submission) == 40 && offsetof(Params, completion) == 80);

struct Submission {
  std::uint8_t operation, flags;
  std::uint16_t priority;
  std::int32_t descriptor;
  std::uint64_t offset;
  std::uint64_t address;
  std::uint32_t bytes;
  std::uint32_t operation_flags;
  std::uint64_t key;
  std::uint64_t rest[3];
};
static_assert(sizeof(Submission) == 64 && offsetof(Submission, key) == 32);

struct Completion {
  std::uint64_t key;
  std::int32_t result;
  std::uint32_t flags;
};
static_assert(sizeof(Completion) == 16);

}  // namespace annlib::io::abi
