#include "codec/int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace annlib {
namespace {

constexpr float kLevels = 255.0f;
// Of a heavy-tailed dimension the far ends are cut: beyond so many standard deviations from the mean a finer step for
// all the others is worth more than the few that are cut (for a normal distribution nothing is).
constexpr double kDeviations = 6.0;

}  // namespace

Int8Codec::Int8Codec(Metric metric, std::uint32_t dim) : metric_(metric), dim_(dim), low_(dim, 0.0f), step_(dim, 1.0f) {
  derive();
}

void Int8Codec::derive() {
  middle_.resize(dim_);
  inverse_step_.resize(dim_);
  for (std::uint32_t d = 0; d < dim_; ++d) {
    middle_[d] = low_[d] + 128.0f * step_[d];
    inverse_step_[d] = step_[d] > 0 ? 1.0f / step_[d] : 0.0f;
  }
}

std::vector<float> Int8Codec::params() const {
  std::vector<float> all(low_);
  all.insert(all.end(), step_.begin(), step_.end());
  return all;
}

bool Int8Codec::restore(std::span<const float> params) {
  if (params.size() != 2 * std::size_t{dim_}) return false;
  low_.assign(params.begin(), params.begin() + dim_);
  step_.assign(params.begin() + dim_, params.end());
  derive();
  return std::all_of(step_.begin(), step_.end(), [](float s) { return s >= 0; });
}

void Int8Codec::train(const float* sample, std::size_t n) {
  std::vector<float> low(sample, sample + dim_), high(low);
  std::vector<double> sum(dim_), squares(dim_);
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = sample + i * dim_;
    for (std::uint32_t d = 0; d < dim_; ++d) {
      low[d] = std::min(low[d], row[d]);
      high[d] = std::max(high[d], row[d]);
      sum[d] += row[d];
      squares[d] += static_cast<double>(row[d]) * row[d];
    }
  }
  for (std::uint32_t d = 0; d < dim_; ++d) {
    const double mean = sum[d] / static_cast<double>(n);
    const double deviation = std::sqrt(std::max(0.0, squares[d] / static_cast<double>(n) - mean * mean));
    low_[d] = std::max(low[d], static_cast<float>(mean - kDeviations * deviation));
    const float top = std::min(high[d], static_cast<float>(mean + kDeviations * deviation));
    step_[d] = std::max(0.0f, (top - low_[d]) / kLevels);
    // A range so small that its reciprocal is infinite is no range.
    if (!std::isfinite(1.0f / step_[d])) step_[d] = 0.0f;
  }
  derive();
}

bool Int8Codec::encode(const float* vector, std::byte* code) const {
  auto* bytes = reinterpret_cast<std::uint8_t*>(code);
  simd::kernels().quantize_u8(vector, low_.data(), inverse_step_.data(), dim_, bytes);
  bool inside = true;
  float tail = 0.0f;
  for (std::uint32_t d = 0; d < dim_; ++d) {
    const float offset = step_[d] * (static_cast<float>(bytes[d]) - 128.0f);
    // Outside: by more than the whole range that the dimension had in training.
    inside &= std::fabs(vector[d] - middle_[d]) <= 384.0f * step_[d] + 1e-6f * std::fabs(middle_[d]);
    tail += offset * offset;
  }
  if (has_tail()) {
    std::memset(code + dim_, 0, tail_offset() - dim_);
    std::memcpy(code + tail_offset(), &tail, sizeof(tail));
  }
  return inside;
}

void Int8Codec::prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const {
  // Folded into the query's own memory, which nobody reads afterwards. Sums go through the kernels: a plain loop over
  // floats adds one after another, and building prepares many queries.
  const simd::Kernels& k = simd::kernels();
  float* folded = buffer.need_floats(dim_);
  float constant = 0.0f;
  if (has_tail()) {
    for (std::uint32_t d = 0; d < dim_; ++d) folded[d] = vector[d] - middle_[d];
    constant = k.norm2(folded, dim_);
    for (std::uint32_t d = 0; d < dim_; ++d) folded[d] *= step_[d];
  } else {
    simd::Rows middle;
    middle.data = reinterpret_cast<const std::byte*>(middle_.data());
    middle.dim = dim_;
    const simd::Query query{vector, metric_ == Metric::cosine ? 1.0f : 0.0f, -1.0f};
    k.scorer(simd::Op::dot, simd::Pair::f32_f32, simd::Tail::none).range(query, middle, 0, 1, &constant);
    for (std::uint32_t d = 0; d < dim_; ++d) folded[d] = vector[d] * step_[d];
  }
  const float largest = k.max_abs(folded, dim_);
  const float delta = largest / 127.0f;
  auto* bytes = buffer.need<std::int8_t>(dim_);
  const std::int32_t total = k.quantize_i8(folded, dim_, delta > 0 ? 127.0f / largest : 0.0f, bytes);
  const float weight = has_tail() ? -2.0f : -1.0f;
  scan.query.data = bytes;
  scan.query.a = constant - weight * delta * 128.0f * static_cast<float>(total);
  scan.query.b = weight * delta;
  scan.scorer =
      simd::kernels().scorer(simd::Op::dot, simd::Pair::q8_u8, has_tail() ? simd::Tail::plus : simd::Tail::none);
}

}  // namespace annlib
