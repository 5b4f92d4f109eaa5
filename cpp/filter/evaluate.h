#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/slot_set.h"
#include "filter/column_order.h"
#include "filter/expression.h"
#include "table/table.h"

namespace annlib {

/// The orders of columns that are known, by name; columns without one are scanned.
using ColumnOrders = std::map<std::string, std::shared_ptr<const ColumnOrder>, std::less<>>;

/// The live slots of `table` that an expression, read for its columns and items, lets through. The same with and
/// without orders.
SlotSet evaluate(const Expression& expression, const Table& table, const ColumnOrders& orders);

}  // namespace annlib
