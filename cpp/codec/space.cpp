#include "codec/space.h"

#include <cmath>

namespace annlib {
namespace {

simd::Pair pair_of_floats_with(DType row) {
  switch (row) {
    case DType::f32:
      return simd::Pair::f32_f32;
    case DType::f16:
      return simd::Pair::f32_f16;
    case DType::i8:
      return simd::Pair::f32_i8;
    default:
      return simd::Pair::f32_u8;
  }
}

// Floats that are whole numbers of the integer type become that type: its kernels are exact and faster.
template <class T>
bool narrow(const float* in, std::size_t n, T* out) {
  bool whole = true;
  for (std::size_t i = 0; i < n; ++i) {
    const float limited = std::fmin(std::fmax(in[i], -128.0f), 255.0f);
    out[i] = static_cast<T>(static_cast<int>(limited));
    whole &= static_cast<float>(out[i]) == in[i];
  }
  return whole;
}

float reciprocal_norm_of(const float* q, std::size_t n) {
  const float sum = simd::kernels().norm2(q, n);
  return sum > 0 ? 1.0f / std::sqrt(sum) : 0.0f;
}

}  // namespace

Scan StoredSpace::bind(simd::Pair pair, const void* data, float reciprocal_norm) const {
  Scan scan;
  scan.rows = table_->rows();
  scan.query.data = data;
  switch (table_->metric()) {
    case Metric::l2:
      scan.scorer = simd::kernels().scorer(simd::Op::l2, pair, simd::Tail::none);
      break;
    case Metric::ip:
      scan.query.b = -1.0f;
      scan.scorer = simd::kernels().scorer(simd::Op::dot, pair, simd::Tail::none);
      break;
    case Metric::cosine:
      scan.query.a = 1.0f;
      scan.query.b = -reciprocal_norm;
      scan.scorer = simd::kernels().scorer(simd::Op::dot, pair, simd::Tail::times);
      break;
  }
  return scan;
}

Scan StoredSpace::prepare(const QueryView& query, QueryBuffer& buffer) const {
  const std::uint32_t dim = table_->dim();
  const DType dtype = table_->dtype();
  const float* floats = static_cast<const float*>(query.data);
  if (query.dtype != DType::f32) {
    float* wide = buffer.need_floats(dim);
    widen(query.data, query.dtype, dim, wide);
    floats = wide;
  }
  const float norm = table_->metric() == Metric::cosine ? reciprocal_norm_of(floats, dim) : 0.0f;
  if (is_integer(dtype)) {
    const bool is_signed = dtype == DType::i8;
    const simd::Pair pair = is_signed ? simd::Pair::i8_i8 : simd::Pair::u8_u8;
    if (query.dtype == dtype) return bind(pair, query.data, norm);
    const bool whole = is_signed ? narrow(floats, dim, buffer.need<std::int8_t>(dim))
                                 : narrow(floats, dim, buffer.need<std::uint8_t>(dim));
    if (whole) return bind(pair, buffer.bytes.data(), norm);
  }
  return bind(pair_of_floats_with(dtype), floats, norm);
}

Scan StoredSpace::prepare_row(Slot slot, QueryBuffer& buffer) const {
  const DType dtype = table_->dtype();
  const float norm = table_->metric() == Metric::cosine ? table_->reciprocal_norm(slot) : 0.0f;
  switch (dtype) {
    case DType::f32:
      return bind(simd::Pair::f32_f32, table_->row(slot), norm);
    case DType::i8:
      return bind(simd::Pair::i8_i8, table_->row(slot), norm);
    case DType::u8:
      return bind(simd::Pair::u8_u8, table_->row(slot), norm);
    default: {
      float* wide = buffer.need_floats(table_->dim());
      widen(table_->row(slot), dtype, table_->dim(), wide);
      return bind(simd::Pair::f32_f16, wide, norm);
    }
  }
}

}  // namespace annlib
