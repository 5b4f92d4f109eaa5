#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "codec/rotation.h"
#include "codec/sign_blocks.h"
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
/// A neighbour o of a node c is coded as u = o - b c, and a query taken to lie at g, so that what is estimated is the
/// product of two short vectors: <q, o> = b <q, c> + <g, u> + <q - g, u>, of which only the last is not known. With R a
/// rotation, v = Ru and s = sign(v): <u, p> ~ k <s, Rp> with k = |u|^2 / sum |v_i|, which is without bias over random
/// rotations, and its error shrinks with |u| |p| / sqrt(dim). (There, u = o - c and g = c, which makes both longer.)
///
///   l2:      |q-o|^2 ~ b |q-c|^2 + (1-b) |q|^2 + (|o|^2 - b |c|^2 - 2 <g, u> + 2k <s, Rg>) - 2k <s, Rq>
///            with all vectors relative to the mean of the data, b one share for all, and g the mean of c's
///            neighbours, each weighted by 1 / |o-c|^2: a single far one does not pull it away from all others
///   cosine:  half of that, on vectors of unit length
///   ip:     -<q,o>   ~ -<q,c> - a (<o-c, c> - k <s, Rc>) - k <s, Rq>
///            with b = <o,c> / |c|^2, a = <q,c> / |c|^2 and g = ac: queries may be of any length. 1 / |c|^2 is kept
///            before the first block
///
/// In all three, what depends on the neighbour is two floats, one of them times a (or 1). <s, Rq> is summed from tables
/// of four dimensions each, over Rq in 7 bits.
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

  /// Learns the mean of `sample` and the share from `edges`, pairs of slots that are not equal vectors; without it they
  /// are 0 and 1. Codes that were made before are void. Not beside other calls.
  void learn(const Space& rows, std::span<const Slot> sample, std::span<const std::pair<Slot, Slot>> edges);

  /// What was learnt, as floats, and back: false unless params() could have given them.
  std::vector<float> params() const;
  bool restore(std::span<const float> params);

  /// A query, and what a node's distance is for the estimates of its neighbours.
  struct Query {
    simd::BlockQuery tables;
    float share, plus;
    float length;  ///< of the query; 0 but under ip
    float base(float distance) const { return share * distance + plus; }
  };
  /// The tables lie in `buffer`.
  Query prepare(const QueryView& query, QueryBuffer& buffer) const;

  /// Codes of `degree` neighbours of `node`, all of them slots of `rows`. Where numbers do not fit a float the codes
  /// are marked as invalid.
  void encode(const Space& rows, Slot node, const Slot* neighbours, std::uint32_t degree, std::byte* codes,
              QueryBuffer& buffer) const;

  /// Codes whose neighbours changed. The mark is a NaN in the first float: who looks at codes has it at hand.
  static void invalidate(std::byte* codes);
  static bool valid(const std::byte* codes) {
    float first;
    std::memcpy(&first, codes, sizeof first);
    return first == first;
  }

 private:
  bool by_product() const { return table_->metric() == Metric::ip; }
  /// Of a squared distance, what the metric's is.
  float part() const { return table_->metric() == Metric::cosine ? 0.5f : 1.0f; }
  /// g, of a node and the neighbours' differences from it, `degree` x dim.
  void expect_query(const float* center, const float* residuals, std::uint32_t degree, float* expected) const;

  const Table* table_;
  Rotation rotation_;
  std::size_t blocks_;
  std::vector<float> mean_;
  float share_ = 1.0f;
};

}  // namespace annlib
