#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/buffer.h"

namespace annlib::storage {

/// Where a container's bytes come from: a file, a mapped file, or memory. Thread safe.
class Source {
 public:
  virtual ~Source() = default;
  virtual const std::string& path() const = 0;  ///< "" for memory
  virtual std::uint64_t size() const = 0;
  virtual bool mapped() const = 0;
  /// All bytes, where they have an address; empty where they can only be read.
  virtual std::span<std::byte> bytes() const = 0;
  /// Fills `out`, which lies inside size(). A file that has shrunk since it was opened is a CorruptError.
  virtual void read(std::uint64_t offset, std::span<std::byte> out) const = 0;
  /// Buffer::map() of a file's bytes, which lie inside size(); empty where there is no file.
  virtual Buffer map(std::uint64_t offset, std::size_t bytes) const = 0;

  /// What errors call it.
  std::string name() const { return path().empty() ? "index in memory" : path(); }
};

/// Throws OsError, also for what is not a regular file. read() of a mapped file still reads the file, and so never
/// sees what was written to the mapping.
std::unique_ptr<Source> open_file(const std::string& path, bool map);

/// A copy of `bytes`, aligned to 64.
std::unique_ptr<Source> open_bytes(std::span<const std::byte> bytes);

}  // namespace annlib::storage
