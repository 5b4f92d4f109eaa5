#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace annlib {

/// A set of values, as disjoint intervals of byte strings, ascending and apart from each other: equal sets have equal
/// intervals. Strings are their own bytes, numbers eight bytes in the order of the numbers.
class IntervalSet {
 public:
  struct Interval {
    std::string begin;
    std::optional<std::string> end;  ///< not part of it; none: up to the last value
    bool operator==(const Interval&) const = default;
  };

  IntervalSet() = default;
  /// The union of any intervals; those that end before they begin are empty.
  explicit IntervalSet(std::vector<Interval> intervals);
  static IntervalSet all() { return IntervalSet({{"", std::nullopt}}); }

  const std::vector<Interval>& intervals() const { return intervals_; }
  bool empty() const { return intervals_.empty(); }
  bool everything() const;
  bool contains(std::string_view value) const;

  IntervalSet complement() const;
  IntervalSet unite(const IntervalSet& other) const;
  IntervalSet intersect(const IntervalSet& other) const;

 private:
  std::vector<Interval> intervals_;
};

/// Numbers as byte strings, big end first.
std::string bytes_of_key(std::uint64_t key);
/// Reads what bytes_of_key() has written; the empty string is 0.
std::uint64_t key_of_bytes(std::string_view bytes);
/// The first string after `text`.
inline std::string successor(std::string_view text) { return std::string(text) + '\0'; }

}  // namespace annlib
