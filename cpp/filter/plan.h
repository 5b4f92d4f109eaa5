#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

namespace annlib {

/// How a search is answered; the first is a request to choose.
enum class Plan : std::uint8_t {
  automatic,
  exact,     ///< all that passes by the stored vectors
  scan,      ///< all that passes by codes, and by the stored vectors what may be among the results
  walk,      ///< through the graph
  subgraph,  ///< through graphs over what has certain values (cpp/hnsw/filter_index.h), which hold all that passes
  lists,     ///< through the posting lists around the query (cpp/hnsw/filter_lists.h)
  two_hops,  ///< through the graph from what passes to what passes (cpp/graph/two_hops.h)
};

inline constexpr std::array<const char*, 7> kPlanNames{"auto", "exact", "scan", "walk", "subgraph", "lists", "two-hop"};
inline std::string name_of(Plan plan) { return kPlanNames[static_cast<std::size_t>(plan)]; }

/// Plans that only an index with a graph over its items has, besides the walk.
inline bool needs_graph(Plan plan) { return plan == Plan::subgraph || plan == Plan::lists || plan == Plan::two_hops; }

/// Why what was begun did not give the results.
enum class GivenUp : std::uint8_t {
  no,
  slow,     ///< what was left of it would have taken longer than all else
  too_few,  ///< it found fewer than k
};

/// What became of one query.
struct PlanReport {
  Plan plan = Plan::exact;       ///< that gave the results
  Plan given_up = Plan::exact;   ///< what was begun before, the last of that
  GivenUp reason = GivenUp::no;  ///< no if nothing was
  double seen = 1;               ///< the share that passed around the query where a walk was given up
  double took = 0;               ///< nanoseconds; of what several queries share, its part; 0 where nobody asked
  std::uint64_t matches = 0;
  /// Estimated, in nanoseconds; 0 where there was nothing to choose.
  double scan_cost = 0, walk_cost = 0, subgraph_cost = 0, lists_cost = 0, two_hops_cost = 0;
  std::uint64_t subgraphs = 0, subgraph_items = 0;  ///< that hold all that passes, and what they hold
  std::uint64_t distances = 0, hops = 0, reranked = 0;
  std::uint64_t reads = 0, bytes_read = 0, cache_hits = 0;  ///< of an index on disk

  bool switched() const { return reason != GivenUp::no; }
  void give_up(GivenUp why) {
    given_up = plan;
    reason = why;
  }
};

/// A way through an index that finds what passes a filter step by step: a walk through a graph, of which a step is a
/// node expanded, or through the lists around a query, of which it is a list.
struct Course {
  double start = 0;    ///< nanoseconds before the first step
  double step = 0;     ///< nanoseconds, where all passes
  double steps = 0;    ///< that it takes where all passes
  double falling = 1;  ///< where a share s passes, s^-falling times as many
  double slowing = 0;  ///< of which each takes s^-slowing times as long: more of what they look at comes from memory
  double most = std::numeric_limits<double>::infinity();  ///< steps that there are
  double slowest = 0;                                     ///< the share below which they take no longer
  double trial = 0;  ///< nanoseconds until it shows how many pass around a query, and what it takes to begin elsewhere

  /// What a run of so many steps, the mean of some, took: nanoseconds.
  struct Run {
    double time = 0, steps = 0;
  };
  /// From runs of the least effort and of more, where all passes.
  static Course fitted(const Run& least, const Run& all) {
    const double steps = std::max(all.steps, 1.0);
    Course course;
    // What the two have in common is no step's; but noise may make of the least what it likes.
    course.step = std::clamp((all.time - least.time) / std::max(all.steps - least.steps, 1.0), 0.5 * all.time / steps,
                             all.time / steps);
    course.start = std::max(least.time - course.step * least.steps, 0.0);
    course.steps = steps;
    return course;
  }
  /// And from runs of the second kind where a share passes.
  void fit(const Run& few, double share) {
    const double few_steps = std::max(few.steps, 1.0), few_step = std::max(few.time - start, 0.0) / few_steps;
    falling = std::clamp(std::log(few_steps / steps) / -std::log(share), 0.0, 1.0);
    slowest = share;
    slowing = few_step > step && step > 0 ? std::log(few_step / step) / -std::log(share) : 0.0;
  }

