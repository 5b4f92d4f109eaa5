#include "filter/row_filter.h"

#include <string>
#include <utility>

#include "core/error.h"

namespace annlib {

RowFilter RowFilter::mask(std::span<const bool> rows) {
  RowFilter filter(Form::mask);
  filter.rows_ = rows;
  return filter;
}

RowFilter RowFilter::ids(std::span<const std::int64_t> ids) {
  RowFilter filter(Form::ids);
  filter.ids_ = ids;
  return filter;
}

RowFilter RowFilter::expression(std::string encoded) {
  RowFilter filter(Form::expression);
  filter.encoded_ = std::move(encoded);
  return filter;
}

Passing RowFilter::evaluate(const Table& table, FilterCache& cache) const {
  if (form_ == Form::expression) return cache.evaluate(encoded_, table);
  auto slots = std::make_shared<const Bitset>(rows_of(table));
  return {slots, slots->count(), nullptr};
}

Bitset RowFilter::rows_of(const Table& table) const {
  Bitset passing(table.slots());
  if (form_ == Form::ids) {
    for (std::int64_t id : ids_) {
      const Slot slot = table.find(id);
      if (slot != kNoSlot) passing.set(slot);
    }
    return passing;
  }
  if (rows_.size() != table.live()) {
    throw ValueError("a mask filter needs one value for each of the " + std::to_string(table.live()) +
                     " items, by the order of index.ids; got " + std::to_string(rows_.size()));
  }
  const std::vector<Slot> order = table.arrival_order();
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (rows_[i]) passing.set(order[i]);
  }
  return passing;
}

}  // namespace annlib
