#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/bitset.h"
#include "table/table.h"

namespace annlib {

/// Which items may be results: a mask over the live items by order of arrival, or a list of ids. Other forms
/// (expressions over attributes) come down to the same bitmap of slots.
class RowFilter {
 public:
  static RowFilter mask(std::span<const bool> rows);
  static RowFilter ids(std::span<const std::int64_t> ids);

  /// The live slots that pass. ValueError for a mask whose length is not the table's count of live items; ids that
  /// are not there match nothing.
  Bitset evaluate(const Table& table) const;

 private:
  bool is_mask_ = true;
  std::span<const bool> rows_;
  std::span<const std::int64_t> ids_;
};

}  // namespace annlib
