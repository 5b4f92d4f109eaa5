#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace annlib {

/// The adjacency lists of one layer, seen as rows of `width` slots; a list shorter than that ends at kNoSlot. On the
/// bottom layer a slot's row is its own number; above it `at` tells where the node's rows begin, one for each of its
/// upper layers. While a graph is built, `distances` holds the length of every edge beside it (else nullptr).
struct Layer {
  Slot* slots = nullptr;
  float* distances = nullptr;
  std::uint32_t width = 0;
  const std::uint32_t* at = nullptr;
  std::uint32_t level = 0;  ///< 0 is the bottom

  std::size_t row(Slot slot) const { return at == nullptr ? slot : std::size_t{at[slot]} + (level - 1); }
  Slot* links(Slot slot) const { return slots + row(slot) * width; }
  float* lengths(Slot slot) const { return distances + row(slot) * width; }
  std::uint32_t degree(Slot slot) const {
    const Slot* list = links(slot);
    std::uint32_t n = 0;
    while (n < width && list[n] != kNoSlot) ++n;
    return n;
  }
};

}  // namespace annlib
