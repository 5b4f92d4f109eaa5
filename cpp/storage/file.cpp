#include "storage/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "storage/checked.h"

namespace annlib::storage {
namespace {

static_assert(sizeof(off_t) == 8, "files are larger than 2 GiB");

constexpr int kMaxLinks = 40;  // as Linux itself
constexpr int kMaxNames = 1000;
constexpr const char *kPrefix = ".annlib-", *kSuffix = ".tmp";

std::string behind_links(const std::string& path) {
  std::filesystem::path at = path;
  for (int links = 0; links < kMaxLinks; ++links) {
    std::error_code not_a_link;
    const auto next = std::filesystem::read_symlink(at, not_a_link);
    if (not_a_link) return at.string();
    at = at.parent_path() / next;
  }
  fail(ELOOP, path, "write");
}

}  // namespace

SystemCalls& system_calls() {
  static SystemCalls calls{
      [](const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); },
      ::fstat,
      ::pread,
      ::pwrite,
      ::ftruncate,
      ::fchmod,
      ::fsync,
      ::close,
      ::rename,
      ::mmap,
      ::fdatasync,
      ::flock,
      ::mkdir,
      ::unlink,
  };
  return calls;
}

File File::open(const std::string& path, int flags, mode_t mode, const std::string& shown) {
  require_no_nul(path);
  const std::string& name = shown.empty() ? path : shown;
  const int fd = checked(name, "open", [&] { return system_calls().open(path.c_str(), flags | O_CLOEXEC, mode); });
  return File(fd, name);
}

File File::open_regular(const std::string& path, int flags) {
  File file = open(path, flags | O_NONBLOCK);
  const mode_t mode = file.status().st_mode;
  if (S_ISDIR(mode)) throw OsError(EISDIR, path, "cannot open '" + path + "': it is a directory");
  if (!S_ISREG(mode)) throw OsError(EINVAL, path, "cannot open '" + path + "': it is not a regular file");
  return file;
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}

File::~File() {
  if (fd_ >= 0) system_calls().close(fd_);
}

struct stat File::status() const {
  struct stat out{};
  checked(name_, "examine", [&] { return system_calls().fstat(fd_, &out); });
  return out;
}

std::size_t File::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = checked(name_, "read", [&] {
      return system_calls().pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    });
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

void File::write_at(std::uint64_t offset, std::span<const std::byte> in) {
  while (!in.empty()) {
    const ssize_t n = checked(
        name_, "write", [&] { return system_calls().pwrite(fd_, in.data(), in.size(), static_cast<off_t>(offset)); });
    if (n == 0) fail(EIO, name_, "write");  // no progress and no reason: repeating it could last for ever
    in = in.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

void File::resize(std::uint64_t size) {
  checked(name_, "write", [&] { return system_calls().ftruncate(fd_, static_cast<off_t>(size)); });
}

void File::set_mode(mode_t mode) {
  checked(name_, "set the permissions of", [&] { return system_calls().fchmod(fd_, mode); });
}

void File::sync() {
  checked(name_, "sync", [&] { return system_calls().fsync(fd_); });
}

void File::sync_data() {
  checked(name_, "sync", [&] { return system_calls().fdatasync(fd_); });
}

void File::sync_names() {
  try {
    sync();
  } catch (const OsError& error) {
    if (error.errno_code != EINVAL && error.errno_code != ENOTSUP) throw;
  }
}

bool File::try_lock() {
  try {
    checked(name_, "lock", [&] { return system_calls().flock(fd_, LOCK_EX | LOCK_NB); });
    return true;
  } catch (const OsError& error) {
    if (error.errno_code != EWOULDBLOCK) throw;
    return false;
  }
}

void File::unlock() noexcept { system_calls().flock(fd_, LOCK_UN); }

void File::close() {
  // Linux frees the descriptor even when close() reports EINTR: a second call could close another thread's file.
  if (system_calls().close(std::exchange(fd_, -1)) < 0 && errno != EINTR) fail(errno, name_, "close");
}

std::byte* File::map(std::size_t size) const {
  // NORESERVE: a writable private mapping would else have to fit into memory and swap, though few pages are written.
  void* at = system_calls().mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd_, 0);
  if (at == MAP_FAILED) fail(errno, name_, "map");
  return static_cast<std::byte*>(at);
}

std::string parent_directory(const std::string& path) {
  const auto end = path.find_last_not_of('/');
  const auto parent = std::filesystem::path(path.substr(0, end + 1)).parent_path();
  return parent.empty() ? "." : parent.string();
}

bool is_left_over(std::string_view name) { return name.starts_with(kPrefix) && name.ends_with(kSuffix); }

Replacement::Replacement(const std::string& path) : path_(path) {
  require_no_nul(path);
  if (path.empty()) fail(ENOENT, path, "write");
  target_ = behind_links(path);
  struct stat old{};
  const bool replaces = ::stat(target_.c_str(), &old) == 0;
  if (!replaces && errno != ENOENT) fail(errno, path, "write");
  if (target_.back() == '/' || (replaces && S_ISDIR(old.st_mode))) fail(EISDIR, path, "write");
  if (replaces && !S_ISREG(old.st_mode)) {
    throw OsError(EINVAL, path, "cannot write '" + path + "': it is there and is not a regular file");
  }
  if (replaces) mode_ = old.st_mode & 0777;

  directory_.emplace(File::open(parent_directory(target_), O_RDONLY | O_DIRECTORY, 0, path));
  // Born with the old file's permissions less the umask, so that a private index is at no time readable by others.
  create(mode_.value_or(0666));
}

void Replacement::create(mode_t mode) {
  static std::atomic<unsigned> counter{0};
  const auto parent = std::filesystem::path(target_).parent_path();
  for (int attempt = 1;; ++attempt) {
    const auto number = counter.fetch_add(1, std::memory_order_relaxed);
    auto name = (parent / (kPrefix + std::to_string(::getpid()) + "-" + std::to_string(number) + kSuffix)).string();
    try {
      file_.emplace(File::open(name, O_WRONLY | O_CREAT | O_EXCL, mode, path_));
      temporary_ = std::move(name);
      return;
    } catch (const OsError& error) {
      // Left by a process that was killed, or in use by one with the same number on another machine.
      if (error.errno_code != EEXIST || attempt == kMaxNames) throw;
    }
  }
}

Replacement::~Replacement() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void Replacement::publish() {
  if (mode_) file_->set_mode(*mode_);
  file_->sync();
  file_->close();
  checked(path_, "rename the new file to", [&] { return system_calls().rename(temporary_.c_str(), target_.c_str()); });
  temporary_.clear();
  try {
    directory_->sync_names();
  } catch (const OsError& error) {
    throw OsError(error.errno_code, path_,
                  std::string(error.what()) + " (the new file is in place, but a power failure may undo that)");
  }
}

}  // namespace annlib::storage
