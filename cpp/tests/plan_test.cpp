#include "filter/plan.h"

#include <cmath>

#include "tests/check.h"

using namespace annlib;

namespace {

// 32 steps of 400 ns where all passes, and a scan of 20 ns an item.
constexpr Course kCourse{0, 400, 32};
constexpr double kLive = 1'000'000, kMatch = 20;

Planner among(double matches) { return {kCourse, matches / kLive, kMatch * matches}; }

}  // namespace

TEST(planner_scans_few_and_walks_among_many) {
  CHECK(!among(10).begins());
  CHECK(!among(800).begins());
  CHECK(among(500'000).begins());
  CHECK(among(kLive).begins());
}

TEST(planner_tries_a_course_where_it_costs_next_to_nothing) {
  // 32 / 0.01 steps cost 1.28 ms, the scan 0.2 ms, the trial 1.6 us.
  const Planner planner = among(10'000);
  CHECK(planner.cost() > kMatch * 10'000);
  CHECK(!planner.wins());
  CHECK(planner.begins());
  CHECK_EQ(planner.seen(), 1.0);
  CHECK(planner.goes_on(32, 16));  // most of what lies here passes
  CHECK(!planner.goes_on(32, 0));  // nothing does
  CHECK(planner.seen() < 0.01);
  CHECK(planner.goes_on(7, 0));  // not known yet
  // Not where even the trial is too long, or what comes before it.
  CHECK(!Planner(kCourse, 0.01, 15'000).begins());
  CHECK(!Planner({30'000, 400, 32}, 0.01, 200'000).begins());
  CHECK(Planner({20'000, 400, 32}, 0.01, 300'000).begins());
}

TEST(planner_looks_around_on_the_first_steps) {
  CHECK(among(10'000).looks_around(1) && !among(10'000).looks_around(17));
  const auto goes_on = [](std::size_t steps, std::uint32_t beside, std::uint32_t passing) {
    const Planner planner = among(10'000);  // the scan: 500 steps
    planner.saw(beside, passing);
    return planner.goes_on(steps, 1);
  };
  for (const std::size_t steps : {6, 8}) {  // when it is first asked, and after
    CHECK(goes_on(steps, 0, 0));            // one of them passes, as it seems many do
    CHECK(!goes_on(steps, 200, 2));         // but not beside them
    CHECK(goes_on(steps, 200, 20));
  }
  CHECK(goes_on(5, 200, 0) && goes_on(7, 200, 0));
}

TEST(planner_heeds_the_last_steps_more_than_the_first) {
  const auto seen = [](std::uint32_t first, std::uint32_t last) {
    const Planner planner = among(10'000);
    for (const std::uint32_t passing : {first, first, first, last, last, last}) planner.saw(32, passing);
    planner.goes_on(Planner::kTrialSteps, 0);
    return planner.seen();
  };
  CHECK(seen(4, 4) < seen(0, 8) && seen(8, 0) < seen(4, 4));
}

TEST(planner_knows_what_a_trial_takes) {
  Course course = kCourse;
  const auto begins = [&](double otherwise) { return Planner(course, 0.01, otherwise).begins(); };
  CHECK(begins(30'000));  // six steps
  course.trial = 5'000;
  CHECK(!begins(30'000));
  CHECK(begins(60'000));
}

TEST(planner_may_doubt_what_a_course_takes) {
  const Planner planner(kCourse, 1, 20'000);  // 12.8 us
  CHECK(planner.wins() && planner.wins(1.5));
  CHECK(!planner.wins(2));
}

TEST(planner_ends_a_course_that_cannot_be_much_longer) {
  Course course = kCourse;
  const auto goes_on = [&] { return Planner(course, 0.1, 2e6).goes_on(10'008, 1000); };  // all else: 5,000 steps
  course.most = 20'000;
  CHECK(!goes_on());
  course.most = 15'000;
  CHECK(goes_on());
}

TEST(planner_gives_a_course_up_at_half_as_much_again_as_all_else) {
  const Planner planner = among(100'000);  // the scan: 2 ms, or 5,000 steps
  CHECK(planner.goes_on(4'992, 31));
  CHECK(!planner.goes_on(7'504, 31));
  CHECK(planner.goes_on(64, 32));  // all that is wanted is there
}

TEST(planner_gives_up_where_a_course_might_not_find_what_lies_apart) {
  const Planner sure(kCourse, 0.5, 1e9), unsure(kCourse, 0.5, 1e9, false);
  for (const double passed : {0, 7}) {  // of 32, where 16 +- 2.8 would by chance
    CHECK(sure.goes_on(32, passed), passed);
    CHECK(!unsure.goes_on(32, passed), passed);
  }
  CHECK(unsure.goes_on(32, 8));
  CHECK(unsure.goes_on(16, 0));  // too early to tell
  const Planner nearly_all(kCourse, 0.999, 1e9, false);
  CHECK(nearly_all.goes_on(16, 12));  // a few that fail do not matter
  CHECK(!nearly_all.goes_on(16, 11));
}

TEST(course_takes_more_and_longer_steps_where_less_passes_up_to_all_there_are) {
  const Course course{1'000, 10, 8, 0.5, 0.25, 40};
  CHECK_NEAR(course.cost(1), 1'080, 1e-9);
  CHECK_NEAR(course.steps_for(1.0 / 16), 32, 1e-9);
  CHECK_NEAR(course.step_at(1.0 / 16), 20, 1e-9);
  CHECK_NEAR(course.cost(1.0 / 16), 1'640, 1e-9);
  CHECK_NEAR(course.steps_for(1e-6), 40, 1e-9);
}

TEST(course_is_fitted_to_what_runs_took) {
  const auto fitted = [](Course::Run least, Course::Run all, Course::Run few, double share) {
    Course course = Course::fitted(least, all);
    course.fit(few, share);
    return course;
  };
  // 50 ns and then 10 a step, 20 where a sixteenth passes.
  const Course course = fitted({70, 2}, {130, 8}, {50 + 20 * 64, 64}, 1.0 / 16);
  CHECK_NEAR(course.start, 50, 1e-9);
  CHECK_NEAR(course.step, 10, 1e-9);
  CHECK_NEAR(course.steps, 8, 1e-9);
  CHECK_NEAR(course.falling, 0.75, 1e-9);
  CHECK_NEAR(course.cost(1), 130, 1e-9);
  CHECK_NEAR(course.cost(1.0 / 16), 50 + 20 * 64, 1e-9);
  CHECK_NEAR(course.step_at(1e-6), 20, 1e-9);  // no slower than it was seen to be
  // However long the least took, steps take some of the time.
  CHECK_NEAR(fitted({900, 2}, {800, 8}, {6400, 64}, 1.0 / 16).step, 50, 1e-9);
  // Of nothing, or of times that noise has turned round, nothing comes that is no number.
  for (const Course& odd : {fitted({}, {}, {}, 0.5), fitted({900, 9}, {100, 3}, {50, 1}, 0.5)}) {
    CHECK(std::isfinite(odd.cost(0.01)) && odd.cost(0.01) >= 0);
    CHECK(odd.falling >= 0 && odd.falling <= 1);
  }
}
