#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "spann/expected_rest.h"
#include "storage/container.h"
#include "storage/section_list.h"

namespace annlib {

/// Of what is known of 1, 2, 4 ... lists, for about so many.
float at_lists(std::span<const float> known, double lists);

/// What a search under a filter has to know of where rows lie in posting lists (expected_rest.h).
struct Spread {
  float dims = 1;    ///< in how many dimensions they are spread around centroids
  float radius = 0;  ///< typically, from these; for lists whose own is not known
  /// rests[i]: the share of the nearest that 2^i lists leave where all passes. Empty where nothing was learnt.
  std::vector<float> rests;

  void append_section(const std::string& name, storage::SectionList& sections) const;
  /// Of so many rests. CorruptError for what makes no sense.
  void restore(const storage::Container& file, const std::string& name, std::size_t count);
};

/// The lists around a query, nearest first. Distances are squared, but radii are not.
struct Around {
  static constexpr std::size_t kNearest = 10;  ///< neighbours looked for
  struct List {
    float distance, radius;
    std::uint32_t size;
  };
  std::vector<List> lists;
  std::size_t known = 0;  ///< of how many the rows are known, the first
  /// How far the rows of these are; a row that stands in several lists, in the first.
  std::vector<std::vector<float>> rows;
  std::size_t beyond = 0;  ///< how many lists there are besides

  /// The distance of the last of the nearest rows, of the known lists but the first few.
  float kth(std::size_t skipped) const;
  /// How many rows of a list are so near.
  std::size_t near(std::size_t list, float kth) const;
  /// Expects the rows of some of the lists.
  void expect(std::size_t first, std::size_t last, ExpectedRest& rest) const;
};

/// How far rows are from the centroids of their lists, where most lists are: as queries from the nearest.
float typical_radius(std::span<const Around> queries);

/// From what is around some of the rows, taken as queries; each stands in so many lists.
Spread learn_spread(std::span<const Around> queries, std::size_t replicas, std::size_t rests);

}  // namespace annlib
