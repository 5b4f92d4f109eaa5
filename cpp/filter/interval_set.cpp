#include "filter/interval_set.h"

#include <algorithm>
#include <utility>

namespace annlib {
namespace {

using Interval = IntervalSet::Interval;

bool is_empty(const Interval& interval) { return interval.end && *interval.end <= interval.begin; }

}  // namespace

IntervalSet::IntervalSet(std::vector<Interval> intervals) {
  std::erase_if(intervals, is_empty);
  std::sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  for (Interval& next : intervals) {
    if (!intervals_.empty()) {
      Interval& last = intervals_.back();
      if (!last.end) break;
      if (next.begin <= *last.end) {
        if (!next.end || *next.end > *last.end) last.end = std::move(next.end);
        continue;
      }
    }
    intervals_.push_back(std::move(next));
  }
}

bool IntervalSet::everything() const {
  return intervals_.size() == 1 && intervals_[0].begin.empty() && !intervals_[0].end;
}

bool IntervalSet::contains(std::string_view value) const {
  const auto after = std::upper_bound(intervals_.begin(), intervals_.end(), value,
                                      [](std::string_view v, const Interval& interval) { return v < interval.begin; });
  if (after == intervals_.begin()) return false;
  const auto& end = std::prev(after)->end;
  return !end || value < *end;
}

IntervalSet IntervalSet::complement() const {
  std::vector<Interval> gaps;
  std::optional<std::string> begin = "";
  for (const Interval& interval : intervals_) {
    gaps.push_back({*begin, interval.begin});
    begin = interval.end;
  }
  if (begin) gaps.push_back({*begin, std::nullopt});
  return IntervalSet(std::move(gaps));
}

IntervalSet IntervalSet::unite(const IntervalSet& other) const {
  std::vector<Interval> both = intervals_;
  both.insert(both.end(), other.intervals_.begin(), other.intervals_.end());
  return IntervalSet(std::move(both));
}

IntervalSet IntervalSet::intersect(const IntervalSet& other) const {
  // From each to the next, of the two that are at hand the one that ends first is done with.
  IntervalSet both;
  for (auto a = intervals_.begin(), b = other.intervals_.begin();
       a != intervals_.end() && b != other.intervals_.end();) {
    const bool first = a->end && (!b->end || *a->end < *b->end);
    Interval common{std::max(a->begin, b->begin), first ? a->end : b->end};
    if (!is_empty(common)) both.intervals_.push_back(std::move(common));
    ++(first ? a : b);
  }
  return both;
}

std::string bytes_of_key(std::uint64_t key) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[static_cast<std::size_t>(i)] = static_cast<char>(key >> (56 - 8 * i));
  return bytes;
}

std::uint64_t key_of_bytes(std::string_view bytes) {
  std::uint64_t key = 0;
  for (const char byte : bytes) key = key << 8 | static_cast<unsigned char>(byte);
  return key;
}

}  // namespace annlib
