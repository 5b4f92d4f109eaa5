#pragma once

#include <cstdint>
#include <vector>

namespace annlib {

/// A pseudo-random rotation, after which every dimension carries about the same share of every vector: rounds of
/// random signs and a fast Hadamard transform (Ailon & Chazelle, "The fast Johnson-Lindenstrauss transform", SIAM J.
/// Comput. 2009). The dimension need not be a power of two: the transform takes the first and the last power of two
/// of the dimensions in turn, and a step of Kac's walk mixes the two halves after each.
///
/// A function of (dim, seed) alone, with the same bits on every instruction set. Thread-safe.
class Rotation {
 public:
  Rotation(std::uint32_t dim, std::uint64_t seed);

  /// Elements of an input.
  std::uint32_t dim() const { return dim_; }
  /// Elements of an output: dim rounded up to a multiple of 16. The input is continued with zeros.
  std::uint32_t padded() const { return padded_; }
  /// Keeps norms and inner products, up to rounding. `in` and `out` must not overlap.
  void apply(const float* in, float* out) const;
  /// Back again: `rotated` has padded() elements and is used up, `out` has dim().
  void undo(float* rotated, float* out) const;

 private:
  std::uint32_t dim_, padded_;
  std::uint32_t log2_block_;    ///< the transform takes 2^log2_block_ <= padded_ elements
  std::vector<float> factors_;  ///< by round: each element's sign, times the scales that make the round orthogonal
};

}  // namespace annlib
