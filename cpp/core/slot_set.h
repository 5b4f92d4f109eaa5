#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "core/bitset.h"
#include "core/types.h"

namespace annlib {

/// Slots of a table, each once: a list where they are few, else a bitmap. Immutable.
class SlotSet {
 public:
  /// Of fewer than one slot in so many there may be a list: it takes half of the room of a bitmap at most, and what is
  /// done with it takes time by its length alone.
  static constexpr std::size_t kSlotsForOne = 64;

  explicit SlotSet(Bitset bits) : size_(bits.size()), bits_(std::move(bits)), count_(bits_.count()) {}
  /// `list` ascends, of slots below `size`.
  SlotSet(std::vector<Slot> list, std::size_t size)
      : listed_(true), size_(size), list_(std::move(list)), count_(list_.size()) {}

  /// Of the table.
  std::size_t size() const { return size_; }
  std::size_t count() const { return count_; }
  std::size_t memory_bytes() const {
    return sizeof(*this) + list_.capacity() * sizeof(Slot) + bits_.words().bytes().size();
  }

  bool contains(Slot slot) const {
    return listed_ ? std::binary_search(list_.begin(), list_.end(), slot) : bits_.test(slot);
  }
  /// The first slot from `i` on, beginning again at 0 behind the last; there must be one.
  std::size_t next(std::size_t i) const {
    if (!listed_) return bits_.next(i);
    const auto at = std::lower_bound(list_.begin(), list_.end(), i);
    return at == list_.end() ? list_.front() : *at;
  }

  /// Calls f(slot) for each, ascending.
  template <class F>
  void for_each(F&& f) const {
    if (listed_) {
      for (const Slot slot : list_) f(slot);
    } else {
      bits_.for_each(f);
    }
  }

 private:
  friend class MarkedSlots;
  bool listed_ = false;
  std::size_t size_;
  Bitset bits_;
  std::vector<Slot> list_;
  std::size_t count_;
};

/// The bitmap of a set for as long as this lives, in which it is quick to look up a slot. A list is written into
/// `scratch`, which is all zero before and after.
class MarkedSlots {
 public:
  MarkedSlots(const SlotSet& set, Bitset& scratch) : set_(set), scratch_(scratch) {
    if (!set.listed_) return;
    if (scratch.size() < set.size()) scratch.resize(set.size());
    for (const Slot slot : set.list_) scratch.set(slot);
  }
  ~MarkedSlots() {
    for (const Slot slot : set_.list_) scratch_.reset(slot);
  }
  MarkedSlots(const MarkedSlots&) = delete;
  MarkedSlots& operator=(const MarkedSlots&) = delete;

  const Bitset& bits() const { return set_.listed_ ? scratch_ : set_.bits_; }

 private:
  const SlotSet& set_;
  Bitset& scratch_;
};

}  // namespace annlib
