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

void NeighbourCodes::put_header(const float* center, std::byte* codes) const {
  if (!by_product()) return;
  const float norm2 = simd::kernels().norm2(center, table_->dim());
  const float reciprocal = norm2 > 0 && std::isfinite(1.0f / norm2) ? 1.0f / norm2 : 0.0f;
  std::memcpy(codes, &reciprocal, sizeof reciprocal);
}

bool NeighbourCodes::put(const Center& center, const float* vector, std::byte* block, std::uint32_t place,
                         float* memory) const {
  const simd::Kernels& k = simd::kernels();
  const std::uint32_t dim = table_->dim(), padded = rotation_.padded();
  float* residual = memory;
  float* rotated = residual + dim;
  auto* signs = reinterpret_cast<std::uint8_t*>(rotated + padded);
  for (std::uint32_t i = 0; i < dim; ++i) residual[i] = vector[i] - center.vector[i];
  rotation_.apply(residual, rotated);
  const simd::SignSums sums = k.sign_codes(rotated, center.rotated, padded, signs);
  const float norm2 = k.norm2(residual, dim);
  const float factor = sums.magnitude > 0 ? norm2 / sums.magnitude : 0.0f;
  float add, times;
  if (by_product()) {
    simd::Rows one;
    one.data = reinterpret_cast<const std::byte*>(rotated);
    one.dim = padded;
    const simd::Scorer dot = k.scorer(simd::Op::dot, simd::Pair::f32_f32, simd::Tail::none);
    dot.range({center.rotated, 0.0f, 1.0f}, one, 0, 1, &add);
    add = factor * sums.other - add;
    times = -factor;
  } else {
    const float part = table_->metric() == Metric::l2 ? 1.0f : 0.5f;
    add = part * (norm2 + 2.0f * factor * sums.other);
    times = -2.0f * part * factor;
  }
  const bool finite = std::isfinite(add) && std::isfinite(times);
  auto* factors = reinterpret_cast<float*>(block);
  factors[place] = finite ? add : std::numeric_limits<float>::lowest();
  factors[simd::kBlockRows + place] = finite ? times : 0.0f;
  std::byte* nibbles = block + simd::kBlockFactorBytes + place % 16;
  const int shift = place < 16 ? 0 : 4;
  for (std::uint32_t t = 0; t < padded / 4; ++t) nibbles[16 * t] |= std::byte(signs[t] << shift);
  return finite;
}

void NeighbourCodes::clear(std::byte* block, std::uint32_t place) const {
  auto* factors = reinterpret_cast<float*>(block);
  factors[place] = 0;
  factors[simd::kBlockRows + place] = 0;
  std::byte* nibbles = block + simd::kBlockFactorBytes + place % 16;
  const std::byte others = place < 16 ? std::byte{0xF0} : std::byte{0x0F};
  for (std::uint32_t t = 0; t < rotation_.padded() / 4; ++t) nibbles[16 * t] &= others;
}

void NeighbourCodes::move(const std::byte* from, std::uint32_t from_place, std::byte* to,
                          std::uint32_t to_place) const {
  const auto* old = reinterpret_cast<const float*>(from);
  const float add = old[from_place], times = old[simd::kBlockRows + from_place];
  const std::byte* source = from + simd::kBlockFactorBytes + from_place % 16;
  const int down = from_place < 16 ? 0 : 4, up = to_place < 16 ? 0 : 4;
  std::byte* target = to + simd::kBlockFactorBytes + to_place % 16;
  for (std::uint32_t t = 0; t < rotation_.padded() / 4; ++t) {
    const std::byte code = source[16 * t] >> down & std::byte{15};
    target[16 * t] = (target[16 * t] & std::byte(0xF0 >> up)) | code << up;
  }
  auto* factors = reinterpret_cast<float*>(to);
  factors[to_place] = add;
  factors[simd::kBlockRows + to_place] = times;
}

void NeighbourCodes::encode(const Space& rows, Slot node, const Slot* neighbours, std::uint32_t degree,
                            std::byte* codes, QueryBuffer& buffer) const {
  const std::uint32_t dim = table_->dim();
  float* vector = buffer.need_floats(2 * std::size_t{dim} + center_floats() + put_floats());
  float* neighbour = vector + dim;
  float* memory = neighbour + dim + center_floats();
  rows.load(node, vector);
  const Center around = center(vector, neighbour + dim);
  std::fill_n(codes, bytes(), std::byte{0});
  put_header(vector, codes);
  bool finite = true;
  for (std::uint32_t j = 0; j < degree; ++j) {
    std::byte* block = codes + header_bytes() + j / simd::kBlockRows * block_bytes();
    rows.load(neighbours[j], neighbour);
    finite &= put(around, neighbour, block, j % simd::kBlockRows, memory);
  }
  if (!finite) invalidate(codes);
}

void NeighbourCodes::invalidate(std::byte* codes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(codes, &nan, sizeof nan);
}

}  // namespace annlib
