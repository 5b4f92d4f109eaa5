#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/buffer.h"
#include "core/types.h"

namespace annlib {

/// The set of slots that a search has seen: a byte each, holding the number of the search that saw it last. It is
/// cleared once in 255 searches, and a byte keeps it in cache longer than a word would.
class Visited {
 public:
  void reset(std::size_t slots) {
    if (marks_.size() < slots) marks_.resize(slots);
    if (++epoch_ == 0) {
      std::memset(marks_.data(), 0, marks_.size());
      epoch_ = 1;
    }
  }
  /// True the first time. No branch: which of a node's neighbours were seen before is anybody's guess.
  bool insert(Slot slot) {
    std::uint8_t& mark = marks_[slot];
    const bool first = mark != epoch_;
    mark = epoch_;
    return first;
  }
  bool contains(Slot slot) const { return marks_[slot] == epoch_; }

 private:
  Array<std::uint8_t> marks_;
  std::uint8_t epoch_ = 0;
};

}  // namespace annlib
