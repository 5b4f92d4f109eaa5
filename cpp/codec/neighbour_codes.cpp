#include "codec/neighbour_codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "table/vectors.h"

namespace annlib {
namespace {

void scale(float* x, std::uint32_t n, float by) {
  for (std::uint32_t i = 0; i < n; ++i) x[i] *= by;
}

}  // namespace

NeighbourCodes::NeighbourCodes(const Table& table, std::uint32_t width)
    : table_(&table),
      rotation_(table.dim(), kSignRotationSeed),
      blocks_((width + simd::kBlockRows - 1) / simd::kBlockRows),
      mean_(table.dim()) {}

void NeighbourCodes::learn(const Space& rows, std::span<const Slot> sample,
                           std::span<const std::pair<Slot, Slot>> edges) {
  if (by_product() || sample.empty()) return;
  const std::uint32_t dim = table_->dim();
  std::vector<float> row(dim), other(dim);
  std::vector<double> sum(dim);
  for (Slot slot : sample) {
    rows.load(slot, row.data());
    for (std::uint32_t i = 0; i < dim; ++i) sum[i] += row[i];
  }
  for (std::uint32_t i = 0; i < dim; ++i) mean_[i] = static_cast<float>(sum[i] / static_cast<double>(sample.size()));
  // Of all shares the one that makes |u|^2 / |o-c|^2 least on average. Relative to |o-c|, for what would serve distant
  // neighbours well, might drown the near ones of a dense region.
  double along = 0, squares = 0;
  for (const auto& [node, neighbour] : edges) {
    rows.load(node, row.data());
    rows.load(neighbour, other.data());
    double product = 0, norm2 = 0, length2 = 0;
    for (std::uint32_t i = 0; i < dim; ++i) {
      const double c = row[i] - mean_[i], r = other[i] - row[i];
      product += r * c;
      norm2 += c * c;
      length2 += r * r;
    }
    if (!(length2 > 0)) continue;
    along += product / length2;
    squares += norm2 / length2;
  }
  const double share = squares > 0 ? 1.0 + along / squares : 1.0;
  const auto finite = [](float x) { return std::isfinite(x); };
  if (std::isfinite(share) && std::all_of(mean_.begin(), mean_.end(), finite)) {
    share_ = static_cast<float>(std::clamp(share, 0.0, 1.0));
  } else {
    std::fill(mean_.begin(), mean_.end(), 0.0f);
    share_ = 1.0f;
  }
}

std::vector<float> NeighbourCodes::params() const {
  std::vector<float> params(mean_);
  params.push_back(share_);
  return params;
}

bool NeighbourCodes::restore(std::span<const float> params) {
  const auto finite = [](float x) { return std::isfinite(x); };
  if (params.size() != mean_.size() + 1 || !std::all_of(params.begin(), params.end(), finite)) return false;
  if (!(params.back() >= 0 && params.back() <= 1)) return false;
  mean_.assign(params.begin(), params.end() - 1);
  share_ = params.back();
  return true;
}

NeighbourCodes::Query NeighbourCodes::prepare(const QueryView& query, QueryBuffer& buffer) const {
  const simd::Kernels& k = simd::kernels();
  const std::uint32_t dim = table_->dim(), padded = rotation_.padded();
  float* wide = buffer.need_floats(dim + padded);
  float* rotated = wide + dim;
  widen(query.data, query.dtype, dim, wide);
  if (table_->metric() == Metric::cosine) {
    const float sum = k.norm2(wide, dim);
    if (sum > 0) scale(wide, dim, 1.0f / std::sqrt(sum));
  }
  const float length = by_product() ? std::sqrt(k.norm2(wide, dim)) : 0.0f;
  for (std::uint32_t i = 0; i < dim; ++i) wide[i] -= mean_[i];
  const float plus = share_ < 1 ? part() * (1.0f - share_) * k.norm2(wide, dim) : 0.0f;
  return {sign_query(rotation_, wide, rotated, buffer), share_, plus, length};
}

void NeighbourCodes::expect_query(const float* center, const float* residuals, std::uint32_t degree,
                                  float* expected) const {
  const std::uint32_t dim = table_->dim();
  std::copy_n(center, dim, expected);
  if (by_product()) return;
  std::vector<float> weights(degree);
  float sum = 0;
  for (std::uint32_t j = 0; j < degree; ++j) {
    const float length2 = simd::kernels().norm2(residuals + j * std::size_t{dim}, dim);
    if (length2 > 0) weights[j] = 1.0f / length2;
    sum += weights[j];
  }
  if (!(sum > 0 && std::isfinite(sum))) return;
  for (std::uint32_t j = 0; j < degree; ++j) {
    for (std::uint32_t i = 0; i < dim; ++i) expected[i] += weights[j] / sum * residuals[j * std::size_t{dim} + i];
  }
}

void NeighbourCodes::encode(const Space& rows, Slot node, const Slot* neighbours, std::uint32_t degree,
                            std::byte* codes, QueryBuffer& buffer) const {
  const simd::Kernels& k = simd::kernels();
  const std::uint32_t dim = table_->dim(), padded = rotation_.padded();
  float* center = buffer.need_floats((degree + 2) * std::size_t{dim} + 2 * std::size_t{padded});
  float* residuals = center + dim;
  float* expected = residuals + degree * std::size_t{dim};  // g
  float* rotated_expected = expected + dim;
  float* rotated = rotated_expected + padded;
  auto* signs = buffer.need<std::uint8_t>(padded / 4);
  const simd::Scorer dot = k.scorer(simd::Op::dot, simd::Pair::f32_f32, simd::Tail::none);
  const auto product = [&](const float* a, const float* b) {
    simd::Rows one;
    one.data = reinterpret_cast<const std::byte*>(b);
    one.dim = dim;
    float sum;
    dot.range({a, 0.0f, 1.0f}, one, 0, 1, &sum);
    return sum;
  };
  rows.load(node, center);
  for (std::uint32_t j = 0; j < degree; ++j) {
    float* residual = residuals + j * std::size_t{dim};
    rows.load(neighbours[j], residual);
    for (std::uint32_t i = 0; i < dim; ++i) residual[i] -= center[i];
  }
  for (std::uint32_t i = 0; i < dim; ++i) center[i] -= mean_[i];
  expect_query(center, residuals, degree, expected);
  rotation_.apply(expected, rotated_expected);
  std::fill_n(codes, bytes(), std::byte{0});
  bool finite = true;
  const float norm2 = product(center, center);
  const float reciprocal = norm2 > 0 && std::isfinite(1.0f / norm2) ? 1.0f / norm2 : 0.0f;
  if (by_product()) std::memcpy(codes, &reciprocal, sizeof reciprocal);
  for (std::uint32_t j = 0; j < degree; ++j) {
    std::byte* block = codes + header_bytes() + j / simd::kBlockRows * block_bytes();
    const std::uint32_t place = j % simd::kBlockRows;
    float* u = residuals + j * std::size_t{dim};
    const float along = product(u, center);
    const float rest = by_product() ? -along * reciprocal : 1.0f - share_;
    for (std::uint32_t i = 0; i < dim; ++i) u[i] += rest * center[i];
    rotation_.apply(u, rotated);
    const simd::SignSums sums = k.sign_codes(rotated, rotated_expected, padded, signs);
    const float length2 = product(u, u);
    const float factor = sums.magnitude > 0 ? length2 / sums.magnitude : 0.0f;
    float add, times;
    if (by_product()) {
      add = factor * sums.other - along;
      times = -factor;
    } else {
      // |o|^2 - b |c|^2, without the difference of two long vectors' lengths
      const float lengths = length2 + share_ * (2.0f * product(u, center) - rest * norm2);
      add = part() * (lengths + 2.0f * (factor * sums.other - product(u, expected)));
      times = -2.0f * part() * factor;
    }
    finite &= std::isfinite(add) && std::isfinite(times);
    store_sign_code(block, place, padded / 4, add, times, signs);
  }
  if (!finite) invalidate(codes);
}

void NeighbourCodes::invalidate(std::byte* codes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(codes, &nan, sizeof nan);
}

}  // namespace annlib
