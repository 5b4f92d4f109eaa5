#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "codec/rotation.h"
#include "codec/space.h"
#include "core/buffer.h"
#include "core/types.h"
#include "simd/simd.h"
#include "table/table.h"

namespace annlib {

/// One bit a dimension for each neighbour of a node, relative to the node, so that a walk that knows how far a query is
/// from the node has an estimate for all its neighbours from one look at one stretch of memory (Gou et al.,
/// SymphonyQG, SIGMOD 2025, on the codes of Gao & Long, RaBitQ, SIGMOD 2024, arXiv 2405.12497).
///
/// With R a rotation, o a neighbour of c, r = R(o - c), s = sign(r): <r, Rp> ~ k <s, Rp> with k = |r|^2 / sum |r_i|,
/// which is without bias over random rotations, and its error shrinks with |r| |p| / sqrt(dim): so p should be short.
///   l2:      |q-o|^2 = |q-c|^2 + |r|^2 - 2 <r, R(q-c)> ~ |q-c|^2 + (|r|^2 + 2k <s, Rc>) - 2k <s, Rq>
///   cosine:  half of that, on vectors of unit length
///   ip:     -<q,o>   = -<q,c> - a <r, Rc> - <r, R(q - ac)> ~ -<q,c> - a (<r, Rc> - k <s, Rc>) - k <s, Rq>
/// where a = <q,c> / |c|^2, the share of q that lies along c; 1 / |c|^2 is kept before the first block. In all three,
/// what depends on the neighbour is two floats, one of them times a (or 1). <s, Rq> is summed from tables of four
/// dimensions each, over Rq in 7 bits.
///
/// const members may be called from any thread.
class NeighbourCodes {
 public:
  /// For lists of up to `width` neighbours of the table's rows.
  NeighbourCodes(const Table& table, std::uint32_t width);

  /// Of one node's codes, a multiple of 64: under ip a header, then blocks of simd::kBlockRows neighbours.
  std::size_t bytes() const { return header_bytes() + blocks_ * block_bytes(); }
  std::size_t blocks() const { return blocks_; }
  std::size_t header_bytes() const { return by_product() ? 64 : 0; }
  /// What a node's codes make of the query's distance to it: the `lean` of simd::ScanBlock.
  float lean(const std::byte* codes, float distance) const {
    if (!by_product()) return 1.0f;
    float reciprocal;
    std::memcpy(&reciprocal, codes, sizeof reciprocal);
    return -distance * reciprocal;
  }
  std::size_t block_bytes() const { return simd::block_bytes(rotation_.padded() / 4); }

  /// The query's tables; they lie in `buffer`.
  simd::BlockQuery prepare(const QueryView& query, QueryBuffer& buffer) const;

  /// Codes of `degree` neighbours of `node`, all of them slots of `rows`. Where numbers do not fit a float the codes
  /// are marked as invalid.
  void encode(const Space& rows, Slot node, const Slot* neighbours, std::uint32_t degree, std::byte* codes,
              QueryBuffer& buffer) const;

  /// What codes lie around: a vector, as it is and rotated.
  struct Center {
    const float* vector;
    const float* rotated;
  };
  /// Floats of memory for center(), and for put().
  std::size_t center_floats() const { return rotation_.padded(); }
  std::size_t put_floats() const { return table_->dim() + rotation_.padded() + rotation_.padded() / 16; }
  Center center(const float* vector, float* memory) const {
    rotation_.apply(vector, memory);
    return {vector, memory};
  }
  /// What lean() goes by, in the header of codes around a vector; nothing but under ip.
  void put_header(const float* center, std::byte* codes) const;
  /// The code of a vector in a place of a block that is zero there; false where its numbers do not fit a float. It says
  /// then, but under ip, that the vector is near whatever it is compared with.
  bool put(const Center& center, const float* vector, std::byte* block, std::uint32_t place, float* memory) const;
  /// Copies one code, to a place that may hold another.
  void move(const std::byte* from, std::uint32_t from_place, std::byte* to, std::uint32_t to_place) const;
  /// Makes a place zero.
  void clear(std::byte* block, std::uint32_t place) const;

  /// Codes whose neighbours changed. The mark is a NaN in the first float: who looks at codes has it at hand.
  static void invalidate(std::byte* codes);
  static bool valid(const std::byte* codes) {
    float first;
    std::memcpy(&first, codes, sizeof first);
    return first == first;
  }

 private:
  bool by_product() const { return table_->metric() == Metric::ip; }

  const Table* table_;
  Rotation rotation_;
  std::size_t blocks_;
};

}  // namespace annlib
