#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace annlib {

/// How a search is answered; the first is a request to choose.
enum class Plan : std::uint8_t {
  automatic,
  exact,     ///< all that passes by the stored vectors
  scan,      ///< all that passes by codes, and by the stored vectors what may be among the results
  walk,      ///< through the graph
  subgraph,  ///< through graphs over what has certain values (cpp/hnsw/filter_index.h), which hold all that passes
};

/// What became of one query.
struct PlanReport {
  Plan plan = Plan::exact;  ///< that gave the results
  bool switched = false;    ///< a walk was begun and given up
  std::uint64_t matches = 0;
  /// Estimated, in nanoseconds; 0 where there was nothing to choose.
  double scan_cost = 0, walk_cost = 0, subgraph_cost = 0;
  std::uint64_t subgraphs = 0, subgraph_items = 0;  ///< that hold all that passes, and what they hold
  std::uint64_t distances = 0, hops = 0, reranked = 0;
  std::uint64_t reads = 0, bytes_read = 0, cache_hits = 0;  ///< of an index on disk
};

/// What the parts of a search cost on the index at hand, in nanoseconds.
struct PlanCosts {
  double hop = 0;     ///< a node expanded by a walk
  double match = 0;   ///< an item scored by a scan over those that pass
  double shared = 0;  ///< the same once it is at hand, among many queries that are scanned for together
  double start = 0;   ///< of a walk, before the first node: preparing the query, coming down the layers
  double nodes = 0;   ///< not a time: how many nodes that pass a walk expands for each of its ef

  /// What one of so many queries pays, if a scan answers them together: for getting at an item, its share.
  PlanCosts shared_by(std::size_t queries) const {
    return {hop, shared + std::max(match - shared, 0.0) / static_cast<double>(queries), shared, start, nodes};
  }
};

/// How a search under a filter is answered: by a scan of all that passes, or by a walk through the graph that keeps
/// what passes, for as long as it promises to cost less than the scan. How many pass is known exactly; how many of
/// those near the query do is not, and a walk finds out as it goes.
class Planner {
 public:
  /// `matches` of `live` items pass, and a walk is done when it has expanded about `wanted` nodes that do.
  Planner(const PlanCosts& costs, std::size_t live, std::size_t matches, double wanted)
      : costs_(costs),
        share_(static_cast<double>(matches) / static_cast<double>(live)),
        scan_(costs.match * static_cast<double>(matches)),
        wanted_(wanted) {}

  /// A filter may favour what lies near the query: where a scan takes far longer than to see whether it does, that is
  /// tried even if the walk is not expected to win.
  bool begins_with_walk() const {
    return walk_cost() <= scan_ || costs_.start + kTrialHops * costs_.hop <= kTrial * scan_;
  }

  /// Whether a walk goes on that has expanded `hops` nodes, `passed` of which pass: while what is left of it costs less
  /// than the scan would, and it has not cost twice that.
  bool goes_on(std::size_t hops, std::size_t passed) const {
    if (hops < kTrialHops || hops % kLookEvery != 0) return true;
    const double rate = static_cast<double>(passed + 1) / static_cast<double>(hops + 1);
    const double left = wanted_ - static_cast<double>(passed);
    return walk(left, rate) <= scan_ && costs_.hop * static_cast<double>(hops) <= 2 * scan_;
  }

  double scan_cost() const { return scan_; }
  double walk_cost() const { return costs_.start + walk(wanted_, share_); }

 private:
  static constexpr double kTrial = 0.1;
  static constexpr std::size_t kTrialHops = 8, kLookEvery = 8;

  double walk(double wanted, double rate) const { return wanted <= 0 ? 0 : costs_.hop * wanted / rate; }

  PlanCosts costs_;
  double share_, scan_, wanted_;
};

}  // namespace annlib
