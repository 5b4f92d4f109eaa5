#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "codec/space.h"
#include "core/types.h"
#include "graph/layer.h"

namespace annlib {

/// A graph over some nodes of an index alone. Its members go by numbers of their own, in building order: the first are
/// a random sample, and searches begin at some of them instead of walking down layers.
struct Subgraph {
  std::span<const Slot> members;  ///< the slot of each
  Layer layer;                    ///< its lists, of members

  /// So many members, where there are as many, are entered by a search.
  static constexpr Slot kEntries = 32;
  Slot entries() const { return std::min(kEntries, static_cast<Slot>(members.size())); }
};

/// Scores members of a sub-graph as a Scan of the index's rows does.
class MemberScan {
 public:
  MemberScan(const Scan& scan, std::span<const Slot> members, std::vector<Slot>& buffer)
      : scan_(scan), members_(members), buffer_(buffer) {}

  void score(const Slot* numbers, std::size_t n, float* out) const {
    if (buffer_.size() < n) buffer_.resize(n);
    for (std::size_t i = 0; i < n; ++i) buffer_[i] = members_[numbers[i]];
    scan_.score(buffer_.data(), n, out);
  }

 private:
  const Scan& scan_;
  std::span<const Slot> members_;
  std::vector<Slot>& buffer_;
};

}  // namespace annlib
