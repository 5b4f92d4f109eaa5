#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/types.h"
#include "simd/simd.h"

namespace annlib {

/// Vectors that somebody else holds: `count` rows of `dim` elements, one behind the other.
struct VectorBlock {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::size_t count = 0;
  std::uint32_t dim = 0;

  std::size_t row_bytes() const { return dim * dtype_size(dtype); }
  const std::byte* row(std::size_t i) const { return static_cast<const std::byte*>(data) + i * row_bytes(); }
};

/// One vector, wherever it lies.
struct RowView {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
};

/// One query of an index's dim.
struct QueryView {
  const void* data = nullptr;
  DType dtype = DType::f32;
  Slot left_out = kNoSlot;  ///< a row that is not to be found, nor any that equals it
};

/// How far apart rows lie: `payload` rounded up to the largest of 64, 32, 16, 8, 4 bytes that costs at most 1/32.
/// Rows on cache-line boundaries touch fewest lines; for short rows the memory is worth more.
constexpr std::size_t row_stride(std::size_t payload) {
  for (std::size_t align = 64; align > 4; align /= 2) {
    const std::size_t stride = (payload + align - 1) / align * align;
    if ((stride - payload) * 32 <= payload) return stride;
  }
  return (payload + 3) / 4 * 4;
}

/// The row widened to float32.
void widen(const void* row, DType dtype, std::uint32_t dim, float* out);

/// Whether elements of type `to` are these to the last bit. Any type holds its own; of others, float32 all, and float16
/// those of 8 bits.
bool holds(DType to, RowView row, std::uint32_t dim);
/// Only of a row that `to` holds.
void convert(RowView row, std::uint32_t dim, DType to, void* out);

/// The sum of a row's squares in double: no square of a float leaves its range, and none is lost beside large ones.
double sum_of_squares(const void* row, DType dtype, std::uint32_t dim);

/// 1 / |v|; 0 for a zero vector, and for one shorter than 2^-128, whose reciprocal no float holds.
float reciprocal_length(double sum_of_squares);
float reciprocal_length(const float* v, std::uint32_t dim);

/// No less than the length of a row, but for rounding, as far as an index has to know it: 0 under l2.
float length_of(const std::byte* row, DType dtype, Metric metric, std::uint32_t dim);

/// ValueError naming the first row of the block that has a NaN or an infinity.
void require_finite(const VectorBlock& block, const std::string& what);

}  // namespace annlib
