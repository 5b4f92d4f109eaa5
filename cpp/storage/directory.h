#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "storage/file.h"

namespace annlib::storage {

/// The right to write to a directory, which one object at a time has, in whatever process: an flock of its file LOCK,
/// which stays there. It ends with the object or with the process; with a process that had forked, when the last of its
/// children that still has the descriptor ends. A forked child's copy of the object gives up nothing.
class DirectoryLock {
 public:
  /// Throws OsError: EWOULDBLOCK, naming the process, where another has it.
  explicit DirectoryLock(const std::string& directory);
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock();

 private:
  File file_;
  pid_t process_;
};

/// Makes a directory unless it is there, and its name durable. Not its parents.
void create_directory(const std::string& directory);
/// Makes the names in a directory durable: what was created, renamed or removed.
void sync_directory(const std::string& directory);
/// All names in a directory, sorted, but for "." and "..".
std::vector<std::string> directory_names(const std::string& directory);
/// Removes a file; none of that name is no error.
void remove_file(const std::string& path);

}  // namespace annlib::storage
