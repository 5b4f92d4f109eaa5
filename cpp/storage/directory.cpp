#include "storage/directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <span>
#include <system_error>

#include "core/error.h"
#include "storage/checked.h"

namespace annlib::storage {
namespace {

// The number is padded to the longest, so that it replaces another in one write.
constexpr std::size_t kProcessBytes = 20;

void write_process(File& file, pid_t process) {
  std::string text = std::to_string(process);
  text.resize(kProcessBytes - 1, ' ');
  file.write_at(0, std::as_bytes(std::span(text += '\n')));
}

/// " (by process 123)", or "" where the file does not say.
std::string holder(const File& file) {
  char text[kProcessBytes];
  const std::size_t n = file.read_at(0, std::as_writable_bytes(std::span(text)));
  pid_t process = 0;
  if (std::from_chars(text, text + n, process).ec != std::errc() || process <= 0) return "";
  return " (by process " + std::to_string(process) + ")";
}

bool is_directory(const std::string& path) {
  std::error_code unknown;
  return std::filesystem::is_directory(path, unknown);
}

}  // namespace

DirectoryLock::DirectoryLock(const std::string& directory)
    : file_(File::open((std::filesystem::path(directory) / "LOCK").string(), O_RDWR | O_CREAT, 0666)),
      process_(::getpid()) {
  if (!file_.try_lock()) {
    throw OsError(EWOULDBLOCK, directory, "'" + directory + "' is open for writing already" + holder(file_));
  }
  write_process(file_, process_);
}

DirectoryLock::~DirectoryLock() {
  // Closing is not enough while a forked child has the descriptor too; and what the child has is no lock of its own.
  if (::getpid() == process_) file_.unlock();
}

void create_directory(const std::string& directory) {
  require_no_nul(directory);
  try {
    checked(directory, "create", [&] { return system_calls().mkdir(directory.c_str(), 0777); });
  } catch (const OsError& error) {
    if (error.errno_code != EEXIST || !is_directory(directory)) throw;
    return;
  }
  sync_directory(parent_directory(directory));
}

void sync_directory(const std::string& directory) { File::open(directory, O_RDONLY | O_DIRECTORY).sync_names(); }

std::vector<std::string> directory_names(const std::string& directory) {
  require_no_nul(directory);
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (error) fail(error.value(), directory, "list");
  std::sort(names.begin(), names.end());
  return names;
}

void remove_file(const std::string& path) {
  require_no_nul(path);
  try {
    checked(path, "remove", [&] { return system_calls().unlink(path.c_str()); });
  } catch (const OsError& error) {
    if (error.errno_code != ENOENT) throw;
  }
}

}  // namespace annlib::storage
