#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "storage/file.h"

namespace annlib::io {

/// Where direct reads begin and end, in the file and in memory. Devices ask for their logical block, 512 or 4,096
/// bytes. Those few that ask for more refuse the read, which is then made plainly.
inline constexpr std::size_t kAlignment = 4096;

constexpr std::uint64_t align_up(std::uint64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

/// A file open for reading in blocks: by a direct descriptor, past the page cache, where the file system has them, and
/// a plain one for what is not aligned. Thread-safe.
class BlockFile {
 public:
  /// Throws OsError, also for what is not a regular file, and ValueError for a path with a NUL byte.
  BlockFile(const std::string& path, bool direct);

  const std::string& name() const { return plain_.name(); }
  const storage::File& plain() const { return plain_; }
  std::uint64_t size() const { return size_.load(std::memory_order_relaxed); }  ///< as it was at the last look
  /// Looks again: the file may have grown since it was opened.
  void look_again() const {
    size_.store(static_cast<std::uint64_t>(plain_.status().st_size), std::memory_order_relaxed);
  }
  bool direct() const { return direct_works_.load(std::memory_order_relaxed); }
  /// The direct descriptor where it can serve this read.
  int descriptor_for(std::uint64_t offset, const std::byte* into, std::size_t bytes) const;
  /// The file system took the direct descriptor and refuses what is read by it: from now on all reads are plain.
  void give_up_direct() const { direct_works_.store(false, std::memory_order_relaxed); }

 private:
  storage::File plain_;
  std::optional<storage::File> direct_;
  mutable std::atomic<bool> direct_works_;
  mutable std::atomic<std::uint64_t> size_{0};
};

}  // namespace annlib::io
