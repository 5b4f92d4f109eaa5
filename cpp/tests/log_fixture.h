#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/log.h"
#include "tests/container_fixture.h"

/// What the tests of the log share. The format's numbers are written out here, apart from storage/record.h.
namespace annlib::storage::testing {

inline constexpr std::uint64_t kIdentity = 0x1234'5678'9ABC'DEF0;
inline constexpr std::size_t kFirst = 32;         ///< where the first record begins
inline constexpr std::size_t kRecordHeader = 64;  ///< bytes

/// What was replayed: of each record its kind and the contents of its sections.
using Replayed = std::vector<std::pair<std::string, Bytes>>;

inline Replay into(Replayed& out) {
  return [&out](const std::string& kind, const std::shared_ptr<const Container>& record) {
    out.emplace_back(kind, contents(*record, true));
  };
}

inline Replayed replayed(const std::string& path) {
  Replayed out;
  read_log(path, kIdentity, into(out));
  return out;
}

inline Replay ignore() {
  return [](const std::string&, const std::shared_ptr<const Container>&) {};
}

inline Bytes bytes_of(const Sections& sections) {
  Bytes out;
  for (const SectionView& view : sections.views()) out.insert(out.end(), view.bytes.begin(), view.bytes.end());
  return out;
}

/// A log at `path` of these records, each `small()`. Returns where each begins, and the end.
inline std::vector<std::uint64_t> write_small_log(const std::string& path, const std::vector<std::string>& kinds) {
  Log log(path, kIdentity, ignore());
  std::vector<std::uint64_t> places{log.bytes()};
  for (const std::string& kind : kinds) {
    log.append(kind, small().views());
    places.push_back(log.bytes());
  }
  return places;
}

inline Replayed small_records(const std::vector<std::string>& kinds) {
  Replayed out;
  for (const std::string& kind : kinds) out.emplace_back(kind, bytes_of(small()));
  return out;
}

}  // namespace annlib::storage::testing
