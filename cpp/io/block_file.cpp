#include "io/block_file.h"

#include <fcntl.h>

#include <cerrno>

#include "core/error.h"

namespace annlib::io {
namespace {

std::optional<storage::File> open_direct(const std::string& path, const struct stat& plain) {
#ifdef O_DIRECT
  try {
    storage::File file = storage::File::open(path, O_RDONLY | O_DIRECT);
    const struct stat status = file.status();
    // Another file may have been put in its place between the two calls.
    if (status.st_dev == plain.st_dev && status.st_ino == plain.st_ino) return file;
  } catch (const OsError&) {
    // EINVAL of a file system without direct reads, as a rule. The plain descriptor reads all that this one would.
  }
#endif
  return std::nullopt;
}

}  // namespace

BlockFile::BlockFile(const std::string& path, bool direct)
    : plain_(storage::File::open(path, O_RDONLY)),
      direct_(direct ? open_direct(path, plain_.status()) : std::nullopt),
      direct_works_(direct_.has_value()) {
  const struct stat status = plain_.status();
  if (!S_ISREG(status.st_mode)) {
    throw OsError(EINVAL, path, "cannot read blocks of '" + path + "': it is not a regular file");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  // Blocks lie anywhere: what the system would read ahead is seldom what comes next.
  ::posix_fadvise(plain_.descriptor(), 0, 0, POSIX_FADV_RANDOM);
}

int BlockFile::descriptor_for(std::uint64_t offset, const std::byte* into, std::size_t bytes) const {
  const std::uint64_t all = offset | bytes | reinterpret_cast<std::uintptr_t>(into);
  return direct() && all % kAlignment == 0 ? direct_->descriptor() : plain_.descriptor();
}

}  // namespace annlib::io
