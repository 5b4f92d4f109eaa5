#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "storage/container.h"
#include "storage/file.h"

namespace annlib::storage {

/// Receives the records of a log in their order. May throw, which ends the reading and changes nothing.
using Replay = std::function<void(const std::string& kind, const std::shared_ptr<const Container>& record)>;

/// A write-ahead log: changes, each a kind ([a-z0-9._-], 1 to 15 bytes) and named arrays, appended to a file. A record
/// is durable when append() returns, and afterwards it is replayed whole or not at all. Not thread safe, and for one
/// writer: who opens a log holds the DirectoryLock of where it lies.
/// Write-ahead logging: Gray & Reuter, "Transaction Processing", 1993, ch. 9. Format: docs/file-format.md.
class Log {
 public:
  /// Opens the log at `path`, or creates it. Every record is handed to `replay`. What a crash left of one that was
  /// being appended is cut off behind them; a damaged record with a later one behind it had been acknowledged and is a
  /// CorruptError. `identity` says whose log it is: another one's is a CorruptError. What was replayed is durable when
  /// this returns. Throws OsError, CorruptError, VersionError, and what `replay` throws.
  Log(const std::string& path, std::uint64_t identity, const Replay& replay);

  /// Returns when the record is durable. Throws ValueError for what a record cannot hold, and OsError, after which the
  /// record is not in the log. Where even that cannot be had (what was written of it could not be cut off again), this
  /// and all later calls are an OsError that says so, and whether the record is there is known when the log is opened
  /// anew. A process forked from the one that opened the log cannot append to it (OsError).
  void append(std::string_view kind, std::span<const SectionView> sections);

  /// Size of the file.
  std::uint64_t bytes() const { return bytes_; }

 private:
  void write(std::span<const std::byte> head, std::span<const SectionView> sections);
  void cut_back() noexcept;
  void check_usable() const;

  File file_;
  std::uint64_t identity_;
  std::uint64_t bytes_ = 0;
  pid_t process_;
  int broken_ = 0;  ///< errno of the failure to cut a record off
};

/// Hands every record to `replay` and changes nothing, so that it may run beside the log's writer: a record that is
/// being appended is not there yet, and one whose append() fails later may have been. No file is an empty log.
void read_log(const std::string& path, std::uint64_t identity, const Replay& replay);

}  // namespace annlib::storage
