#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "core/candidate.h"
#include "core/types.h"

namespace annlib {

/// The candidates of a beam search, nearest first, in one array with a cursor at the nearest that is not expanded
/// (the layout of SVS, glass and DiskANN). It keeps everything up to the `ef`-th nearest candidate that passes the
/// filter, and everything within `radius`: what does not pass is walked over all the same, and the search ends when
/// nothing nearer than the ef-th passing one is left to expand.
class Pool {
 public:
  void reset(std::size_t ef, float radius = -std::numeric_limits<float>::infinity()) {
    ef_ = ef;
    always_ = Candidate::beyond(radius);
    size_ = cursor_ = passing_ = 0;
    if (items_.size() < ef + 2) items_.resize(ef + 2);
  }

  std::size_t size() const { return size_; }
  Candidate operator[](std::size_t i) const { return items_[i]; }
  std::span<const Candidate> items() const { return {items_.data(), size_}; }
  bool has_next() const { return cursor_ < size_; }
  Candidate peek() const { return items_[cursor_]; }

  /// The nearest candidate that was not expanded; marks it as such.
  Candidate pop() {
    const Candidate best = items_[cursor_];
    items_[cursor_].set_expanded();
    while (++cursor_ < size_ && items_[cursor_].expanded()) {
    }
    return best;
  }

  /// Whether a candidate at this distance would be kept.
  bool admits(Candidate c) const { return passing_ < ef_ || c < items_[size_ - 1] || c < always_; }

  /// Only if admits(c). True if c became the next to be expanded.
  bool insert(Candidate c) {
    if (size_ == items_.size()) items_.resize(2 * size_);
    std::size_t low = 0;
    for (std::size_t n = size_; n > 0;) {
      const std::size_t half = n / 2;
      const bool right = items_[low + half] < c;
      low = right ? low + half + 1 : low;
      n = right ? n - half - 1 : half;
    }
    std::memmove(&items_[low + 1], &items_[low], (size_ - low) * sizeof(Candidate));
    items_[low] = c;
    ++size_;
    passing_ += c.passes();
    while (passing_ > ef_ && !(items_[size_ - 1] < always_)) drop_last();
    while (passing_ == ef_ && !items_[size_ - 1].passes() && !(items_[size_ - 1] < always_)) drop_last();
    const bool first = low <= cursor_;
    if (first) cursor_ = low;
    return first;
  }

 private:
  void drop_last() { passing_ -= items_[--size_].passes(); }

  std::vector<Candidate> items_;
  std::size_t size_ = 0, cursor_ = 0, passing_ = 0, ef_ = 0;
  Candidate always_;
};

}  // namespace annlib
