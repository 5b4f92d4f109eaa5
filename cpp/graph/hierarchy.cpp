#include "graph/hierarchy.h"

#include "core/error.h"

namespace annlib {

void Hierarchy::restore(Parts parts, const Bitset& nodes) {
  const std::size_t n = parts.level.size();
  if (n > kMaxSlots || parts.base.size() != n * stride_ || parts.at.size() != n || parts.upper.size() % m_ != 0) {
    throw CorruptError("the arrays of the graph differ in length");
  }
  const std::size_t upper_rows = parts.upper.size() / m_;
  // Rows that two nodes share would let a link of one layer appear on another, whose rows its target lacks.
  Bitset taken(upper_rows);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t level = parts.level[i];
    if (level > kMaxLevel) throw CorruptError("a node's level is out of range");
    if (level > 0 && (parts.at[i] > upper_rows || level > upper_rows - parts.at[i])) {
      throw CorruptError("a node's upper rows lie outside of the graph");
    }
    for (std::size_t l = 0; l < level; ++l) {
      if (taken.test(parts.at[i] + l)) throw CorruptError("two nodes share an upper row");
      taken.set(parts.at[i] + l);
    }
  }
  if (n == 0 ? parts.entry != kNoSlot : parts.entry != kNoSlot && parts.entry >= n) {
    throw CorruptError("the entry point is not a node");
  }
  const auto check = [&](std::size_t from, const Slot* list, std::uint32_t width, std::size_t level) {
    if (list[0] != kNoSlot && !nodes.test(from)) throw CorruptError("a row outside of the graph has links");
    std::uint32_t end = 0;
    for (std::uint32_t i = 0; i < width && list[i] != kNoSlot; ++i) {
      if (list[i] >= n || !nodes.test(list[i]) || parts.level[list[i]] < level) {
        throw CorruptError("a link leads out of the graph");
      }
      end = i + 1;
    }
    // A look at codes takes the row as a whole.
    for (std::uint32_t i = end; i < width; ++i) {
      if (list[i] != kNoSlot) throw CorruptError("a list goes on behind its end");
    }
  };
  for (std::size_t i = 0; i < n; ++i) {
    check(i, &parts.base[i * stride_], width(0), 0);
    for (std::size_t l = 1; l <= parts.level[i]; ++l) check(i, &parts.upper[(parts.at[i] + l - 1) * m_], m_, l);
  }
  base_ = std::move(parts.base);
  at_ = std::move(parts.at);
  level_ = std::move(parts.level);
  upper_ = std::move(parts.upper);
  entry_ = parts.entry;
}

}  // namespace annlib
