#pragma once

#include <cstddef>

namespace annlib {

/// Asks for `bytes` bytes from `address` on. Inlined by force: g++ takes a function that does nothing else for one
/// without effects, and leaves out the calls of it.
__attribute__((always_inline)) inline void prefetch(const void* address, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(address) + at);
}

}  // namespace annlib
