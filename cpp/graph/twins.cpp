#include "graph/twins.h"

#include <algorithm>

namespace annlib {

std::vector<std::pair<Slot, Slot>> Twins::pairs() const {
  std::vector<std::pair<Slot, Slot>> all;
  all.reserve(leader_.size());
  for (const auto& [twin, entry] : leader_) all.emplace_back(entry.first, twin);
  std::sort(all.begin(), all.end());
  return all;
}

void Twins::permute(const std::vector<Slot>& position) {
  std::vector<std::pair<Slot, Slot>> all = pairs();
  for (auto& [leader, twin] : all) {
    leader = position[leader];
    twin = position[twin];
  }
  std::sort(all.begin(), all.end());
  *this = Twins();
  for (const auto& [leader, twin] : all) add(leader, twin);
}

}  // namespace annlib
