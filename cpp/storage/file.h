#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// Files with every result checked: interrupted calls are repeated, short ones continued, failures become OsError.
namespace annlib::storage {

/// The system calls that this room makes. Tests put failing ones here; nothing else writes to it.
struct SystemCalls {
  int (*open)(const char* path, int flags, mode_t mode);
  int (*fstat)(int fd, struct stat* out);
  ssize_t (*pread)(int fd, void* out, std::size_t n, off_t offset);
  ssize_t (*pwrite)(int fd, const void* in, std::size_t n, off_t offset);
  int (*ftruncate)(int fd, off_t size);
  int (*fchmod)(int fd, mode_t mode);
  int (*fsync)(int fd);
  int (*close)(int fd);
  int (*rename)(const char* from, const char* to);
  void* (*mmap)(void* address, std::size_t n, int protection, int flags, int fd, off_t offset);
  int (*fdatasync)(int fd);
  int (*flock)(int fd, int operation);
  int (*mkdir)(const char* path, mode_t mode);
  int (*unlink)(const char* path);
};

SystemCalls& system_calls();

/// An open descriptor. Movable. All members but the destructor throw OsError; reading is thread safe.
class File {
 public:
  /// `shown` is the name that errors give, where that is not `path`. A path with a NUL byte is a ValueError.
  static File open(const std::string& path, int flags, mode_t mode = 0, const std::string& shown = {});
  /// As open(), but an OsError for all but regular files, and without waiting for a FIFO's other end.
  static File open_regular(const std::string& path, int flags);

  File(File&& other) noexcept;
  File& operator=(File&&) = delete;
  ~File();

  const std::string& name() const { return name_; }
  /// For calls that this class does not make; it stays this object's.
  int descriptor() const { return fd_; }
  struct stat status() const;
  /// The bytes read: fewer than asked for only at the end of the file.
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) const;
  void write_at(std::uint64_t offset, std::span<const std::byte> in);
  void resize(std::uint64_t size);
  void set_mode(mode_t mode);
  void sync();
  /// Makes what was written durable, and the size, but not times and the like.
  void sync_data();
  /// As sync(), of a directory. Some network file systems cannot and say so; that is no error.
  void sync_names();
  /// Takes the file's exclusive lock (flock), unless another opening of the file has it: false then.
  bool try_lock();
  void unlock() noexcept;
  void close();
  /// A private, writable mapping of the first `size` > 0 bytes; it outlives the descriptor.
  std::byte* map(std::size_t size) const;

 private:
  File(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  int fd_;
  std::string name_;
};

/// The directory that the name stands in, "." for a bare one.
std::string parent_directory(const std::string& path);

/// Whether a file of this name is a Replacement's that a process which was killed has left.
bool is_left_over(std::string_view name);

/// A new file beside `path` that takes its place at publish(), or vanishes with this object.
/// A symbolic link at `path` stays, what it points to is replaced. An existing file's permissions are kept.
class Replacement {
 public:
  explicit Replacement(const std::string& path);
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;
  ~Replacement();

  File& file() { return *file_; }
  /// Makes the contents durable, renames, makes the name durable.
  void publish();

 private:
  void create(mode_t mode);

  std::string path_;       ///< as given, for messages
  std::string target_;     ///< behind the links
  std::string temporary_;  ///< "" while there is none
  std::optional<mode_t> mode_;
  std::optional<File> directory_;
  std::optional<File> file_;
};

}  // namespace annlib::storage
