#include "codec/rotation.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/random.h"
#include "simd/simd.h"

namespace annlib {
namespace {

constexpr std::uint32_t kRounds = 4;
constexpr std::uint32_t kMultiple = 16;

/// Where the transform of a round begins: the first elements in even rounds, the last ones in odd rounds.
std::uint32_t block_begin(std::uint32_t round, std::uint32_t padded, std::uint32_t block) {
  return round % 2 == 0 ? 0 : padded - block;
}

void mix_halves(float* x, std::uint32_t n) {
  float *low = x, *high = x + n / 2;
  for (std::uint32_t i = 0; i < n / 2; ++i) {
    const float a = low[i], b = high[i];
    low[i] = a + b;
    high[i] = a - b;
  }
}

}  // namespace

Rotation::Rotation(std::uint32_t dim, std::uint64_t seed)
    : dim_(dim),
      padded_((dim + kMultiple - 1) / kMultiple * kMultiple),
      log2_block_(static_cast<std::uint32_t>(std::bit_width(padded_)) - 1),
      factors_(std::size_t{kRounds} * padded_) {
  const std::uint32_t block = 1u << log2_block_;
  const float transformed = 1.0f / std::sqrt(static_cast<float>(block));
  const float mixed = block == padded_ ? 1.0f : std::sqrt(0.5f);
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const std::uint32_t begin = block_begin(round, padded_, block);
    for (std::uint32_t i = 0; i < padded_; ++i) {
      const float sign = random64(seed, round, i) >> 63 != 0 ? -1.0f : 1.0f;
      const bool inside = i >= begin && i < begin + block;
      factors_[round * padded_ + i] = sign * mixed * (inside ? transformed : 1.0f);
    }
  }
}

void Rotation::apply(const float* in, float* out) const {
  const std::uint32_t block = 1u << log2_block_;
  std::copy_n(in, dim_, out);
  std::fill(out + dim_, out + padded_, 0.0f);
  const float* factors = factors_.data();
  for (std::uint32_t round = 0; round < kRounds; ++round, factors += padded_) {
    for (std::uint32_t i = 0; i < padded_; ++i) out[i] *= factors[i];
    simd::kernels().fht(out + block_begin(round, padded_, block), log2_block_);
    if (block != padded_) mix_halves(out, padded_);
  }
}

// Each step of a round is symmetric, and the round as a whole orthogonal: backwards it is the inverse.
void Rotation::undo(float* rotated, float* out) const {
  const std::uint32_t block = 1u << log2_block_;
  for (std::uint32_t round = kRounds; round-- > 0;) {
    if (block != padded_) mix_halves(rotated, padded_);
    simd::kernels().fht(rotated + block_begin(round, padded_, block), log2_block_);
    const float* factors = factors_.data() + round * padded_;
    for (std::uint32_t i = 0; i < padded_; ++i) rotated[i] *= factors[i];
  }
  std::copy_n(rotated, dim_, out);
}

}  // namespace annlib
