#include "codec/scalar.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace annlib {
namespace {

// Of a heavy-tailed dimension the far ends are cut: beyond so many standard deviations from the mean a finer step for
// all the others is worth more than the few that are cut. For 8 bits that cuts nothing of a normal distribution; for 4
// bits it is the best uniform quantiser of one (Max, "Quantizing for minimum distortion", IRE Trans. 1960, table II).
// Under ip the far ends are those of long vectors, which are what is found: of 8 bits some are spared for them.
double deviations(std::uint32_t bits, Metric metric) { return bits == 4 ? 2.5 : metric == Metric::ip ? 24.0 : 6.0; }

// How far from the middle of its range, in half ranges, a dimension counts as within: where more is cut, vectors call
// for training. Of 4 bits some is cut of nearly every vector.
float furthest(std::uint32_t bits) { return bits == 4 ? 3.0f : 1.2f; }

// Beyond it floats are no longer whole numbers one by one.
constexpr float kLargestWhole = 0x1p23f;
// By so many standard deviations an error stays below the margin, nearly always.
constexpr float kDeviations = 2.5f;

// Where 256 whole numbers from each dimension's low on hold what is in `low` to `high` and likely the rows that were
// not looked at: all that bytes hold if these are bytes; else as much below as above.
std::vector<float> lows_of_whole(std::vector<float> low, const std::vector<float>& high) {
  const float lowest = *std::min_element(low.begin(), low.end()), highest = *std::max_element(high.begin(), high.end());
  for (const float first : {0.0f, -128.0f}) {
    if (lowest >= first && highest <= first + 255.0f) return std::vector<float>(low.size(), first);
  }
  for (std::size_t d = 0; d < low.size(); ++d) low[d] -= std::floor((255.0f - (high[d] - low[d])) / 2.0f);
  return low;
}

}  // namespace

ScalarCodec::ScalarCodec(Metric metric, std::uint32_t dim, std::uint32_t bits)
    : metric_(metric), dim_(dim), bits_(bits), row_bytes_((dim * bits + 7) / 8), low_(dim, 0.0f), step_(dim, 1.0f) {
  derive();
}

void ScalarCodec::derive() {
  middle_.resize(dim_);
  inverse_step_.resize(dim_);
  folded_.resize(dim_);
  folded_low_.resize(dim_);
  middle_step_.resize(dim_);
  double middle_low = 0;
  for (std::uint32_t d = 0; d < dim_; ++d) {
    middle_[d] = low_[d] + half() * step_[d];
    inverse_step_[d] = step_[d] > 0 ? 1.0f / step_[d] : 0.0f;
    folded_[d] = step_[d] * step_[d];
    folded_low_[d] = has_tail() ? -half() * folded_[d] : low_[d] * step_[d];
    middle_step_[d] = middle_[d] * step_[d];
    middle_low += static_cast<double>(middle_[d]) * low_[d];
  }
  middle_low_ = static_cast<float>(middle_low);
}

std::vector<float> ScalarCodec::params() const {
  std::vector<float> all(low_);
  all.insert(all.end(), step_.begin(), step_.end());
  if (whole_) all.push_back(1.0f);
  return all;
}

bool ScalarCodec::restore(std::span<const float> params) {
  const std::size_t n = 2 * std::size_t{dim_};
  if (params.size() != n && params.size() != n + 1) return false;
  whole_ = params.size() > n;
  low_.assign(params.begin(), params.begin() + dim_);
  step_.assign(params.begin() + dim_, params.begin() + static_cast<std::ptrdiff_t>(n));
  derive();
  const auto is_whole = [](float x) { return x == std::nearbyint(x); };
  if (whole_ && (bits_ != 8 || params.back() != 1.0f ||
                 std::any_of(step_.begin(), step_.end(), [](float s) { return s != 1.0f; }) ||
                 !std::all_of(low_.begin(), low_.end(), is_whole))) {
    return false;
  }
  return std::all_of(step_.begin(), step_.end(), [](float s) { return s >= 0; });
}

