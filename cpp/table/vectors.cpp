#include "table/vectors.h"

#include <algorithm>

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

}  // namespace annlib
