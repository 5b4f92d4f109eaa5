#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.h"
#include "io/engines.h"
#include "io/transfer.h"

namespace annlib::io {
namespace {

/// Threads that wait for reads. They take next to no processor time, so their number follows the device.
constexpr std::size_t kThreads = 16;

/// Where a read that a thread has ended goes to.
class Inbox {
 public:
  void reserve(std::size_t n) {
    const std::lock_guard lock(mutex_);
    arrived_.reserve(n);
  }
  void put(const Finished& finished) {
    const std::lock_guard lock(mutex_);
    arrived_.push_back(finished);
    some_.notify_one();  // under the lock: the channel may be gone as soon as it is released
  }
  void take(std::vector<Finished>& out, bool block) {
    std::unique_lock lock(mutex_);
    if (block) some_.wait(lock, [&] { return !arrived_.empty(); });
    out.insert(out.end(), arrived_.begin(), arrived_.end());
    arrived_.clear();
  }

 private:
  std::mutex mutex_;
  std::condition_variable some_;
  std::vector<Finished> arrived_;
};

class Pool {
 public:
  /// Throws OsError, with nothing queued, where there is no thread and none can be started.
  void add(const BlockFile& file, std::span<const ReadRequest> requests, Inbox& inbox) {
    {
      const std::lock_guard lock(mutex_);
      grow(requests.size());
      const std::size_t before = tasks_.size();
      try {
        for (const ReadRequest& request : requests) tasks_.push_back({Transfer(file, request), &inbox});
      } catch (...) {
        tasks_.resize(before);
        throw;
      }
    }
    requests.size() == 1 ? wake_.notify_one() : wake_.notify_all();
  }

 private:
  struct Task {
    Transfer transfer;
    Inbox* inbox = nullptr;
  };

  void grow(std::size_t more) {
    const std::size_t wanted = std::min(kThreads, busy_ + tasks_.size() + more);
    try {
      while (threads_.size() < wanted) threads_.emplace_back([this] { loop(); });
    } catch (const std::system_error& error) {
      if (threads_.empty()) {
        throw OsError(error.code().value(), "", std::string("cannot start a thread for reading: ") + error.what());
      }
    }
  }

  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return !tasks_.empty(); });
      Task task = tasks_.front();
      tasks_.pop_front();
      ++busy_;
      lock.unlock();
      task.inbox->put(task.transfer.read_on());
      lock.lock();
      --busy_;
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  std::size_t busy_ = 0;
  std::vector<std::thread> threads_;
};

// As the pool of core/parallel.cpp: never destroyed, and a child after fork() takes a new one.
std::mutex pool_mutex;
Pool* pool_instance = nullptr;
void lock_pool() { pool_mutex.lock(); }
void unlock_pool() { pool_mutex.unlock(); }
void forget_pool() {
  pool_instance = nullptr;
  pool_mutex.unlock();
}

Pool& pool() {
  const std::lock_guard lock(pool_mutex);
  static const bool hooked = [] { return pthread_atfork(lock_pool, unlock_pool, forget_pool) == 0; }();
  (void)hooked;
  if (pool_instance == nullptr) pool_instance = new Pool;
  return *pool_instance;
}

class PoolChannel final : public Channel {
 public:
  using Channel::Channel;
  ~PoolChannel() override { drain(); }

 private:
  void start(std::span<const ReadRequest> requests) override {
    inbox_.reserve(finished_.capacity());
    pool().add(file_, requests, inbox_);
  }
  void reap(bool block) noexcept override { inbox_.take(finished_, block); }

  Inbox inbox_;
};

}  // namespace

std::unique_ptr<Channel> make_pool_channel(const BlockFile& file, ReadCounters& counters) {
  return std::make_unique<PoolChannel>(file, counters);
}

}  // namespace annlib::io
