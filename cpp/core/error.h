#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace annlib {

/// Each class below becomes one Python exception at the border (see bind/errors.cpp).

/// ValueError: an argument has the wrong shape, type, range or name.
struct ValueError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// KeyError: an id is unknown, or already there.
struct KeyError : std::out_of_range {
  using std::out_of_range::out_of_range;
};

/// annlib.CorruptIndexError: the bytes are not a well-formed index.
struct CorruptError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// annlib.VersionError: the file was written by a newer format than this build reads.
struct VersionError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// OSError with errno and file name.
struct OsError : std::runtime_error {
  OsError(int code, std::string file, const std::string& what)
      : std::runtime_error(what), errno_code(code), path(std::move(file)) {}
  int errno_code;
  std::string path;
};

}  // namespace annlib
