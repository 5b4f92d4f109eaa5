#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace annlib {

/// How a search under a filter is answered. Today: score every match, or walk the graph and keep what passes.
struct Plan {
  bool exact = false;
  /// Distances after which the walk is given up for the exact plan.
  std::uint64_t budget = std::numeric_limits<std::uint64_t>::max();
};

/// `live` items, `matches` of which pass; a walk that wants `ef` passing candidates scores about
/// kDistancesPerCandidate new nodes for each node it keeps, and has to see live / matches nodes for each that passes.
/// A walk that has cost twice the exact plan is given up, so that the worst case stays within three times the best.
inline Plan choose_plan(std::size_t live, std::size_t matches, std::size_t ef) {
  constexpr double kDistancesPerCandidate = 12;
  // A row out of order, behind a look-up of who was visited, against one row after another.
  constexpr double kWalkAgainstScan = 2;
  const auto m = static_cast<double>(matches);
  const double walk = kDistancesPerCandidate * static_cast<double>(ef) * static_cast<double>(live);
  if (m * m <= kWalkAgainstScan * walk) return {true, 0};
  if (matches == live) return {};
  return {false, static_cast<std::uint64_t>(2 * m)};
}

}  // namespace annlib
