#pragma once

#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <vector>

#include "codec/codec.h"
#include "codec/space.h"
#include "tests/index_fixture.h"

namespace annlib::test {

inline std::vector<Slot> all_slots(const Table& table) {
  std::vector<Slot> slots(table.slots());
  std::iota(slots.begin(), slots.end(), Slot{0});
  return slots;
}

inline std::unique_ptr<CodeSpace> trained(const Table& table, const char* codec, int threads = 1) {
  auto space = std::make_unique<CodeSpace>(table, make_codec(codec, table.metric(), table.dim()));
  space->train(StoredSpace(table), all_slots(table), threads);
  return space;
}

inline std::vector<float> scores(const Space& space, const QueryView& query, std::size_t n) {
  QueryBuffer buffer;
  std::vector<float> out(n);
  space.prepare(query, buffer).score_range(0, n, out.data());
  return out;
}

inline std::vector<float> scores_of_row(const Space& space, Slot slot, std::size_t n) {
  QueryBuffer buffer;
  std::vector<float> out(n);
  space.prepare_row(slot, buffer).score_range(0, n, out.data());
  return out;
}

/// Root mean square of the differences, and the spread of the true values.
struct Error {
  double difference = 0, spread = 0;
};

inline Error error_of(const std::vector<float>& found, const std::vector<float>& exact) {
  const double n = static_cast<double>(exact.size());
  const double mean = std::accumulate(exact.begin(), exact.end(), 0.0) / n;
  Error e;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    e.difference += (found[i] - exact[i]) * (found[i] - exact[i]) / n;
    e.spread += (exact[i] - mean) * (exact[i] - mean) / n;
  }
  return {std::sqrt(e.difference), std::sqrt(e.spread)};
}

}  // namespace annlib::test
