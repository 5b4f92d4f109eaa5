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

}  // namespace annlib