void ScalarCodec::train(const float* sample, std::size_t n) {
  std::vector<float> low(sample, sample + dim_), high(low);
  std::vector<double> sum(dim_), squares(dim_);
  bool whole = bits_ == 8;
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = sample + i * dim_;
    for (std::uint32_t d = 0; d < dim_; ++d) {
      low[d] = std::min(low[d], row[d]);
      high[d] = std::max(high[d], row[d]);
      sum[d] += row[d];
      squares[d] += static_cast<double>(row[d]) * row[d];
      whole &= row[d] == std::nearbyint(row[d]);
    }
  }
  for (std::uint32_t d = 0; d < dim_; ++d) whole &= high[d] - low[d] <= 255.0f && std::fabs(low[d]) <= kLargestWhole;
  whole_ = whole;
  if (whole_) {
    low_ = lows_of_whole(low, high);
    std::fill(step_.begin(), step_.end(), 1.0f);
    return derive();
  }
  const double most = deviations(bits_, metric_);
  const float levels = 2.0f * half() - 1.0f;
  for (std::uint32_t d = 0; d < dim_; ++d) {
    const double mean = sum[d] / static_cast<double>(n);
    const double deviation = std::sqrt(std::max(0.0, squares[d] / static_cast<double>(n) - mean * mean));
    low_[d] = std::max(low[d], static_cast<float>(mean - most * deviation));
    const float top = std::min(high[d], static_cast<float>(mean + most * deviation));
    step_[d] = std::max(0.0f, (top - low_[d]) / levels);
    // A range so small that its reciprocal is infinite is no range.
    if (!std::isfinite(1.0f / step_[d])) step_[d] = 0.0f;
  }
  derive();
}

bool ScalarCodec::encode(const float* vector, std::byte* code) const {
  constexpr std::uint32_t kChunk = 256;
  std::uint8_t values[kChunk];
  const auto top = static_cast<std::uint8_t>(2.0f * half() - 1.0f);
  std::memset(code, 0, code_bytes());
  auto* bytes = reinterpret_cast<std::uint8_t*>(code);
  const float within = furthest(bits_) * half();
  bool inside = true;
  float tail = 0.0f;
  for (std::uint32_t first = 0, n = 0; first < dim_; first += n) {
    const std::uint32_t field = first / row_bytes_, at = first % row_bytes_;
    n = std::min({kChunk, row_bytes_ - at, dim_ - first});
    simd::kernels().quantize_u8(vector + first, &low_[first], &inverse_step_[first], n, values);
    for (std::uint32_t i = 0; i < n; ++i) {
      const std::uint32_t d = first + i, c = std::min(values[i], top);
      bytes[at + i] |= static_cast<std::uint8_t>(c << field * bits_);
      const float offset = step_[d] * (static_cast<float>(c) - half());
      inside &= std::fabs(vector[d] - middle_[d]) <= within * step_[d] + 1e-6f * std::fabs(middle_[d]);
      if (whole_) inside &= low_[d] + static_cast<float>(c) == vector[d];
      tail += offset * offset;
    }
  }
  if (has_tail()) std::memcpy(code + tail_offset(), &tail, sizeof(tail));
  return inside;
}

bool ScalarCodec::decode(const std::byte* code, float* vector) const {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(code);
  const std::uint32_t mask = (1u << bits_) - 1;
  for (std::uint32_t d = 0; d < dim_; ++d) {
    const std::uint32_t c = (bytes[d % row_bytes_] >> (d / row_bytes_ * bits_)) & mask;
    vector[d] = middle_[d] + step_[d] * (static_cast<float>(c) - half());
  }
  float tail = 0.0f;
  if (has_tail()) std::memcpy(&tail, code + tail_offset(), sizeof tail);
  return std::isfinite(tail) && simd::kernels().first_nonfinite(vector, dim_) == dim_;
}

