#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "codec/rotation.h"

namespace annlib {

/// Elements that are treated alike: a group of dimensions after a rotation.
constexpr std::uint32_t kGroupDims = 4;
/// The most bits of a dimension.
constexpr std::uint32_t kMostBits = 12;

/// The best step of a uniform quantiser of 0 ... 12 bits for a normal distribution of variance 1, and its mean squared
/// error (Max, "Quantizing for minimum distortion", IRE Trans. 1960, and its continuation).
extern const double kNormalSteps[kMostBits + 1];
extern const double kNormalErrors[kMostBits + 1];

/// Bits a dimension for groups of these variances, greatest first, so that they average `bits`: one after another goes
/// where it lowers the sum of variance^1.5 times the relative error most (the errors' slopes fall with the bits, so
/// that this is the least there is). The exponent lies between 1, which would make the errors of the vectors least,
/// and 2, those of products with vectors of the same distribution: near neighbours are less random than that.
/// Descending. Dropping dimensions is a segment of 0 bits (Li et al., SAQ, arXiv 2509.12086, section 4).
std::vector<std::uint32_t> allocate_bits(std::span<const double> variances, std::uint32_t bits);

/// The coordinates in which a vector is coded: its principal axes, those that get equally many bits rotated among
/// themselves at random, so that they share their variance equally and errors have no direction. Where axes are not
/// worth learning, for few vectors or very many dimensions, a random rotation of all.
///
/// After learn() or restore() all members are const and thread-safe.
class Axes {
 public:
  /// `bits` a dimension on average.
  Axes(std::uint32_t dim, std::uint32_t bits);

  /// dim, rounded up to a multiple of 16: what `bits` is an average of.
  std::uint32_t padded() const { return rotation_.padded(); }
  /// From n vectors, n x dim, whose mean is `centroid`.
  void learn(const float* vectors, std::size_t n, const float* centroid);

  /// Coordinates that have any bits; a multiple of kGroupDims.
  std::uint32_t kept() const { return kept_; }
  /// The coordinates of a residual, kept() of them at least: `out` has room for padded().
  void apply(const float* residual, float* out) const;
  /// The residual with these coordinates and no others. Overwrites them: there are padded().
  void undo(float* coordinates, float* residual) const;
  /// Bits of each group's coordinates, descending, for all padded() coordinates.
  const std::vector<std::uint32_t>& bits() const { return bits_; }
  /// Standard deviation of each group's coordinates.
  const std::vector<float>& deviations() const { return deviations_; }

  /// As floats, and back: false unless append() could have given them, or they could make a number that is not finite.
  void append(std::vector<float>& params) const;
  bool restore(std::span<const float> params);

 private:
  void count_kept();

  std::uint32_t dim_, mean_bits_;
  Rotation rotation_;  ///< of all dimensions
  std::uint32_t kept_ = 0;
  std::vector<std::uint32_t> bits_;
  std::vector<float> deviations_;
  std::vector<float> rows_;  ///< kept x dim, or empty: rotation_ takes their place
};

}  // namespace annlib
