#pragma once

#include <mutex>
#include <shared_mutex>

namespace annlib {

/// A shared mutex under which a writer is not starved: while one waits, new readers queue behind it. Meets the
/// standard's SharedMutex requirements as far as std::unique_lock and std::shared_lock need them.
class FairSharedMutex {
 public:
  void lock() {
    std::lock_guard gate(gate_);
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }
  void lock_shared() {
    std::lock_guard gate(gate_);
    mutex_.lock_shared();
  }
  void unlock_shared() { mutex_.unlock_shared(); }

 private:
  std::mutex gate_;
  std::shared_mutex mutex_;
};

}  // namespace annlib
