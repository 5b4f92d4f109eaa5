#include "codec/neighbour_codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "table/vectors.h"

namespace annlib {
namespace {

// One rotation for all indexes: that it is random serves data that was not made with it in mind.
constexpr std::uint64_t kRotationSeed = 0x5eed;
// Four entries of at most so much fill a byte.
constexpr float kQueryLevels = 63.0f;

void scale(float* x, std::uint32_t n, float by) {
  for (std::uint32_t i = 0; i < n; ++i) x[i] *= by;
}

}  // namespace

NeighbourCodes::NeighbourCodes(const Table& table, std::uint32_t width)
    : table_(&table),
      rotation_(table.dim(), kRotationSeed),
      blocks_((width + simd::kBlockRows - 1) / simd::kBlockRows) {}

simd::BlockQuery NeighbourCodes::prepare(const QueryView& query, QueryBuffer& buffer) const {
  const simd::Kernels& k = simd::kernels();
  const std::uint32_t dim = table_->dim(), padded = rotation_.padded();
  float* wide = buffer.need_floats(dim + padded);
  float* rotated = wide + dim;
  widen(query.data, query.dtype, dim, wide);
  if (table_->metric() == Metric::cosine) {
    const float sum = k.norm2(wide, dim);
    if (sum > 0) scale(wide, dim, 1.0f / std::sqrt(sum));
  }
  rotation_.apply(wide, rotated);
  const float largest = k.max_abs(rotated, padded);
  auto* tables = buffer.need<std::uint8_t>(5 * std::size_t{padded});
  auto* levels = reinterpret_cast<std::int8_t*>(tables + 4 * std::size_t{padded});
  const std::int32_t total = k.quantize_i8(rotated, padded, largest > 0 ? kQueryLevels / largest : 0.0f, levels);
  // What a negative element adds where its bit is set is taken out everywhere: entries are never negative.
  const std::int32_t below = k.sign_tables(levels, padded, tables);
  // <s, Rq> = 2 (what set bits add) - (what all would add)
  const float step = largest / kQueryLevels;
  return {tables, padded / 4, 2.0f * step, step * static_cast<float>(2 * below - total)};
}

void NeighbourCodes::encode(const Space& rows, Slot node, const Slot* neighbours, std::uint32_t degree,
                            std::byte* codes, QueryBuffer& buffer) const {
  const simd::Kernels& k = simd::kernels();
  const std::uint32_t dim = table_->dim(), padded = rotation_.padded();
  float* center = buffer.need_floats(2 * std::size_t{dim} + 2 * std::size_t{padded});
  float* residual = center + dim;
  float* rotated_center = residual + dim;
  float* rotated = rotated_center + padded;
  auto* signs = buffer.need<std::uint8_t>(padded / 4);
  rows.load(node, center);
  rotation_.apply(center, rotated_center);
  std::fill_n(codes, bytes(), std::byte{0});
  bool finite = true;
  simd::Rows one;
  one.data = reinterpret_cast<const std::byte*>(rotated);
  one.dim = padded;
  const simd::Scorer dot = k.scorer(simd::Op::dot, simd::Pair::f32_f32, simd::Tail::none);
  if (by_product()) {
    const float norm2 = k.norm2(center, dim);
    const float reciprocal = norm2 > 0 && std::isfinite(1.0f / norm2) ? 1.0f / norm2 : 0.0f;
    std::memcpy(codes, &reciprocal, sizeof reciprocal);
  }
  for (std::uint32_t j = 0; j < degree; ++j) {
    std::byte* block = codes + header_bytes() + j / simd::kBlockRows * block_bytes();
    const std::uint32_t place = j % simd::kBlockRows;
    rows.load(neighbours[j], residual);
    for (std::uint32_t i = 0; i < dim; ++i) residual[i] -= center[i];
    rotation_.apply(residual, rotated);
    const simd::SignSums sums = k.sign_codes(rotated, rotated_center, padded, signs);
    const float norm2 = k.norm2(residual, dim);
    const float factor = sums.magnitude > 0 ? norm2 / sums.magnitude : 0.0f;
    float add, times;
    if (by_product()) {
      dot.range({rotated_center, 0.0f, 1.0f}, one, 0, 1, &add);
      add = factor * sums.other - add;
      times = -factor;
    } else {
      const float part = table_->metric() == Metric::l2 ? 1.0f : 0.5f;
      add = part * (norm2 + 2.0f * factor * sums.other);
      times = -2.0f * part * factor;
    }
    finite &= std::isfinite(add) && std::isfinite(times);
    auto* factors = reinterpret_cast<float*>(block);
    factors[place] = add;
    factors[simd::kBlockRows + place] = times;
    std::byte* nibbles = block + simd::kBlockFactorBytes + place % 16;
    const int shift = place < 16 ? 0 : 4;
    for (std::uint32_t t = 0; t < padded / 4; ++t) nibbles[16 * t] |= std::byte(signs[t] << shift);
  }
  if (!finite) invalidate(codes);
}

void NeighbourCodes::invalidate(std::byte* codes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(codes, &nan, sizeof nan);
}

}  // namespace annlib
