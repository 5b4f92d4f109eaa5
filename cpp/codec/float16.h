#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "codec/codec.h"

namespace annlib {

/// Half-precision elements, all scaled by one power of two so that the largest fits.
class Float16Codec final : public Codec {
 public:
  Float16Codec(Metric metric, std::uint32_t dim) : metric_(metric), dim_(dim) {}

  std::string_view name() const override { return "float16"; }
  std::vector<float> params() const override { return {scale_}; }
  bool restore(std::span<const float> params) override {
    if (params.size() != 1 || !(params[0] > 0)) return false;
    scale_ = params[0];
    return true;
  }
  std::size_t code_bytes() const override { return dim_ * sizeof(std::uint16_t); }
  std::uint32_t tail_offset() const override { return 0; }
  bool chooses_links() const override { return true; }

  void train(const float* sample, std::size_t n) override {
    // Products of scaled values must stay finite too, hence the distance from half's own limit of 65,504.
    const float largest = simd::kernels().max_abs(sample, n * dim_);
    scale_ = largest > 16384.0f ? std::exp2(-std::ceil(std::log2(largest / 16384.0f))) : 1.0f;
  }

  bool encode(const float* vector, std::byte* code) const override {
    float scaled[256];
    bool inside = true;
    auto* out = reinterpret_cast<std::uint16_t*>(code);
    for (std::uint32_t d = 0; d < dim_; d += 256) {
      const std::uint32_t n = std::min(256u, dim_ - d);
      for (std::uint32_t i = 0; i < n; ++i) {
        const float x = vector[d + i] * scale_;
        scaled[i] = std::clamp(x, -65504.0f, 65504.0f);
        inside &= scaled[i] == x;
      }
      simd::kernels().float_to_half(scaled, n, out + d);
    }
    return inside;
  }

  bool decode(const std::byte* code, float* vector) const override {
    simd::kernels().half_to_float(reinterpret_cast<const std::uint16_t*>(code), dim_, vector);
    for (std::uint32_t d = 0; d < dim_; ++d) vector[d] /= scale_;
    return simd::kernels().first_nonfinite(vector, dim_) == dim_;
  }

  void prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const override {
    const bool l2 = metric_ == Metric::l2;
    const float* query = vector;
    if (scale_ != 1.0f) {
      float* scaled = buffer.need<float>(dim_);
      for (std::uint32_t i = 0; i < dim_; ++i) scaled[i] = vector[i] * scale_;
      query = scaled;
    }
    scan.query.data = query;
    scan.query.a = metric_ == Metric::cosine ? 1.0f : 0.0f;
    scan.query.b = (l2 ? 1.0f : -1.0f) / (scale_ * scale_);
    scan.scorer = simd::kernels().scorer(l2 ? simd::Op::l2 : simd::Op::dot, simd::Pair::f32_f16, simd::Tail::none);
  }

 private:
  Metric metric_;
  std::uint32_t dim_;
  float scale_ = 1.0f;
};

}  // namespace annlib
