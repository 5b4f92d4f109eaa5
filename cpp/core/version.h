#pragma once

#include <atomic>
#include <cstdint>

namespace annlib {

/// A number that no other call has had: equal versions mean equal contents, of whatever object they are.
inline std::uint64_t next_version() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace annlib
