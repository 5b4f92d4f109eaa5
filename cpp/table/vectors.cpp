#include "table/vectors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace annlib {

void widen(const void* row, DType dtype, std::uint32_t dim, float* out) {
  switch (dtype) {
    case DType::f32:
      std::copy_n(static_cast<const float*>(row), dim, out);
      return;
    case DType::f16:
      simd::kernels().half_to_float(static_cast<const std::uint16_t*>(row), dim, out);
      return;
    case DType::i8:
      std::copy_n(static_cast<const std::int8_t*>(row), dim, out);
      return;
    case DType::u8:
      std::copy_n(static_cast<const std::uint8_t*>(row), dim, out);
      return;
  }
}

namespace {

// Calls f(floats, first, n) with the row, piece by piece.
template <class F>
void in_chunks(RowView row, std::uint32_t dim, F&& f) {
  float chunk[256];
  for (std::uint32_t d = 0; d < dim; d += 256) {
    const std::uint32_t n = std::min(256u, dim - d);
    widen(row.data + d * dtype_size(row.dtype), row.dtype, n, chunk);
    f(chunk, d, n);
  }
}

template <class T>
bool whole(const float* x, std::uint32_t n) {
  bool all = true;
  for (std::uint32_t i = 0; i < n; ++i) {
    const float limited = std::min(std::max(x[i], -128.0f), 255.0f);
    // By bits: -0 is no integer.
    all &= std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<T>(static_cast<int>(limited)))) ==
           std::bit_cast<std::uint32_t>(x[i]);
  }
  return all;
}

}  // namespace

bool holds(DType to, RowView row, std::uint32_t dim) {
  if (to == row.dtype || to == DType::f32) return true;
  if (to == DType::f16) return is_integer(row.dtype);
  bool all = true;
  in_chunks(row, dim, [&](const float* x, std::uint32_t, std::uint32_t n) {
    all = all && (to == DType::i8 ? whole<std::int8_t>(x, n) : whole<std::uint8_t>(x, n));
  });
  return all;
}

void convert(RowView row, std::uint32_t dim, DType to, void* out) {
  if (to == row.dtype) {
    std::memcpy(out, row.data, dim * dtype_size(to));
    return;
  }
  if (to == DType::f32) return widen(row.data, row.dtype, dim, static_cast<float*>(out));
  in_chunks(row, dim, [&](const float* x, std::uint32_t first, std::uint32_t n) {
    if (to == DType::f16) return simd::kernels().float_to_half(x, n, static_cast<std::uint16_t*>(out) + first);
    auto* bytes = static_cast<std::uint8_t*>(out) + first;
    for (std::uint32_t i = 0; i < n; ++i) bytes[i] = static_cast<std::uint8_t>(static_cast<int>(x[i]));
  });
}

double sum_of_squares(const void* row, DType dtype, std::uint32_t dim) {
  double sum = 0;
  in_chunks({static_cast<const std::byte*>(row), dtype}, dim, [&](const float* x, std::uint32_t, std::uint32_t n) {
    for (std::uint32_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  });
  return sum;
}

float reciprocal_length(double sum_of_squares) {
  const auto reciprocal = static_cast<float>(1.0 / std::sqrt(sum_of_squares));
  return std::isfinite(reciprocal) ? reciprocal : 0.0f;
}

float reciprocal_length(const float* v, std::uint32_t dim) {
  const float sum = simd::kernels().norm2(v, dim);
  // Below, squares have lost digits; above, they may have overflowed.
  if (sum > 0x1p-80f && sum < 0x1p126f) return 1.0f / std::sqrt(sum);
  return reciprocal_length(sum_of_squares(v, DType::f32, dim));
}

void require_finite(const VectorBlock& block, const std::string& what) {
  if (is_integer(block.dtype) || block.dim == 0) return;
  const simd::Kernels& k = simd::kernels();
  for (std::size_t i = 0; i < block.count; ++i) {
    const std::byte* row = block.row(i);
    const std::size_t at = block.dtype == DType::f32
                               ? k.first_nonfinite(reinterpret_cast<const float*>(row), block.dim)
                               : k.first_nonfinite_half(reinterpret_cast<const std::uint16_t*>(row), block.dim);
    if (at < block.dim) {
      throw ValueError(what + " must be finite: row " + std::to_string(i) + " has NaN or infinity in dimension " +
                       std::to_string(at));
    }
  }
}

float length_of(const std::byte* row, DType dtype, Metric metric, std::uint32_t dim) {
  if (metric == Metric::l2) return 0.0f;
  // Of the other types 2^20 of the largest elements, 2^16, are no longer than this.
  if (dtype != DType::f32) return 0x1p26f;
  return std::sqrt(simd::kernels().norm2(reinterpret_cast<const float*>(row), dim));
}

}  // namespace annlib
