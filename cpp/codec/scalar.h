#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "codec/codec.h"

namespace annlib {

/// Scalar quantisation to a byte ("int8") or half a byte ("int4") a dimension: x_i ~ middle_i + step_i * (c_i - h),
/// h = 128 or 8, with a range of its own for every dimension. A query is folded into the steps and then rounded to
/// signed bytes, so that a distance is one integer product:
///   l2:      |q-x|^2 = |q-m|^2 + tail - 2 sum w_i (c_i - h),  w_i = (q_i - m_i) step_i,  tail = |x - m|^2 of the code
///   ip, cos: q.x     = q.m + sum w_i (c_i - h),               w_i = q_i step_i
/// where sum w_i (c_i - h) ~ delta (sum b_i c_i - h sum b_i) with b_i = round(w_i / delta), delta = max|w| / 127.
/// Whole numbers in ranges of at most 255, as pixels and many descriptors are, keep steps of 1 in "int8": their codes
/// lose nothing, and under l2 a query, rounded to such numbers, is compared with them in integers.
class ScalarCodec final : public Codec {
 public:
  /// `bits` is 8 or 4.
  ScalarCodec(Metric metric, std::uint32_t dim, std::uint32_t bits);

  std::string_view name() const override { return bits_ == 8 ? "int8" : "int4"; }
  std::vector<float> params() const override;
  bool restore(std::span<const float> params) override;
  std::size_t code_bytes() const override { return tail_offset() + (has_tail() ? sizeof(float) : 0); }
  /// Tails of l2 codes lie on a multiple of four bytes.
  std::uint32_t tail_offset() const override { return has_tail() ? (row_bytes_ + 3) / 4 * 4 : row_bytes_; }
  bool chooses_links() const override { return bits_ == 8; }
  bool lossless() const override { return whole_; }
  void train(const float* sample, std::size_t n) override;
  bool encode(const float* vector, std::byte* code) const override;
  bool decode(const std::byte* code, float* vector) const override;
  void prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const override;
  bool prepare_code(const std::byte* code, QueryBuffer& buffer, Scan& scan) const override;

 private:
  bool has_tail() const { return metric_ == Metric::l2; }
  float half() const { return static_cast<float>(1u << (bits_ - 1)); }
  void derive();
  bool prepare_levels(const float* vector, QueryBuffer& buffer, Scan& scan) const;
  void compare_levels(const void* levels, Scan& scan) const;
  void round_folded(const float* folded, float constant, QueryBuffer& buffer, Scan& scan) const;

  Metric metric_;
  std::uint32_t dim_, bits_;
  std::uint32_t row_bytes_;        ///< of a code without its tail
  std::vector<float> low_, step_;  // the parameters
  bool whole_ = false;             // likewise: what the codec learnt from is whole numbers, and so are codes
  // Derived from them: for queries, and for codes as queries. A code c is folded as folded_ c + folded_low_, and under
  // ip and cosine its product with the middle is middle_low_ + <middle_step_, c>.
  std::vector<float> middle_, inverse_step_, folded_, folded_low_, middle_step_;
  float middle_low_ = 0.0f;
};

}  // namespace annlib
