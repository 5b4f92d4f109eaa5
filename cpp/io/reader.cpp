#include "io/reader.h"

#include <sys/mman.h>

#include <array>
#include <utility>

#include "core/error.h"
#include "io/engines.h"

namespace annlib::io {
namespace {

constexpr std::array<std::pair<std::string_view, Engine>, 4> kNames{{
    {"auto", Engine::automatic},
    {"io_uring", Engine::io_uring},
    {"pread", Engine::pread},
    {"mmap", Engine::mmap},
}};

}  // namespace

Engine engine_named(std::string_view name) {
  for (const auto& [known, engine] : kNames) {
    if (known == name) return engine;
  }
  throw ValueError("unknown I/O engine '" + std::string(name) + "'; there are: auto, io_uring, pread, mmap");
}

std::string_view engine_name(Engine engine) { return kNames[static_cast<std::size_t>(engine)].first; }

Reader::Reader(const std::string& path, Engine engine, bool direct)
    : file_(path, direct && engine != Engine::mmap),
      engine_(engine == Engine::automatic ? Engine::io_uring : engine),
      may_fall_back_(engine == Engine::automatic) {
  if (engine_ == Engine::mmap && file_.size() > 0) {
    mapping_ = {file_.plain().map(file_.size()), file_.size()};
    ::madvise(mapping_.data(), mapping_.size(), MADV_RANDOM);
  }
  if (engine_ != Engine::io_uring) return;
  // The first channel tells whether there is io_uring.
  try {
    idle_.push_back(make_ring_channel(file_, counters_));
  } catch (const OsError&) {
    if (!may_fall_back_) throw;
    engine_ = Engine::pread;
  }
}

Reader::~Reader() {
  idle_.clear();
  if (!mapping_.empty()) ::munmap(mapping_.data(), mapping_.size());
}

Reader::Lease Reader::channel() {
  std::unique_ptr<Channel> channel;
  {
    const std::lock_guard lock(mutex_);
    while (!idle_.empty() && channel == nullptr) {
      channel = std::move(idle_.back());
      idle_.pop_back();
      if (channel->stale()) channel.reset();
    }
  }
  if (channel == nullptr) channel = make();
  return Lease(channel.release(), GiveBack{this});
}

std::unique_ptr<Channel> Reader::make() {
  if (engine_ == Engine::mmap) return make_mapped_channel(file_, counters_, mapping_);
  if (engine_ == Engine::pread) return make_pool_channel(file_, counters_);
  try {
    return make_ring_channel(file_, counters_);
  } catch (const OsError&) {
    // Each ring takes a descriptor and memory, of which there may be no more; threads are there for all.
    if (!may_fall_back_) throw;
    return make_pool_channel(file_, counters_);
  }
}

void Reader::give_back(Channel* channel) noexcept {
  std::unique_ptr<Channel> owned(channel);
  channel->drain();
  const std::lock_guard lock(mutex_);
  try {
    idle_.push_back(std::move(owned));
  } catch (const std::bad_alloc&) {
    // One less to lend; `owned` still has it.
  }
}

}  // namespace annlib::io
