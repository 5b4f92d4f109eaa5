#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/bitset.h"
#include "core/buffer.h"
#include "core/types.h"
#include "graph/beam_search.h"
#include "graph/layer.h"

namespace annlib {

/// All layers of an HNSW graph: a bottom layer of 2M links a slot, and small upper layers of M links a node, whose
/// rows lie one behind the other in the order in which the nodes were made.
///
/// Invariants: a link on level l leads to a slot in the graph whose level is at least l; `entry` is a node of the top
/// level, or kNoSlot in an empty graph. Slots that are not in the graph (hidden or twins) have no links and no rows.
class Hierarchy {
 public:
  static constexpr int kMaxLevel = 15;

  /// Every list of the bottom layer is followed by `tail_bytes` for the codes of its neighbours.
  explicit Hierarchy(std::uint32_t m = 16, std::size_t tail_bytes = 0)
      : m_(m), stride_(tail_bytes == 0 ? 2 * m : (2 * m + tail_bytes / sizeof(Slot) + 15) / 16 * 16) {}

  std::uint32_t m() const { return m_; }
  std::uint32_t width(int level) const { return level == 0 ? 2 * m_ : m_; }
  /// Slots from one row of the bottom layer to the next; rows with codes begin on cache lines.
  std::size_t stride() const { return stride_; }
  std::size_t slots() const { return level_.size(); }
  int level(Slot slot) const { return level_[slot]; }
  Slot entry() const { return entry_; }
  int top() const { return entry_ == kNoSlot ? -1 : level_[entry_]; }
  void set_entry(Slot slot) { entry_ = slot; }

  /// New slots are in no layer and have no links.
  void resize(std::size_t slots) {
    base_.resize(slots * stride_, kNoSlot);
    resize_upper(slots);
  }
  /// As resize(), for a hierarchy that has upper layers only and will be handed to take_upper().
  void resize_upper(std::size_t slots) {
    at_.resize(slots, kNoSlot);
    level_.resize(slots);
  }
  void reserve(std::size_t slots, int threads) {
    base_.reserve(slots * stride_, threads);
    at_.reserve(slots);
    level_.reserve(slots);
  }
  /// Makes empty rows for a node that has none. A slot that is used again may find its old rows and takes them.
  void place(Slot slot, int level) {
    if (level > 0 && level > level_[slot]) {
      at_[slot] = static_cast<std::uint32_t>(upper_.size() / m_);
      upper_.resize(upper_.size() + static_cast<std::size_t>(level) * m_, kNoSlot);
    }
    level_[slot] = static_cast<std::uint8_t>(level);
  }
  /// Drops what place() has added since upper() had this size; the nodes must have gone.
  void drop_rows(std::size_t upper_size) { upper_.resize(upper_size); }
  /// Empties a node's lists on all levels.
  void clear(Slot slot) {
    for (int l = 0; l <= level_[slot]; ++l) std::fill_n(layer(l).links(slot), width(l), kNoSlot);
    layer(0).touch(slot);
  }

  Layer layer(int level) {
    Layer result;
    result.slots = level == 0 ? base_.data() : upper_.data();
    result.width = width(level);
    result.stride = level == 0 ? stride_ : m_;
    result.at = level == 0 ? nullptr : at_.data();
    result.level = static_cast<std::uint32_t>(level);
    if (level == 0 && tracking_) result.changed = &changed_;
    return result;
  }
  /// For reading only; the type does not say so because one Layer serves both sides.
  Layer layer(int level) const { return const_cast<Hierarchy*>(this)->layer(level); }

  /// The node of layer `level` + 1 to which the walk down from the entry leads: where to start on `level`.
  Slot approach(const Scan& scan, int level, Scratch& s) const {
    Slot node = entry_;
    if (top() <= level) return node;
    float distance;
    scan.score(&node, 1, &distance);
    ++s.cost.distances;
    for (int l = top(); l > level; --l) node = descend(layer(l), scan, node, distance, s);
    return node;
  }

  /// From now on lists that are written to lose their codes and are remembered. For the writer alone.
  void track_changes() { tracking_ = true; }
  /// The nodes whose codes are to be made anew, ascending; forgets them.
  std::vector<Slot> take_changed() {
    std::vector<Slot> nodes;
    nodes.swap(changed_);
    std::sort(nodes.begin(), nodes.end());
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    return nodes;
  }

  /// Takes another hierarchy's upper layers and entry in place of its own.
  void take_upper(Hierarchy&& other) {
    at_ = std::move(other.at_);
    level_ = std::move(other.level_);
    upper_ = std::move(other.upper_);
    entry_ = other.entry_;
  }

  std::size_t memory_bytes() const {
    return base_.bytes().size() + at_.bytes().size() + level_.bytes().size() + upper_.bytes().size();
  }

  /// The arrays behind it, for storage and for bulk construction.
  struct Parts {
    Array<Slot> base;
    Array<std::uint32_t> at;
    Array<std::uint8_t> level;
    Array<Slot> upper;
    Slot entry = kNoSlot;
  };
  const Array<Slot>& base() const { return base_; }
  const Array<std::uint32_t>& at() const { return at_; }
  const Array<std::uint8_t>& levels() const { return level_; }
  const Array<Slot>& upper() const { return upper_; }
  /// Takes parts from a file, which may be hostile: throws CorruptError unless every invariant holds that memory
  /// safety rests on. `nodes` are the slots that links may lead from and to: others may be given another level later.
  void restore(Parts parts, const Bitset& nodes);

 private:
  std::uint32_t m_;
  std::size_t stride_;
  bool tracking_ = false;
  std::vector<Slot> changed_;
  Array<Slot> base_;
  Array<std::uint32_t> at_;
  Array<std::uint8_t> level_;
  Array<Slot> upper_;
  Slot entry_ = kNoSlot;
};

}  // namespace annlib
