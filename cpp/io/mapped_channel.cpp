#include <sys/mman.h>

#include <cstring>
#include <deque>

#include "core/error.h"
#include "io/engines.h"
#include "io/transfer.h"

namespace annlib::io {
namespace {

class MappedChannel final : public Channel {
 public:
  MappedChannel(const BlockFile& file, ReadCounters& counters, std::span<std::byte> mapping)
      : Channel(file, counters), mapping_(mapping) {}
  ~MappedChannel() override { drain(); }

 private:
  void start(std::span<const ReadRequest> requests) override {
    waiting_.insert(waiting_.end(), requests.begin(), requests.end());
    // The system reads all of them while the first are copied.
    for (const ReadRequest& request : requests) {
      if (!is_mapped(request)) continue;
      const std::uint64_t begin = request.offset / kAlignment * kAlignment;
      ::madvise(mapping_.data() + begin, request.offset + request.into.size() - begin, MADV_WILLNEED);
    }
  }

  /// One at a time, so that the caller has something to do while the system reads the next.
  void reap(bool) noexcept override {
    const ReadRequest request = waiting_.front();
    waiting_.pop_front();
    if (!is_mapped(request)) return finished_.push_back(Transfer(file_, request).read_on());
    Finished finished{request.tag, request.offset, request.into.size(), 0};
    if (shrunk_before(request.offset + request.into.size())) {
      finished.code = kEndOfFile;
    } else {
      std::memcpy(request.into.data(), mapping_.data() + request.offset, request.into.size());
    }
    finished_.push_back(finished);
  }

  /// A file may have grown since.
  bool is_mapped(const ReadRequest& request) const { return request.offset + request.into.size() <= mapping_.size(); }

  /// Pages beyond the end of a file that has shrunk must not be touched.
  bool shrunk_before(std::uint64_t end) const noexcept {
    struct stat status{};
    return storage::system_calls().fstat(file_.plain().descriptor(), &status) == 0 &&
           static_cast<std::uint64_t>(status.st_size) < end;
  }

  std::span<std::byte> mapping_;
  std::deque<ReadRequest> waiting_;
};

}  // namespace

std::unique_ptr<Channel> make_mapped_channel(const BlockFile& file, ReadCounters& counters,
                                             std::span<std::byte> mapping) {
  return std::make_unique<MappedChannel>(file, counters, mapping);
}

}  // namespace annlib::io
