#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/block_file.h"
#include "io/channel.h"

namespace annlib::io {

/// How blocks are read: by io_uring, by threads that call pread(), or out of a mapping.
enum class Engine { automatic, io_uring, pread, mmap };

/// Of "auto", "io_uring", "pread" and "mmap"; ValueError for others, naming these.
Engine engine_named(std::string_view name);
std::string_view engine_name(Engine engine);

/// A file that many threads read blocks of, each through a channel that it borrows. Thread-safe. A child after fork()
/// may go on using it if no other thread was inside it meanwhile.
class Reader {
 public:
  /// `automatic` is io_uring where this process may use it, else pread. Throws OsError: the file cannot be opened, is
  /// no regular file, or the engine that was named is not to be had.
  explicit Reader(const std::string& path, Engine engine = Engine::automatic, bool direct = true);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader();

  struct GiveBack {
    Reader* reader;
    void operator()(Channel* channel) const noexcept { reader->give_back(channel); }
  };
  /// Borrowed: given back, once nothing is under way, when it goes out of scope. The reader must outlive it.
  using Lease = std::unique_ptr<Channel, GiveBack>;

  /// Throws OsError where a new channel is needed and there are no descriptors or no memory left for one.
  Lease channel();

  const BlockFile& file() const { return file_; }
  Engine engine() const { return engine_; }  ///< never automatic
  const ReadCounters& counters() const { return counters_; }

 private:
  std::unique_ptr<Channel> make();
  void give_back(Channel* channel) noexcept;

  BlockFile file_;
  Engine engine_;
  bool may_fall_back_;
  std::span<std::byte> mapping_;
  ReadCounters counters_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Channel>> idle_;  ///< guarded by mutex_
};

}  // namespace annlib::io
