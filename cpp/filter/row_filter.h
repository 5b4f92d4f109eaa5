#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "filter/filter_cache.h"
#include "table/table.h"

namespace annlib {

/// Which items may be results: a mask over the live items by order of arrival, a list of ids, or an expression over
/// attributes, which may list items too. All come down to a set of slots.
class RowFilter {
 public:
  static RowFilter mask(std::span<const bool> rows);
  static RowFilter ids(std::span<const std::int64_t> ids);
  /// Encoded as for read_expression().
  static RowFilter expression(std::string encoded);

  /// The live slots that pass. ValueError for a mask whose length is not the table's count of live items, and those of
  /// read_expression(); ids that are not there match nothing.
  Passing evaluate(const Table& table, FilterCache& cache) const;

 private:
  enum class Form { mask, ids, expression };

  explicit RowFilter(Form form) : form_(form) {}

  Form form_;
  std::span<const std::uint8_t> rows_;
  std::span<const std::int64_t> ids_;
  std::string encoded_;
};

}  // namespace annlib
