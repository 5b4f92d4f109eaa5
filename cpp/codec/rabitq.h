#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/axes.h"
#include "codec/codec.h"

namespace annlib {

/// RaBitQ (Gao & Long, arXiv 2405.12497; with more than one bit Gao et al., arXiv 2409.09913) on principal axes, with
/// more bits where there is more variance (after Li et al., SAQ, arXiv 2509.12086). `bits` a dimension is the average.
///
/// A code is of the direction of o - c, where c is the mean of the training sample. In the coordinates of Axes, those
/// without bits left out, r = P(o - c) becomes x, x_i = s_i (u_i - h_i), u_i in 0 ... 2^b_i - 1 and h_i = (2^b_i - 1) /
/// 2, where the steps s_i and bits b_i belong to the codec and u is chosen so that x points along r as nearly as it
/// can. Then
///   <q - tc, o - c> ~ f <x, q'>,    f = |r|^2 / <x, r>,    q' = P(q - tc)
///   l2:      |q - o|^2 = |q - c|^2 + |o - c|^2 - 2 <q - c, o - c>,    t = 1
///   ip, cos: <q, o>    = <q, c> + t <c, o - c> + <q - tc, o - c>,     t = <q, c> / |c|^2
/// where t makes q' as short as can be, and errors in its proportion, however long q is; which is Tail::affine: two
/// floats with each code, of few bits Tail::halves. The error f x - r is at a right angle to r, and what is left out is
/// as often above as below zero: without bias over the queries.
///
/// Fields of b_i bits are cut into planes of 8, 4, 2 and 1 bits, as b_i is a sum of those, and each plane of a code is
/// one integer product with q' in signed bytes, that of 8 bits two: with the bytes and with what their rounding left.
///
/// The estimate's error for a query has a variance of the sum of e_g^2 |q'_g|^2 over groups of coordinates, e_g the
/// error of a coordinate of the sample. The bound is two deviations of the sample's worst code; the first paper's (1.9
/// of one random rotation, theorem 3.2) knows no axes.
class RabitqCodec final : public Codec {
 public:
  RabitqCodec(Metric metric, std::uint32_t dim, std::uint32_t bits);

  /// "rabitq:4"
  std::string_view name() const override { return name_; }
  std::vector<float> params() const override;
  bool restore(std::span<const float> params) override;
  std::size_t code_bytes() const override { return row_bytes_ + (halves() ? 4 : 8); }
  std::uint32_t tail_offset() const override { return row_bytes_; }
  bool chooses_links() const override { return bits_ == 8; }
  void train(const float* sample, std::size_t n) override;
  bool encode(const float* vector, std::byte* code) const override;
  bool decode(const std::byte* code, float* vector) const override;
  void prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const override;

 private:
  struct Direction;
  /// A coordinate's bits from `shift` on.
  struct Field {
    std::uint32_t coordinate, shift;
  };
  /// All fields of one width, and the bytes of a code that they lie in.
  struct Plane {
    std::uint32_t width, offset, bytes;
    std::vector<Field> fields;
  };

  /// Whether the tail is in half precision. Of vectors far from c that costs more than codes of more bits are off by.
  bool halves() const { return bits_ <= 2; }
  void derive();
  void measure(const float* sample, std::size_t n);
  void quantize(const float* vector, Direction& direction) const;
  /// What a code adds to a distance whatever the query.
  double constant(const Direction& direction) const;
  /// t of a query, not under l2.
  float lean_of(const float* vector) const;
  /// Of the error of an estimate of <q - c, o - c>.
  double bound(const float* coordinates, double norm2, double rounding2) const;

  std::string name_;
  Metric metric_;
  std::uint32_t dim_, bits_;
  std::uint32_t row_bytes_;  ///< of a code without its tail
  // the parameters
  std::vector<float> centroid_;
  float unit_ = 1;    ///< of the first half of a tail: a power of two
  float radius_ = 0;  ///< largest |o - c| of the sample
  float worst_ = 0;   ///< largest |f x - r| of the sample
  Axes axes_;
  std::vector<float> errors_;  ///< e_g
  // derived
  std::vector<Plane> planes_;  ///< widest first
  std::vector<float> steps_;   ///< s_i
};

}  // namespace annlib
