#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/types.h"
#include "graph/hierarchy.h"
#include "graph/layer.h"

namespace annlib {

/// The lists that a change of a graph overwrites, as they were before it, so that a change which fails can be undone.
/// Not thread-safe.
class Journal {
 public:
  /// To be called before `node`'s list on `layer` is written; only the first call for a list counts. The lists are
  /// those of a hierarchy of one M, with no head-room.
  void keep(const Layer& layer, Slot node) {
    const auto [entry, first] = at_.try_emplace(std::uint64_t{layer.level} << 32 | node, links_.size());
    if (first) links_.insert(links_.end(), layer.links(node), layer.links(node) + layer.width);
  }

  /// Writes all lists back as they were.
  void undo(Hierarchy& graph) const {
    for (const auto& [key, at] : at_) {
      const Layer layer = graph.layer(static_cast<int>(key >> 32));
      const auto node = static_cast<Slot>(key);
      std::copy_n(links_.begin() + static_cast<std::ptrdiff_t>(at), layer.width, layer.links(node));
      layer.touch(node);
    }
  }

 private:
  std::unordered_map<std::uint64_t, std::size_t> at_;  // (level, node) -> where its links begin
  std::vector<Slot> links_;
};

}  // namespace annlib
