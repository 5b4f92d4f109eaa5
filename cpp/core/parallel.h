#pragma once

#include <cstddef>
#include <functional>

namespace annlib {

/// Threads that a call uses when it names none: set_num_threads(), else the cores this process may run on.
int num_threads();
/// n = 0 restores the default. Throws ValueError for n < 0.
void set_num_threads(int n);

/// Calls body(begin, end, worker) over disjoint chunks of [0, n), each of `grain` (one chunk of all on a single
/// thread), on up to `threads` threads (0: num_threads()) of one pool that all indexes share; the caller is one of
/// them, and `worker` < threads tells them apart. Chunks are handed out as threads ask for them, so no result may
/// depend on who got which. The first exception is rethrown when all have stopped. May be called from any thread, from
/// a body too, and in a child after fork().
void parallel_for(std::size_t n, std::size_t grain, int threads,
                  const std::function<void(std::size_t begin, std::size_t end, int worker)>& body);

}  // namespace annlib
