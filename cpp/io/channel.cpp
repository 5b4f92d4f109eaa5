#include "io/channel.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <system_error>

#include "core/error.h"

namespace annlib::io {
namespace {

[[noreturn]] void fail_at_end(const std::string& name, std::uint64_t offset, std::size_t bytes) {
  throw CorruptError("'" + name + "' ends before the block of " + std::to_string(bytes) + " bytes at offset " +
                     std::to_string(offset));
}

}  // namespace

Channel::Channel(const BlockFile& file, ReadCounters& counters)
    : file_(file), counters_(counters), owner_(::getpid()) {}

void Channel::submit(std::span<const ReadRequest> requests) {
  std::uint64_t bytes = 0;
  for (const ReadRequest& request : requests) {
    if (request.offset > file_.size() || request.into.size() > file_.size() - request.offset) {
      fail_at_end(file_.name(), request.offset, request.into.size());
    }
    if (request.into.empty()) throw ValueError("a block to be read has one byte at least, got none");
    bytes += request.into.size();
  }
  if (requests.empty()) return;
  finished_.reserve(finished_.size() + in_flight_ + requests.size());
  const std::size_t before = finished_.size();
  start(requests);
  in_flight_ += requests.size() - (finished_.size() - before);
  counters_.reads.fetch_add(requests.size(), std::memory_order_relaxed);
  counters_.bytes.fetch_add(bytes, std::memory_order_relaxed);
}

std::size_t Channel::wait(std::span<std::uint64_t> done, bool block) {
  if (in_flight_ > 0 && !done.empty()) collect(block && finished_.empty());
  std::size_t count = 0;
  while (count < std::min(done.size(), finished_.size()) && finished_[count].code == 0) {
    done[count] = finished_[count].tag;
    ++count;
  }
  // Those that ended well come first, the error with the next call.
  const bool failed = count == 0 && !finished_.empty() && !done.empty();
  const Finished first = failed ? finished_.front() : Finished();
  finished_.erase(finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(failed ? 1 : count));
  if (!failed) return count;
  if (first.code == kEndOfFile) fail_at_end(file_.name(), first.offset, first.bytes);
  throw OsError(first.code, file_.name(),
                "cannot read '" + file_.name() + "' at offset " + std::to_string(first.offset) + ": " +
                    std::generic_category().message(first.code));
}

void Channel::collect(bool block) noexcept {
  const std::size_t before = finished_.size();
  reap(block);
  in_flight_ -= finished_.size() - before;
}

void Channel::drain() noexcept {
  finished_.clear();
  if (stale()) in_flight_ = 0;
  while (in_flight_ > 0) {
    collect(true);
    finished_.clear();
  }
}

bool Channel::stale() const { return owner_ != ::getpid(); }

}  // namespace annlib::io
