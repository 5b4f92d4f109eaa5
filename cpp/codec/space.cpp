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

// A query of about this length keeps its products with all vectors in float32's range: the longest, 2^20 elements of
// 2^128, have length 2^138, and those of length 2^-100 still give products with all their digits.
constexpr int kSafeExponent = -12;
// Products of longer vectors than this may overflow on the way to a sum that does not.
constexpr float kLargestProduct = 0x1p126f;
// Products of shorter vectors may underflow. Under ip that is what they are; a cosine is not small for it.
constexpr float kSmallestLength = 0x1p-24f;

Scan bind_bytes(const RowForm& form, const simd::Rows& rows, simd::Pair pair, const void* data, float reciprocal_norm) {
  Scan scan;
  scan.exact = true;
  scan.rows = rows;
  scan.query.data = data;
  switch (form.metric) {
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

// Scaled by a power of two, which changes no digit, where products with the rows could leave float32's range.
Scan bind_floats(const RowForm& form, const simd::Rows& rows, const float* query, float reciprocal_norm,
                 QueryBuffer& buffer) {
  const simd::Pair pair = pair_of_floats_with(form.dtype);
  const std::uint32_t dim = form.dim;
  const bool cosine = form.metric == Metric::cosine;
  if (form.metric == Metric::l2 || (cosine && reciprocal_norm == 0)) return bind_bytes(form, rows, pair, query, 0);
  const float length = cosine ? 1.0f / reciprocal_norm : std::sqrt(simd::kernels().norm2(query, dim));
  const bool fits = length == 0 || length * form.longest <= kLargestProduct;
  if (fits && (!cosine || length >= kSmallestLength)) return bind_bytes(form, rows, pair, query, reciprocal_norm);
  const double exact = std::sqrt(sum_of_squares(query, DType::f32, dim));
  const int exponent = kSafeExponent - std::ilogb(exact);
  const double scale = std::ldexp(1.0, exponent);
  auto* scaled = buffer.need<float>(dim + 1);
  for (std::uint32_t d = 0; d < dim; ++d) scaled[d] = static_cast<float>(query[d] * scale);
  Scan scan = bind_bytes(form, rows, pair, scaled, static_cast<float>(1.0 / (exact * scale)));
  if (cosine) return scan;
  // Taken back in two steps, the second as the tail of every row: both at once are beyond float32.
  scaled[dim] = static_cast<float>(std::ldexp(1.0, -exponent / 2));
  scan.query.b = -static_cast<float>(std::ldexp(1.0, -exponent - (-exponent / 2)));
  scan.rows.tails = reinterpret_cast<const std::byte*>(scaled + dim);
  scan.rows.tail_stride = 0;
  scan.scorer = simd::kernels().scorer(simd::Op::dot, pair, simd::Tail::times);
  return scan;
}

}  // namespace

Scan exact_scan(const RowForm& form, const simd::Rows& rows, const QueryView& query, QueryBuffer& buffer) {
  const std::uint32_t dim = form.dim;
  const DType dtype = form.dtype;
  const float* floats = static_cast<const float*>(query.data);
  if (query.dtype != DType::f32) {
    float* wide = buffer.need_floats(dim);
    widen(query.data, query.dtype, dim, wide);
    floats = wide;
  }
  const float norm = form.metric == Metric::cosine ? reciprocal_length(floats, dim) : 0.0f;
  if (is_integer(dtype)) {
    const bool is_signed = dtype == DType::i8;
    const simd::Pair pair = is_signed ? simd::Pair::i8_i8 : simd::Pair::u8_u8;
    if (query.dtype == dtype) return bind_bytes(form, rows, pair, query.data, norm);
    const bool whole = is_signed ? narrow(floats, dim, buffer.need<std::int8_t>(dim))
                                 : narrow(floats, dim, buffer.need<std::uint8_t>(dim));
    if (whole) return bind_bytes(form, rows, pair, buffer.bytes.data(), norm);
  }
  return bind_floats(form, rows, floats, norm, buffer);
}

Scan StoredSpace::prepare(const QueryView& query, QueryBuffer& buffer) const {
  return exact_scan(form(), table_->rows(), query, buffer);
}

Scan StoredSpace::prepare_row(Slot slot, QueryBuffer& buffer) const {
  const DType dtype = table_->dtype();
  const float norm = table_->metric() == Metric::cosine ? table_->reciprocal_norm(slot) : 0.0f;
  switch (dtype) {
    case DType::f32:
      return bind_floats(form(), table_->rows(), reinterpret_cast<const float*>(table_->row(slot)), norm, buffer);
    case DType::i8:
      return bind_bytes(form(), table_->rows(), simd::Pair::i8_i8, table_->row(slot), norm);
    case DType::u8:
      return bind_bytes(form(), table_->rows(), simd::Pair::u8_u8, table_->row(slot), norm);
    default: {
      float* wide = buffer.need_floats(table_->dim());
      widen(table_->row(slot), dtype, table_->dim(), wide);
      return bind_floats(form(), table_->rows(), wide, norm, buffer);
    }
  }
}

void StoredSpace::load(Slot slot, float* out) const {
  widen(table_->vector(slot), table_->dtype(), table_->dim(), out);
  if (table_->metric() != Metric::cosine) return;
  const float norm = table_->reciprocal_norm(slot);
  for (std::uint32_t d = 0; d < table_->dim(); ++d) out[d] *= norm;
}

}  // namespace annlib
