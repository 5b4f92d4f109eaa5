#pragma once

#include <cstddef>
#include <cstdint>

#include "codec/rotation.h"
#include "codec/sign_blocks.h"
#include "codec/space.h"
#include "core/types.h"
#include "simd/simd.h"

namespace annlib {

/// One bit a dimension of where a vector o lies from the centroid c of its list (Gao & Long, RaBitQ, SIGMOD 2024,
/// arXiv 2405.12497), against a query q of which all lists share one set of tables. With R a rotation, r = R(o - c) and
/// s = sign(r): <r, Rp> ~ k <s, Rp> with k = |r|^2 / sum |r_i|, which is without bias over random rotations.
///   l2:      |q-o|^2 ~ |q-c|^2 + (|r|^2 + 2k <s, Rc>) - 2k <s, Rq>
///   cosine:  half of that, on vectors of unit length; centroids are means of them, and shorter
///   ip:     -<q,o>   ~ -<q,c> - k <s, Rq>, whose error grows with q and not with q - c
///
/// Thread-safe.
class ListCodes {
 public:
  ListCodes(std::uint32_t dim, Metric metric) : rotation_(dim, kSignRotationSeed), metric_(metric) {}

  std::size_t tables() const { return rotation_.padded() / 4; }
  std::size_t block_bytes() const { return simd::block_bytes(tables()); }
  /// Of a squared distance, what the metric's is.
  float part() const { return metric_ == Metric::cosine ? 0.5f : 1.0f; }

  /// A vector as lists see it: float32, under cosine of unit length (or zero).
  void load(const void* row, DType dtype, float* out) const;
  /// The tables of a query, loaded so, lie in `buffer`.
  simd::BlockQuery prepare(const float* query, QueryBuffer& buffer) const;

  struct Center {
    const float* vector;
    const float* rotated;
  };
  /// Floats of memory for center(), and for encode().
  std::size_t center_floats() const { return rotation_.padded(); }
  std::size_t put_floats() const { return rotation_.dim() + rotation_.padded() + rotation_.padded() / 16; }
  Center center(const float* vector, float* memory) const {
    rotation_.apply(vector, memory);
    return {vector, memory};
  }
  /// What a place of a block holds.
  struct Code {
    float add, times;
    const std::uint8_t* signs;  ///< tables() fields of four, in `memory`
  };
  /// Where the numbers of a vector do not fit a float its code says that it is near whatever it is compared with.
  Code encode(const Center& center, const float* vector, float* memory) const;
  /// Puts a code in a place of a block that is zero there.
  void put(const Code& code, std::byte* block, std::uint32_t place) const {
    store_sign_code(block, place, tables(), code.add, code.times, code.signs);
  }

 private:
  Rotation rotation_;
  Metric metric_;
};

}  // namespace annlib
