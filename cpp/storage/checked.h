#pragma once

#include <cerrno>
#include <string>
#include <system_error>

#include "core/error.h"

/// What all system calls of this room share.
namespace annlib::storage {

[[noreturn]] inline void fail(int code, const std::string& name, const std::string& action) {
  throw OsError(code, name, "cannot " + action + " '" + name + "': " + std::generic_category().message(code));
}

/// The call's result once it is not EINTR; a failure throws.
template <class Call>
auto checked(const std::string& name, const char* action, Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0) return result;
    if (errno != EINTR) fail(errno, name, action);
  }
}

inline void require_no_nul(const std::string& path) {
  if (path.find('\0') != std::string::npos) throw ValueError("a path cannot hold a NUL byte");
}

}  // namespace annlib::storage
