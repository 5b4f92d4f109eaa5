#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "io/block_file.h"

/// Many blocks of a file at a time: all reads are started at once and handled in the order in which they arrive.
namespace annlib::io {

/// Fills `into`, wholly or with an error, from `offset` on.
struct ReadRequest {
  std::uint64_t offset = 0;
  std::span<std::byte> into;
  std::uint64_t tag = 0;  ///< the caller's
};

inline constexpr int kEndOfFile = -1;

/// A read that has ended: code 0 if well, an errno, or kEndOfFile where the file ends before it.
struct Finished {
  std::uint64_t tag = 0;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
  int code = 0;
};

/// What a file's channels have been asked for.
struct ReadCounters {
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> bytes{0};
};

/// Reads of one file for one thread at a time. Buffers belong to the caller and must outlive the reads into them:
/// a read ends when wait() names it or throws for it, drain() returns, or the channel is destroyed, which waits.
class Channel {
 public:
  Channel(const BlockFile& file, ReadCounters& counters);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  virtual ~Channel() = default;  // of each engine: drain()

  /// Starts the reads. Reads whose offset, length and address are multiples of kAlignment are direct ones where the
  /// file has them. Throws CorruptError for one beyond the file's end, ValueError for one of no bytes, OsError where
  /// nothing can be started; nothing has been started then.
  void submit(std::span<const ReadRequest> requests);
  /// The tags of reads that have ended well, at most as many as `done` is long; with `block` it waits for one, unless
  /// none is under way. A read that failed is thrown when its turn comes, as OsError, or as CorruptError where the file
  /// ends before it. The others go on, and the channel remains usable.
  std::size_t wait(std::span<std::uint64_t> done, bool block);
  /// Reads that wait() has not told of.
  std::size_t pending() const { return in_flight_ + finished_.size(); }
  /// Waits for all reads and forgets how they ended. What was under way before fork() is the parent's.
  void drain() noexcept;
  /// Made by the parent of this process, by fork(): of no use in the child but to be destroyed.
  bool stale() const;

 protected:
  const BlockFile& file_;
  std::vector<Finished> finished_;  ///< with room for all that are under way

 private:
  /// Starts all or throws.
  virtual void start(std::span<const ReadRequest> requests) = 0;
  /// Appends to finished_ what has ended; with `block` it returns with one at least. There are reads under way.
  virtual void reap(bool block) noexcept = 0;
  void collect(bool block) noexcept;

  ReadCounters& counters_;
  std::size_t in_flight_ = 0;  ///< started and not in finished_
  pid_t owner_;
};

}  // namespace annlib::io
