#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/bitset.h"
#include "core/buffer.h"
#include "core/random.h"
#include "core/slot_hash.h"
#include "core/types.h"
#include "simd/simd.h"
#include "table/columns.h"
#include "table/vectors.h"

namespace annlib {

/// The rows of an index: for each slot its vector, its id, its attributes, whether it lives, and where it
/// stands in the order of arrival. A row is the vector's own bytes; under cosine its reciprocal norm is kept too (0 for
/// a zero vector, whose distance is then 1 to everything, and for one shorter than 2^-128, which counts as such).
///
/// A table may be told to keep no rows (drop_rows()): what stands for its vectors then is somebody else's business. The
/// vectors given to append() are at hand all the same, where the caller has them, until forget_vectors().
///
/// A slot is hidden when it is made; reveal() gives it its id and makes it part of the index, hide() takes it back.
/// Not thread-safe: the index that owns the table locks.
class Table {
 public:
  Table(std::uint32_t dim, DType dtype, Metric metric);

  std::uint32_t dim() const { return dim_; }
  DType dtype() const { return dtype_; }
  Metric metric() const { return metric_; }
  std::size_t slots() const { return ids_.size(); }
  std::size_t live() const { return map_.size(); }
  std::size_t vector_bytes() const { return dim_ * dtype_size(dtype_); }
  bool keeps_rows() const { return keeps_rows_; }
  bool has_norms() const { return keeps_rows_ && metric_ == Metric::cosine; }

  /// Only of a table that keeps rows.
  const std::byte* row(Slot slot) const { return rows_.data() + slot * stride_; }
  /// The row, or the vector that append() was given; nullptr where neither is there.
  const std::byte* vector(Slot slot) const;
  std::int64_t id(Slot slot) const { return ids_[slot]; }
  bool alive(Slot slot) const { return alive_.test(slot); }
  const Bitset& alive_bits() const { return alive_; }
  simd::Rows rows() const;
  /// Cosine only, and where vector() is there.
  float reciprocal_norm(Slot slot) const;
  /// No row is longer, but for rounding; infinity where the square of one leaves float32's range. Not kept under l2.
  float longest() const { return longest_; }
  bool same_vector(Slot a, Slot b) const;
  /// A hash of the vector's bytes.
  std::uint64_t content_hash(Slot slot) const;

  /// kNoSlot if no live slot has this id.
  Slot find(std::int64_t id) const {
    return map_.find(hash_of(id), [&](Slot slot) { return ids_[slot] == id; });
  }
  /// Live slots by order of arrival.
  std::vector<Slot> arrival_order() const;

  void reserve(std::size_t slots, int threads = 1);
  /// A new hidden slot, from the free ones or at the end. Throws ValueError beyond kMaxSlots. `vector` is copied, or if
  /// no rows are kept must stay until forget_vectors(); it may be nullptr then. Its type is the table's or, if rows are
  /// kept, one that the table's holds.
  Slot append(RowView vector);
  Slot append(const std::byte* vector) { return append({vector, dtype_}); }
  void forget_vectors() { given_.clear(); }
  /// From now on no rows are kept, and those there are go.
  void drop_rows();
  /// The rows as those of a table of another type that holds them, to be made ahead of take_rows().
  Array<std::byte> rows_as(DType dtype) const;
  void take_rows(Array<std::byte> rows, DType dtype);
  /// Only for hidden slots. `arrival` is that of an item replaced, or next_arrival().
  void reveal(Slot slot, std::int64_t id, std::uint32_t arrival);
  void hide(Slot slot);
  std::uint32_t arrival(Slot slot) const { return arrival_[slot]; }
  std::uint32_t next_arrival() const { return next_arrival_; }
  /// Gives the item in `from` (live) the slot `to` (hidden, with an equal vector); `from` is hidden then.
  void move_item(Slot from, Slot to);
  /// A hidden slot that nothing refers to any more may be used again.
  void release(Slot slot);
  /// Undoes calls of append(), before the first of which there were `slots`; `appended` must be hidden still.
  void take_back(std::span<const Slot> appended, std::size_t slots);
  const std::vector<Slot>& free_slots() const { return free_; }

  const Columns& columns() const { return columns_; }
  /// What is written for slots that live calls for touch().
  Columns& columns() { return columns_; }
  /// Changes whenever a filter may let other slots through than before.
  std::uint64_t version() const { return version_; }
  void touch();

  /// Renumbers arrivals 0, 1, 2 ... without changing their order.
  void renumber_arrivals();

  std::size_t memory_bytes() const;
  /// Not among these: what a mapped file holds.
  std::size_t mapped_bytes() const { return arrival_.mapped_bytes() + map_.mapped_bytes(); }

  /// The arrays behind it, for storage.
  struct Parts {
    Array<std::byte> rows;
    Array<float> norms;
    Array<std::int64_t> ids;
    Array<std::uint32_t> arrival;
    Array<std::uint64_t> alive;
    std::vector<Slot> free;
    std::optional<Array<Slot>> by_id;  ///< made where there is none
  };
  const Array<std::byte>& row_bytes() const { return rows_; }
  const Array<float>& norms() const { return norms_; }
  const Array<std::int64_t>& ids() const { return ids_; }
  const Array<std::uint32_t>& arrivals() const { return arrival_; }
  /// Of the hash by id.
  const Array<Slot>& by_id() const { return map_.cells(); }
  std::size_t stride() const { return stride_; }
  /// Takes parts from a file, which may be hostile: throws CorruptError unless they are consistent and finite.
  void restore(Parts parts);
  /// Puts arrays in the places of arrivals() and by_id() that hold the same, and these in theirs.
  void swap_places(Array<std::uint32_t>& arrivals, Array<Slot>& by_id);

 private:
  void resize(std::size_t slots);
  void note_length(const std::byte* row);
  static std::uint64_t hash_of(std::int64_t id) { return mix64(static_cast<std::uint64_t>(id) + 1); }
  auto hash_by_id() const {
    return [this](Slot slot) { return hash_of(ids_[slot]); };
  }

  std::uint32_t dim_;
  DType dtype_;
  Metric metric_;
  std::size_t stride_;
  bool keeps_rows_ = true;
  Array<std::byte> rows_;
  Array<float> norms_;                                // reciprocal; cosine only
  std::unordered_map<Slot, const std::byte*> given_;  // vectors of the slots of which no row is kept
  Array<std::int64_t> ids_;
  Array<std::uint32_t> arrival_;
  Bitset alive_;
  std::vector<Slot> free_;
  SlotHash map_;  // live slots by id
  std::uint32_t next_arrival_ = 0;
  float longest_ = 0;
  Columns columns_;
  std::uint64_t version_;
};

}  // namespace annlib
