#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/buffer.h"
#include "core/types.h"

namespace annlib {

/// A hash set of slots whose keys live elsewhere: open addressing with linear probing, 4 bytes an entry at a load of
/// at most 0.8. Every call that may have to know an entry's key is given `hash(slot)`. Not thread-safe.
class SlotHash {
 public:
  SlotHash() = default;
  /// From what cells() gave, if it is sound().
  explicit SlotHash(Array<Slot> cells) : cells_(std::move(cells)) {
    for (Slot slot : std::as_const(cells_)) size_ += slot != kNoSlot;
  }
  /// Whether slots are below `slots` and every search comes to an end, as long as they are where their keys belong.
  bool sound(std::size_t slots) const {
    for (Slot slot : cells_) {
      if (slot != kNoSlot && slot >= slots) return false;
    }
    return cells_.empty() || (std::has_single_bit(cells_.size()) && cells_.size() >= cells_for(size_));
  }
  const Array<Slot>& cells() const { return cells_; }
  /// Lies in another place from now on, which holds the same.
  void swap_cells(Array<Slot>& cells) { std::swap(cells_, cells); }

  std::size_t size() const { return size_; }

  /// The first slot of this hash's run for which same(slot), or kNoSlot.
  template <class Same>
  Slot find(std::uint64_t hash, Same&& same) const {
    if (size_ == 0) return kNoSlot;
    for (std::size_t at = hash & mask();; at = next(at)) {
      if (cells_[at] == kNoSlot || same(cells_[at])) return cells_[at];
    }
  }

  template <class Hash>
  void reserve(std::size_t n, Hash&& hash) {
    const std::size_t wanted = cells_for(n);
    if (wanted <= cells_.size()) return;
    Array<Slot> old;
    std::swap(old, cells_);
    cells_.resize(wanted, kNoSlot);
    for (Slot slot : old) {
      if (slot != kNoSlot) place(slot, hash(slot));
    }
  }

  /// The slot must not be there.
  template <class Hash>
  void insert(Slot slot, Hash&& hash) {
    reserve(size_ + 1, hash);
    place(slot, hash(slot));
    ++size_;
  }

  /// The slot must be there; `to` takes its place and will have the same key.
  void replace(Slot slot, Slot to, std::uint64_t hash) { cells_[locate(slot, hash)] = to; }

  /// The slot must be there. Later entries shift back, so that probing needs no tombstones.
  template <class Hash>
  void erase(Slot slot, Hash&& hash) {
    std::size_t hole = locate(slot, hash(slot));
    for (std::size_t at = next(hole); cells_[at] != kNoSlot; at = next(at)) {
      const std::size_t wants = hash(cells_[at]) & mask();
      if (((at - wants) & mask()) >= ((at - hole) & mask())) {
        cells_[hole] = cells_[at];
        hole = at;
      }
    }
    cells_[hole] = kNoSlot;
    --size_;
  }

  std::size_t memory_bytes() const { return cells_.memory_bytes(); }
  std::size_t mapped_bytes() const { return cells_.mapped_bytes(); }

 private:
  static std::size_t cells_for(std::size_t n) { return std::bit_ceil(n + n / 4 + 8); }
  std::size_t mask() const { return cells_.size() - 1; }
  std::size_t next(std::size_t at) const { return (at + 1) & mask(); }
  std::size_t locate(Slot slot, std::uint64_t hash) const {
    std::size_t at = hash & mask();
    while (cells_[at] != slot) at = next(at);
    return at;
  }
  void place(Slot slot, std::uint64_t hash) {
    std::size_t at = hash & mask();
    while (cells_[at] != kNoSlot) at = next(at);
    cells_[at] = slot;
  }

  Array<Slot> cells_;
  std::size_t size_ = 0;
};

}  // namespace annlib
