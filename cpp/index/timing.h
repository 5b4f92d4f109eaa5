#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "codec/space.h"
#include "core/bitset.h"
#include "core/random.h"
#include "filter/plan.h"
#include "graph/beam_search.h"

/// What parts of a search take on this machine and the index at hand, for planners.
namespace annlib {

using Clock = std::chrono::steady_clock;

inline double nanoseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

/// Of at least one; changes their order.
inline double median(std::vector<double>& times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

/// Runs of one kind, for Course.
class RunTimer {
 public:
  /// Counts the hops of `run` in s.cost.
  template <class Body>
  void time(Scratch& s, Body&& body) {
    s.cost = SearchCost();
    const Clock::time_point begin = Clock::now();
    body();
    times_.push_back(nanoseconds_since(begin));
    steps_.push_back(static_cast<double>(std::max<std::uint64_t>(s.cost.hops, 1)));
  }
  /// By what a step took after the first so many nanoseconds. The slowest quarter does not count: something else was at
  /// work then.
  Course::Run run(double start = 0) const {
    std::vector<std::size_t> order(times_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto each = [&](std::size_t i) { return (times_[i] - start) / steps_[i]; };
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return each(a) < each(b); });
    double time = 0, steps = 0;
    for (std::size_t i = 0; i < order.size() - order.size() / 4; ++i) {
      time += times_[order[i]] - start;
      steps += steps_[order[i]];
    }
    const double mean = std::accumulate(steps_.begin(), steps_.end(), 0.0) / static_cast<double>(steps_.size());
    return {start + time / steps * mean, mean};
  }

 private:
  std::vector<double> times_, steps_;
};

/// About one in sixteen of some bits, drawn at random.
inline Bitset a_sixteenth(const Bitset& bits) {
  Bitset some = bits.copy();
  some.edit_words([](std::size_t w, std::uint64_t word) {
    for (std::uint64_t draw = 0; draw < 4; ++draw) word &= random64(draw, 8, w);
    return word;
  });
  return some;
}

struct ScanTimes {
  double match = 0;   ///< a row scored for one query
  double shared = 0;  ///< for one of many that are scored together, once the row is at hand
};

/// Scores the first n of s.slots, which s.need() has made room for.
inline ScanTimes time_scan(const Scan& scan, std::size_t n, Scratch& s) {
  constexpr std::size_t kTogether = 16;
  Clock::time_point begin = Clock::now();
  scan.score(s.slots.data(), n, s.distances.data());
  const double match = nanoseconds_since(begin) / static_cast<double>(n);
  const std::vector<simd::Query> queries(kTogether, scan.query);
  s.scores.resize(kTogether * n);
  begin = Clock::now();
  scan.scorer.block(queries.data(), kTogether, scan.rows, s.slots.data(), n, s.scores.data());
  return {match, nanoseconds_since(begin) / static_cast<double>(kTogether * n)};
}

}  // namespace annlib
