#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "io/block_file.h"
#include "io/channel.h"

namespace annlib::io {

/// A read under way: what the next system call is to ask for, and what its answer means. Short reads are continued,
/// interrupted ones repeated, direct ones that are refused made plainly.
class Transfer {
 public:
  struct Attempt {
    int descriptor;
    std::byte* into;
    std::uint32_t bytes;
    std::uint64_t offset;
  };

  Transfer() = default;
  Transfer(const BlockFile& file, const ReadRequest& request) : file_(&file), request_(request) {}

  /// To be asked for anew after every advance().
  Attempt next() {
    std::byte* const into = request_.into.data() + done_;
    const std::uint64_t offset = request_.offset + done_;
    const std::size_t bytes = std::min(request_.into.size() - done_, kMostBytes);
    const int descriptor = file_->descriptor_for(offset, into, bytes);
    direct_ = descriptor != file_->plain().descriptor();
    return {descriptor, into, static_cast<std::uint32_t>(bytes), offset};
  }

  /// Takes the bytes that were read or a negative errno; true when the read has ended, well or not.
  bool advance(std::int64_t result) {
    if (result == -EINTR || result == -EAGAIN) return false;
    if (result == -EINVAL && direct_) {
      file_->give_up_direct();
      return false;
    }
    if (result <= 0) {
      code_ = result < 0 ? static_cast<int>(-result) : kEndOfFile;
      return true;
    }
    done_ += static_cast<std::size_t>(result);
    return done_ >= request_.into.size();
  }

  /// The rest of it by calls of pread() that are waited for.
  Finished read_on() {
    for (;;) {
      const Attempt attempt = next();
      const ssize_t result = storage::system_calls().pread(attempt.descriptor, attempt.into, attempt.bytes,
                                                           static_cast<off_t>(attempt.offset));
      if (advance(result < 0 ? -std::int64_t{errno} : result)) return outcome();
    }
  }

  /// Ends it with an errno, where no system call could be made.
  Finished failed(int code) const { return {request_.tag, request_.offset, request_.into.size(), code}; }
  Finished outcome() const { return failed(code_); }

 private:
  /// Linux reads less than 2 GiB at once.
  static constexpr std::size_t kMostBytes = std::size_t{1} << 30;

  const BlockFile* file_ = nullptr;
  ReadRequest request_;
  std::size_t done_ = 0;
  int code_ = 0;
  bool direct_ = false;
};

}  // namespace annlib::io
