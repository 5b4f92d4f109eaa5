#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/prefetch.h"
#include "core/types.h"
#include "simd/simd.h"
#include "table/table.h"
#include "table/vectors.h"

namespace annlib {

/// One query, bound to the rows it is scored against. Valid while the rows stay where they are.
struct Scan {
  simd::Query query;
  simd::Rows rows;
  simd::Scorer scorer;
  /// How far beyond a distance another one by code must lie to be the greater one in truth, nearly always.
  float margin = 0.0f;
  /// Results are ranked by these distances, none is to be computed again: of vectors, of codes where nothing was lost
  /// on either side, and of codes alone.
  bool exact = false;

  void score(const Slot* slots, std::size_t n, float* out) const { scorer.ids(query, rows, slots, n, out); }
  __attribute__((always_inline)) void prefetch_row(Slot slot) const {
    prefetch(rows.data + slot * rows.stride, rows.prefetch_bytes);
  }
  void score_range(Slot first, std::size_t n, float* out) const { scorer.range(query, rows, first, n, out); }
};

/// What rows of vectors are, wherever they lie.
struct RowForm {
  std::uint32_t dim = 0;
  DType dtype = DType::f32;
  Metric metric = Metric::l2;
  float longest = 0;  ///< no row is longer, but for rounding; of no account under l2
};

/// Memory for a query in its prepared form; kept and reused by whoever searches.
struct QueryBuffer {
  Array<float> floats;
  Array<std::byte> bytes;

  float* need_floats(std::size_t n) {
    if (floats.size() < n) floats.resize(n);
    return floats.data();
  }
  template <class T>
  T* need(std::size_t n) {
    if (bytes.size() < n * sizeof(T)) bytes.resize(n * sizeof(T));
    return reinterpret_cast<T*>(bytes.data());
  }
};

/// Exact distances of a query from rows as they were given, in the metric's own unit, in integers for integer dtypes.
/// Under cosine the tails of `rows` are reciprocal norms.
Scan exact_scan(const RowForm& form, const simd::Rows& rows, const QueryView& query, QueryBuffer& buffer);

/// Rows in some representation, and how far a query is from them. Graphs walk over a space and do not know which.
/// Virtual once a query, never once a distance. const members may be called from any thread.
class Space {
 public:
  virtual ~Space() = default;
  virtual Scan prepare(const QueryView& query, QueryBuffer& buffer) const = 0;
  /// The row of a slot as the query, for building; its distances order as prepare()'s do.
  virtual Scan prepare_row(Slot slot, QueryBuffer& buffer) const = 0;
  /// The row of a slot as float32, as near as it is known; under cosine of unit length, or zero.
  virtual void load(Slot slot, float* out) const = 0;
};

/// The stored vectors themselves: exact distances in the metric's own unit, in integers for integer dtypes.
class StoredSpace final : public Space {
 public:
  explicit StoredSpace(const Table& table) : table_(&table) {}
  Scan prepare(const QueryView& query, QueryBuffer& buffer) const override;
  Scan prepare_row(Slot slot, QueryBuffer& buffer) const override;
  void load(Slot slot, float* out) const override;

 private:
  RowForm form() const { return {table_->dim(), table_->dtype(), table_->metric(), table_->longest()}; }

  const Table* table_;
};

}  // namespace annlib
