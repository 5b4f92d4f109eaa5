#pragma once

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace annlib {

/// Gives the system back what was freed and the allocator keeps, where it can be asked to: behind a phase of work in
/// limited memory, whose next one takes other things.
inline void return_freed_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace annlib