  double steps_for(double share) const { return std::min(most, steps * std::pow(share, -falling)); }
  double step_at(double share) const { return step * std::pow(std::max(share, slowest), -slowing); }
  double cost(double share) const { return start + step_at(share) * steps_for(share); }
};

/// What the parts of a search cost on the index at hand, in nanoseconds.
struct PlanCosts {
  Course course;      ///< of an effort of 1: a walk's, or of one list
  double match = 0;   ///< an item scored by a scan over those that pass
  double shared = 0;  ///< the same once it is at hand, among many queries that are scanned for together
  Course two_hops{};  ///< of an effort of 1, whatever passes; of a graph

  /// What one of so many queries pays, if a scan answers them together: for getting at an item, its share.
  PlanCosts shared_by(std::size_t queries) const {
    PlanCosts costs = *this;
    costs.match = shared + std::max(match - shared, 0.0) / static_cast<double>(queries);
    return costs;
  }
};

/// Whether to take a course, and to stay on it: for as long as it promises to cost less than what else could be done.
/// How many pass is known exactly; how many of those near the query do is not, and shows on the way.
class Planner {
 public:
  /// A share of the items passes, and something else would find the nearest of them in `otherwise` nanoseconds.
  /// `finds_apart`: the course leads to what lies apart from the query as surely as to what is around it.
  Planner(const Course& course, double share, double otherwise, bool finds_apart = true)
      : course_(course), share_(share), cost_(course.cost(share)), otherwise_(otherwise), finds_apart_(finds_apart) {}

  /// Whether it is expected to cost less than all else, if it takes `times` as long as it seems.
  bool wins(double times = 1) const { return times * cost_ <= otherwise_; }

  /// A filter may favour what lies near the query: where all else takes far longer than to see whether it does, that is
  /// tried even if the course is not expected to win.
  bool begins() const {
    const double trial = course_.trial > 0 ? course_.trial : course_.start + kTrialSteps * course_.step;
    return wins() || trial <= kTrial * otherwise_;
  }

  /// After so many steps, on which a share of `passed` / `steps` passed: while what is left costs less than all else,
  /// and it has not cost half as much again as that, or there cannot be that much more; nor where so few pass around
  /// the query that what does lies apart from it, and the course might not find that.
  bool goes_on(std::size_t steps, double passed) const {
    if (steps != kTrialSteps && steps % kLookEvery != 0) return true;
    const auto taken = static_cast<double>(steps);
    seen_ = (passed + kBeside * beside_passed_ + kSupposed * share_) / (taken + kBeside * beside_ + kSupposed);
    if (!finds_apart_ && clearly_fewer(taken, passed)) return false;
    const double left = course_.steps_for(seen_) - taken, step = course_.step_at(seen_);
    const bool long_enough = step * taken > kLongEnough * otherwise_ && step * (course_.most - taken) > otherwise_;
    return step * left <= otherwise_ && !long_enough;
  }

  /// Whether to tell what passes beside the way: on the first steps, which alone would say little where few pass.
  bool looks_around(std::size_t steps) const { return steps <= kLookedAround && share_ < kFew; }
  void saw(std::uint32_t seen, std::uint32_t passing) const {
    beside_ = kFading * beside_ + seen;
    beside_passed_ = kFading * beside_passed_ + passing;
  }

  /// The share that passed where it was last asked whether to go on; 1 before.
  double seen() const { return seen_; }
  double cost() const { return cost_; }

  /// After so many steps it is first asked whether to go on.
  static constexpr std::size_t kTrialSteps = 6;

 private:
  /// Than pass by chance.
  bool clearly_fewer(double taken, double passed) const {
    const double expected = share_ * taken;
    if (expected < kExpected) return false;
    const double chance = 3 * std::sqrt(expected * (1 - std::min(share_, 1.0)));
    return passed < expected - std::max(chance, expected / 4);
  }

  static constexpr double kTrial = 0.1;
  /// What has taken so many times as long as all else would have is given up.
  static constexpr double kLongEnough = 1.5;
  /// How many steps what is known of all items is worth.
  static constexpr double kSupposed = 4;
  /// From so many on it shows whether fewer pass than by chance.
  static constexpr double kExpected = 12;
  static constexpr std::size_t kLookEvery = 8;
  /// On so many steps neighbours are looked at, of which each tells a part of what a step does: many are seen again.
  static constexpr std::size_t kLookedAround = 16;
  static constexpr double kBeside = 0.25, kFew = 0.25;
  /// The first steps lead to the query's surroundings, and what they come by is farther from it than what later ones
  /// do.
  static constexpr double kFading = 0.75;

  Course course_;
  double share_, cost_, otherwise_;
  bool finds_apart_;
  mutable double seen_ = 1, beside_ = 0, beside_passed_ = 0;
};

}  // namespace annlib
