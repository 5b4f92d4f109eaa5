#include "core/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"

namespace annlib {
namespace {

std::atomic<int> chosen_threads{0};

int usable_cores() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

struct Job {
  std::size_t n, grain;
  const std::function<void(std::size_t, std::size_t, int)>* body;
  std::atomic<std::size_t> next{0};
  std::atomic<int> workers{1};  // numbers handed out; the caller is 0
  int helpers_wanted;           // guarded by the pool's mutex
  int helpers_inside = 0;       // likewise
  std::mutex error_mutex;
  std::exception_ptr error;

  void work(int worker) {
    try {
      for (;;) {
        const std::size_t begin = next.fetch_add(grain);
        if (begin >= n) return;
        (*body)(begin, std::min(n, begin + grain), worker);
      }
    } catch (...) {
      next.store(n);  // no new chunks for anybody
      std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }
};

class Pool {
 public:
  void run(Job& job) {
    {
      std::lock_guard lock(mutex_);
      while (static_cast<int>(threads_.size()) < job.helpers_wanted) threads_.emplace_back([this] { loop(); });
      jobs_.push_back(&job);
    }
    wake_.notify_all();
    job.work(0);
    std::unique_lock lock(mutex_);
    std::erase(jobs_, &job);
    done_.wait(lock, [&] { return job.helpers_inside == 0; });
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      for (Job* candidate : jobs_) {
        if (candidate->helpers_wanted > 0 && candidate->next.load() < candidate->n) {
          job = candidate;
          break;
        }
      }
      if (job == nullptr) {
        wake_.wait(lock);
        continue;
      }
      --job->helpers_wanted;
      ++job->helpers_inside;
      lock.unlock();
      job->work(job->workers.fetch_add(1));
      lock.lock();
      if (--job->helpers_inside == 0) done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<Job*> jobs_;
  std::vector<std::thread> threads_;
};

// The pool is never destroyed: its threads sleep until the process ends. After fork() the child has none of them and
// the mutex may be held by a thread that is not there, so it takes a new pool and leaves the old one's memory alone.
std::mutex pool_mutex;
Pool* pool_instance = nullptr;
void lock_pool() { pool_mutex.lock(); }
void unlock_pool() { pool_mutex.unlock(); }
void forget_pool() {
  pool_instance = nullptr;
  pool_mutex.unlock();
}

Pool& pool() {
  std::lock_guard lock(pool_mutex);
  static const bool hooked = [] { return pthread_atfork(lock_pool, unlock_pool, forget_pool) == 0; }();
  (void)hooked;
  if (pool_instance == nullptr) pool_instance = new Pool;
  return *pool_instance;
}

}  // namespace

int num_threads() {
  const int chosen = chosen_threads.load();
  return chosen > 0 ? chosen : usable_cores();
}

void set_num_threads(int n) {
  if (n < 0) throw ValueError("set_num_threads: expected n >= 0 (0 for all cores), got " + std::to_string(n));
  chosen_threads.store(n);
}

void parallel_for(std::size_t n, std::size_t grain, int threads,
                  const std::function<void(std::size_t, std::size_t, int)>& body) {
  if (n == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  const std::size_t chunks = (n + grain - 1) / grain;
  // The number of cores is asked of the system, which a single query should not wait for.
  const int wanted = chunks == 1 ? 1 : threads > 0 ? threads : num_threads();
  const int helpers = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(wanted), chunks)) - 1;
  if (helpers <= 0) {
    body(0, n, 0);
    return;
  }
  Job job;
  job.n = n;
  job.grain = grain;
  job.body = &body;
  job.helpers_wanted = helpers;
  pool().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace annlib
