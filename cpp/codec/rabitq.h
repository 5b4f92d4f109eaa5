#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/codec.h"
#include "codec/rotation.h"

namespace annlib {

/// RaBitQ with 1 to 8 bits a dimension (Gao & Long, arXiv 2405.12497; Gao et al., arXiv 2409.09913). A code is of the
/// direction of o - c, where c is the mean of the training sample: after a random rotation P, r = P(o - c) becomes
/// x = u - h, u_i in 0 ... 2^bits - 1 and h = (2^bits - 1) / 2, chosen so that x points along r as nearly as it can.
/// Then, without bias,
///   <q - c, o - c> ~ f <x, q'>,    f = |r|^2 / <x, r>,    q' = P(q - c) ~ delta b, b signed bytes,
///   l2:      |q - o|^2 = |q - c|^2 + |o - c|^2 - 2 <q - c, o - c>
///   ip, cos: <q, o>    = <q, c> + <c, o - c> + <q - c, o - c>
/// which is Tail::affine: two floats with each code, and one integer product of codes and bytes.
///
/// The estimate of <q - c, o - c> is off by at most e0 |q - c| |o - c| sqrt((1 / cos^2 - 1) / (D - 1)), cos the cosine
/// of x and r, but for a probability that falls as exp(-e0^2) does (theorem 3.2 of the first paper); e0 = 1.9 there.
///
/// Fields of 3 bits are stored in 4, those of 5 to 7 in 8.
class RabitqCodec final : public Codec {
 public:
  RabitqCodec(Metric metric, std::uint32_t dim, std::uint32_t bits);

  /// "rabitq:4"
  std::string_view name() const override { return name_; }
  std::vector<float> params() const override;
  bool restore(std::span<const float> params) override;
  std::size_t code_bytes() const override { return row_bytes_ + 2 * sizeof(float); }
  std::uint32_t tail_offset() const override { return row_bytes_; }
  bool chooses_links() const override { return bits_ == 8; }
  void train(const float* sample, std::size_t n) override;
  bool encode(const float* vector, std::byte* code) const override;
  bool decode(const std::byte* code, float* vector) const override;
  void prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const override;

 private:
  struct Direction;
  void quantize(const float* vector, Direction& direction) const;

  std::string name_;
  Metric metric_;
  std::uint32_t dim_, bits_;
  std::uint32_t width_;  ///< bits in which a field is stored
  Rotation rotation_;
  std::uint32_t row_bytes_;  ///< of a code without its tail
  // the parameters
  std::vector<float> centroid_;
  float radius_ = 0;  ///< largest |o - c| of the sample
  float spread_ = 0;  ///< largest |o - c| sqrt(1 / cos^2 - 1) of the sample
};

}  // namespace annlib
