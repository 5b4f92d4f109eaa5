#include "filter/row_filter.h"

#include <memory>
#include <utility>

#include "filter/listed_items.h"

namespace annlib {

RowFilter RowFilter::mask(std::span<const bool> rows) {
  RowFilter filter(Form::mask);
  filter.rows_ = {reinterpret_cast<const std::uint8_t*>(rows.data()), rows.size()};
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
  auto slots =
      std::make_shared<const SlotSet>(form_ == Form::ids ? slots_of_ids(table, ids_) : slots_of_mask(table, rows_));
  return {slots, slots->count(), nullptr};
}

}  // namespace annlib
