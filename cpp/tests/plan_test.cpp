#include "filter/plan.h"

#include "tests/check.h"

using namespace annlib;

namespace {

constexpr PlanCosts kCosts{400, 20};
constexpr std::size_t kLive = 1'000'000;

}  // namespace

TEST(planner_scans_few_and_walks_among_many) {
  CHECK(!Planner(kCosts, kLive, 10, 32).begins_with_walk());
  CHECK(!Planner(kCosts, kLive, 1'000, 32).begins_with_walk());
  CHECK(Planner(kCosts, kLive, 500'000, 32).begins_with_walk());
  CHECK(Planner(kCosts, kLive, kLive, 32).begins_with_walk());
}

TEST(planner_tries_a_walk_where_it_costs_next_to_nothing) {
  // A walk of 32 / 0.01 hops costs 1.28 ms, the scan 0.2 ms, the trial 8 us.
  const Planner planner(kCosts, kLive, 10'000, 32);
  CHECK(planner.walk_cost() > planner.scan_cost());
  CHECK(planner.begins_with_walk());
  CHECK(planner.goes_on(32, 16));  // most of what lies here passes
  CHECK(!planner.goes_on(32, 0));  // nothing does
  CHECK(planner.goes_on(7, 0));    // not known yet
}

TEST(planner_gives_a_walk_up_at_twice_the_scan) {
  const Planner planner(kCosts, kLive, 100'000, 32);  // the scan: 2 ms, or 5,000 hops
  CHECK(planner.goes_on(4'992, 31));
  CHECK(!planner.goes_on(10'016, 31));
  CHECK(planner.goes_on(64, 32));  // all that is wanted is there
}
