#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/buffer.h"
#include "core/types.h"
#include "disk/files.h"

namespace annlib::disk {

struct State;

/// Lists of slots, each ascending, as runs of slots that follow each other: for each how far it begins behind the last
/// one, times two, with one more where it is longer than one slot and its length follows. Numbers lie in seven bits a
/// byte, the lowest first, and the eighth where more follow.
class PackedSlots {
 public:
  /// So many empty lists.
  explicit PackedSlots(std::size_t lists) : lists_(lists) {}

  /// For a list that is empty.
  void set(std::size_t list, std::span<const Slot> ascending);
  std::size_t size(std::size_t list) const { return lists_[list].size; }
  std::size_t mean_size() const { return lists_.empty() ? 0 : postings_ / lists_.size(); }
  /// Writes size(list) slots.
  void unpack(std::size_t list, Slot* out) const;
  std::size_t bytes() const { return packed_.bytes().size() + lists_.bytes().size(); }

 private:
  struct List {
    std::uint64_t begin;  ///< in `packed_`
    std::uint64_t size;
  };

  Array<List> lists_;
  Array<std::uint8_t> packed_;
  std::size_t postings_ = 0;
};

/// What the lists of a state hold, in memory: the row of each item once, however many lists it stands in, and the slots
/// of each list. A search finds what it would find in the file and reads none of it.
class ResidentLists {
 public:
  /// Bytes that all lists take at least: so or, where they cannot be so, as blocks in a cache.
  static std::size_t all_bytes(const State& state, const ListForm& form);
  /// Reads what `before`, of a state that `state` was made from, does not have. nullptr where it takes more than `most`
  /// bytes, and where a list cannot be read: searches that need it will say so, and others go on.
  static std::unique_ptr<ResidentLists> load(const State& state, const ListForm& form, const State* before,
                                             std::size_t most);

  /// The rows of items that `before` did not have come in. Nobody may be reading, from either.
  void join();

  const PackedSlots& lists() const { return lists_; }
  /// By slot.
  const std::byte* rows() const { return rows_->data(); }
  std::size_t bytes() const { return lists_.bytes() + rows_->size() + came_.size(); }

 private:
  explicit ResidentLists(std::size_t lists) : lists_(lists) {}

  PackedSlots lists_;
  std::shared_ptr<Array<std::byte>> rows_;  ///< shared with the states before, whose items have the same slots
  Array<std::byte> came_;                   ///< behind rows_, until join()
};

}  // namespace annlib::disk
