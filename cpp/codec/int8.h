#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "codec/codec.h"

namespace annlib {

/// One byte a dimension: x_i ~ middle_i + step_i * (c_i - 128), with a range of its own for every dimension. A query
/// is folded into the steps and then rounded to signed bytes, so that a distance is one integer product of bytes:
///   l2:      |q-x|^2 = |q-m|^2 + tail - 2 sum w_i (c_i - 128),  w_i = (q_i - m_i) step_i,  tail = |x - m|^2 of the
///   code ip, cos: q.x     = q.m + sum w_i (c_i - 128),               w_i = q_i step_i
/// where sum w_i (c_i - 128) ~ delta (sum b_i c_i - 128 sum b_i) with b_i = round(w_i / delta), delta = max|w| / 127.
class Int8Codec final : public Codec {
 public:
  Int8Codec(Metric metric, std::uint32_t dim);

  std::string_view name() const override { return "int8"; }
  std::vector<float> params() const override;
  bool restore(std::span<const float> params) override;
  std::size_t code_bytes() const override { return tail_offset() + (has_tail() ? sizeof(float) : 0); }
  /// Tails of l2 codes lie on a multiple of four bytes.
  std::uint32_t tail_offset() const override { return has_tail() ? (dim_ + 3) / 4 * 4 : dim_; }
  void train(const float* sample, std::size_t n) override;
  bool encode(const float* vector, std::byte* code) const override;
  void prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const override;

 private:
  bool has_tail() const { return metric_ == Metric::l2; }
  void derive();

  Metric metric_;
  std::uint32_t dim_;
  std::vector<float> low_, step_;             // the parameters
  std::vector<float> middle_, inverse_step_;  // derived from them
};

}  // namespace annlib
