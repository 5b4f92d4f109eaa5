#pragma once

#include <cstddef>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/bitset.h"
#include "core/types.h"

namespace annlib {

/// Slots with equal vectors. One of them, the leader, is a node of the graph; the others (its twins) hang on it and
/// come out of a search with it. Ten thousand copies of a vector are then one node, not an island of nodes that know
/// each other alone. Not thread-safe.
class Twins {
 public:
  bool empty() const { return leader_.empty(); }
  std::size_t count() const { return leader_.size(); }
  bool leads(Slot slot) const { return slot < leads_.size() && leads_.test(slot); }
  std::span<const Slot> of(Slot leader) const {
    const auto found = members_.find(leader);
    return found == members_.end() ? std::span<const Slot>() : std::span<const Slot>(found->second);
  }
  bool is_twin(Slot slot) const { return leader_.contains(slot); }
  /// The node on which a slot hangs: itself, unless it is a twin.
  Slot node_of(Slot slot) const {
    const auto found = leader_.find(slot);
    return found == leader_.end() ? slot : found->second.first;
  }

  void add(Slot leader, Slot twin) {
    auto& group = members_[leader];
    leader_[twin] = {leader, group.size()};
    group.push_back(twin);
    if (leads_.size() <= leader) leads_.resize(leader + 1);
    leads_.set(leader);
  }

  void remove(Slot twin) {
    const auto [leader, at] = leader_.at(twin);
    auto& group = members_.at(leader);
    group[at] = group.back();
    leader_.at(group[at]).second = at;
    group.pop_back();
    leader_.erase(twin);
    if (group.empty()) {
      members_.erase(leader);
      leads_.reset(leader);
    }
  }

  /// (leader, twin) of every twin, sorted.
  std::vector<std::pair<Slot, Slot>> pairs() const;

  std::size_t memory_bytes() const { return leads_.words().bytes().size() + leader_.size() * 48; }

 private:
  std::unordered_map<Slot, std::vector<Slot>> members_;
  std::unordered_map<Slot, std::pair<Slot, std::size_t>> leader_;
  Bitset leads_;
};

}  // namespace annlib
