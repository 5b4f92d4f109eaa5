#include "posting/list_codes.h"

#include <cmath>
#include <limits>

#include "table/vectors.h"

namespace annlib {

void ListCodes::load(const void* row, DType dtype, float* out) const {
  const std::uint32_t dim = rotation_.dim();
  widen(row, dtype, dim, out);
  if (metric_ != Metric::cosine) return;
  const float reciprocal = reciprocal_length(out, dim);
  for (std::uint32_t d = 0; d < dim; ++d) out[d] *= reciprocal;
}

simd::BlockQuery ListCodes::prepare(const float* query, QueryBuffer& buffer) const {
  return sign_query(rotation_, query, buffer.need_floats(rotation_.padded()), buffer);
}

ListCodes::Code ListCodes::encode(const Center& center, const float* vector, float* memory) const {
  const simd::Kernels& k = simd::kernels();
  const std::uint32_t dim = rotation_.dim(), padded = rotation_.padded();
  float* residual = memory;
  float* rotated = residual + dim;
  auto* signs = reinterpret_cast<std::uint8_t*>(rotated + padded);
  for (std::uint32_t i = 0; i < dim; ++i) residual[i] = vector[i] - center.vector[i];
  rotation_.apply(residual, rotated);
  const simd::SignSums sums = k.sign_codes(rotated, center.rotated, padded, signs);
  const float norm2 = k.norm2(residual, dim);
  const float factor = sums.magnitude > 0 ? norm2 / sums.magnitude : 0.0f;
  const bool product = metric_ == Metric::ip;
  const float add = product ? 0.0f : part() * (norm2 + 2.0f * factor * sums.other);
  const float times = product ? -factor : -2.0f * part() * factor;
  const bool finite = std::isfinite(add) && std::isfinite(times);
  return {finite ? add : std::numeric_limits<float>::lowest(), finite ? times : 0.0f, signs};
}

}  // namespace annlib