// As codes are compared with: rounded to the levels, each of which must be within half a step. The distance changes by
// 2 <rounded - x, lost>, for which the margin takes random directions and two vectors as far apart as any.
bool ScalarCodec::prepare_levels(const float* vector, QueryBuffer& buffer, Scan& scan) const {
  auto* levels = buffer.need<std::uint8_t>(dim_);
  simd::kernels().quantize_u8(vector, low_.data(), inverse_step_.data(), dim_, levels);
  float lost2 = 0.0f, norm2 = 0.0f;
  for (std::uint32_t d = 0; d < dim_; ++d) {
    const float level = static_cast<float>(levels[d]), lost = vector[d] - low_[d] - level;
    if (!(std::fabs(lost) <= 0.5f)) return false;
    lost2 += lost * lost;
    norm2 += (level - half()) * (level - half());
  }
  compare_levels(levels, scan);
  scan.query.a = lost2;
  scan.exact = lost2 == 0.0f;
  scan.margin = kDeviations * 2.0f * std::sqrt(2.0f * lost2 * norm2 / static_cast<float>(dim_));
  return true;
}

void ScalarCodec::compare_levels(const void* levels, Scan& scan) const {
  scan.query.data = levels;
  scan.rows.dim = row_bytes_;
  scan.scorer = simd::kernels().scorer(simd::Op::l2, simd::Pair::u8_u8, simd::Tail::none);
}

bool ScalarCodec::prepare_code(const std::byte* code, QueryBuffer& buffer, Scan& scan) const {
  if (bits_ != 8) return false;
  if (whole_ && has_tail()) {
    compare_levels(code, scan);
    return true;
  }
  const simd::Kernels& k = simd::kernels();
  float* folded = buffer.need_floats(dim_);
  k.affine_u8(reinterpret_cast<const std::uint8_t*>(code), folded_.data(), folded_low_.data(), dim_, folded);
  float constant;
  if (has_tail()) {
    std::memcpy(&constant, code + tail_offset(), sizeof constant);
  } else {
    simd::Rows one;
    one.data = code;
    one.dim = dim_;
    const simd::Query middle{middle_step_.data(), (metric_ == Metric::cosine ? 1.0f : 0.0f) - middle_low_, -1.0f};
    k.scorer(simd::Op::dot, simd::Pair::f32_u8, simd::Tail::none).range(middle, one, 0, 1, &constant);
  }
  round_folded(folded, constant, buffer, scan);
  return true;
}

void ScalarCodec::prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const {
  if (whole_ && has_tail() && prepare_levels(vector, buffer, scan)) return;
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
  round_folded(folded, constant, buffer, scan);
}

void ScalarCodec::round_folded(const float* folded, float constant, QueryBuffer& buffer, Scan& scan) const {
  const simd::Kernels& k = simd::kernels();
  const float largest = k.max_abs(folded, dim_);
  const float delta = largest / 127.0f;
  const std::uint32_t elements = row_bytes_ * 8 / bits_;
  auto* bytes = buffer.need<std::int8_t>(elements);
  std::fill(bytes + dim_, bytes + elements, std::int8_t{0});
  const std::int32_t total = k.quantize_i8(folded, dim_, delta > 0 ? 127.0f / largest : 0.0f, bytes);
  const float weight = has_tail() ? -2.0f : -1.0f;
  scan.query.data = bytes;
  scan.query.a = constant - weight * delta * half() * static_cast<float>(total);
  scan.query.b = weight * delta;
  scan.rows.dim = row_bytes_;
  // Codes that lose nothing have no error of their own: what is left is that of rounding the query, for codes that
  // are spread evenly.
  if (whole_ && has_tail()) {
    scan.margin = kDeviations * std::fabs(weight) * delta * half() * std::sqrt(static_cast<float>(dim_)) / 6.0f;
  }
  scan.scorer = k.scorer(simd::Op::dot, bits_ == 8 ? simd::Pair::q8_u8 : simd::Pair::q8_u4,
                         has_tail() ? simd::Tail::plus : simd::Tail::none);
}

}  // namespace annlib
