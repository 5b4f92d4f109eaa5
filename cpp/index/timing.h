#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#include "codec/space.h"
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
