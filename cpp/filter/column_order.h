#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "filter/interval_set.h"
#include "table/column.h"

namespace annlib {

/// The slots of a column in the order of their values: how many have a value, or one between two, is the difference of
/// two numbers, and which ones are lies in one place. Immutable; describes one version of the column.
///
/// A rank is a value's place among the different values of the column, and the last rank, one more, is that of null.
/// Of a column of lists ranks are the codes of its dictionary, a slot stands under each of its elements, and null has
/// no rank.
class ColumnOrder {
 public:
  using Rank = std::uint32_t;
  /// From the first up to the second, which is not part of it; several ascend.
  using Ranks = std::vector<std::pair<Rank, Rank>>;

  explicit ColumnOrder(const Column& column);

  /// The ranks of values, and of null if it is asked for. `column` as it was.
  Ranks ranks_of(const IntervalSet& values, bool null, const Column& column) const;
  /// All that are not among `ranks`.
  Ranks complement(const Ranks& ranks) const;

  /// Of all slots, living or not.
  std::size_t count(const Ranks& ranks) const;
  std::span<const Slot> slots(std::pair<Rank, Rank> ranks) const {
    return {slots_.data() + starts_[ranks.first], starts_[ranks.second] - starts_[ranks.first]};
  }
  /// By slot; of a column without lists.
  const std::vector<Rank>& rank_of_slot() const { return ranks_; }

  std::size_t memory_bytes() const;

 private:
  void rank_strings(const Column& column);
  void rank_keys(const Column& column);
  void place(const Column& column, std::size_t different);

  std::vector<std::uint64_t> keys_;        // ascending; of columns without a dictionary
  std::vector<Dictionary::Code> strings_;  // codes in the order of their texts
  std::vector<std::uint32_t> starts_;      // of each rank in slots_, and the end
  std::vector<Slot> slots_;
  std::vector<Rank> ranks_;
};

}  // namespace annlib
