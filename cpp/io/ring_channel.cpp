#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <deque>
#include <numeric>
#include <vector>

#include "io/engines.h"
#include "io/ring.h"
#include "io/transfer.h"

namespace annlib::io {
namespace {

/// As many reads at a time as keep a device of today busy; others wait for their turn.
constexpr unsigned kDepth = 64;
constexpr useconds_t kPause = 100;

class RingChannel final : public Channel {
 public:
  RingChannel(const BlockFile& file, ReadCounters& counters)
      : Channel(file, counters), ring_(kDepth), transfers_(ring_.entries()), free_(ring_.entries()) {
    std::iota(free_.begin(), free_.end(), std::uint32_t{0});
  }
  ~RingChannel() override { drain(); }

 private:
  void start(std::span<const ReadRequest> requests) override {
    waiting_.insert(waiting_.end(), requests.begin(), requests.end());
    refill();
    enter(0);
  }

  void reap(bool block) noexcept override {
    for (;;) {
      take();
      refill();
      const bool wait = block && finished_.empty();
      if (ring_.queued() == 0 && !wait) return;
      enter(wait ? 1 : 0);
      take();
      if (!block || !finished_.empty()) return;
    }
  }

  /// Puts on the ring what it has room for.
  void refill() noexcept {
    while (!waiting_.empty() && !free_.empty()) {
      const std::uint32_t slot = free_.back();
      free_.pop_back();
      transfers_[slot] = Transfer(file_, waiting_.front());
      waiting_.pop_front();
      push(slot);
    }
  }

  void push(std::uint32_t slot) noexcept {
    const Transfer::Attempt attempt = transfers_[slot].next();
    ring_.push(slot, attempt.descriptor, attempt.into, attempt.bytes, attempt.offset);
  }

  void take() noexcept {
    std::uint64_t slot = 0;
    std::int32_t result = 0;
    while (ring_.pop(slot, result)) {
      Transfer& transfer = transfers_[slot];
      if (transfer.advance(result)) {
        end(slot, transfer.outcome());
      } else {
        push(static_cast<std::uint32_t>(slot));
      }
    }
  }

  void end(std::uint64_t slot, const Finished& how) noexcept {
    finished_.push_back(how);
    free_.push_back(static_cast<std::uint32_t>(slot));
  }

  void enter(unsigned least) noexcept {
    const int code = ring_.enter(least);
    if (code == 0 || code == EINTR) return;
    // Short of memory for the moment, or more ended than was fetched: what is queued goes with the next call. After
    // any other error it fails; what the kernel has already it will end without being asked.
    if (code != EAGAIN && code != EBUSY) {
      while (ring_.queued() > 0) {
        const std::uint64_t slot = ring_.withdraw();
        end(slot, transfers_[slot].failed(code));
      }
    }
    if (least > 0) ::usleep(kPause);
  }

  Ring ring_;
  std::vector<Transfer> transfers_;  ///< by slot, the key of a read on the ring
  std::vector<std::uint32_t> free_;  ///< slots
  std::deque<ReadRequest> waiting_;  ///< for a slot
};

}  // namespace

std::unique_ptr<Channel> make_ring_channel(const BlockFile& file, ReadCounters& counters) {
  return std::make_unique<RingChannel>(file, counters);
}

}  // namespace annlib::io
