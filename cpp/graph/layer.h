#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec/neighbour_codes.h"
#include "core/types.h"

namespace annlib {

/// The adjacency lists of one layer, seen as rows of `width` slots; a list shorter than that ends at kNoSlot. On the
/// bottom layer a slot's row is its own number; above it `at` tells where the node's rows begin, one for each of its
/// upper layers. Rows lie `stride` slots apart: what is left behind a list are the codes of its neighbours
/// (codec/neighbour_codes.h), if the layer has any. While a graph is built, `distances` holds the length of every edge
/// beside it (else nullptr).
struct Layer {
  Slot* slots = nullptr;
  float* distances = nullptr;
  std::uint32_t width = 0;
  std::size_t stride = 0;
  const std::uint32_t* at = nullptr;
  std::uint32_t level = 0;               ///< 0 is the bottom
  std::vector<Slot>* changed = nullptr;  ///< nodes whose codes no longer fit their lists; nullptr if nobody minds

  std::size_t row(Slot slot) const { return at == nullptr ? slot : std::size_t{at[slot]} + (level - 1); }
  Slot* links(Slot slot) const { return slots + row(slot) * stride; }
  float* lengths(Slot slot) const { return distances + row(slot) * width; }
  std::byte* codes(Slot slot) const { return reinterpret_cast<std::byte*>(links(slot) + width); }
  std::uint32_t degree(Slot slot) const {
    const Slot* list = links(slot);
    std::uint32_t n = 0;
    while (n < width && list[n] != kNoSlot) ++n;
    return n;
  }
  /// Whoever writes to a list says so.
  void touch(Slot slot) const {
    if (changed == nullptr) return;
    NeighbourCodes::invalidate(codes(slot));
    changed->push_back(slot);
  }
};

}  // namespace annlib
