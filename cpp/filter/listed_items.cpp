#include "filter/listed_items.h"

#include <string>
#include <vector>

#include "core/error.h"

namespace annlib {

Bitset slots_of_ids(const Table& table, std::span<const std::int64_t> ids) {
  Bitset slots(table.slots());
  for (const std::int64_t id : ids) {
    const Slot slot = table.find(id);
    if (slot != kNoSlot) slots.set(slot);
  }
  return slots;
}

Bitset slots_of_mask(const Table& table, std::span<const std::uint8_t> rows) {
  if (rows.size() != table.live()) {
    throw ValueError("a mask filter needs one value for each of the " + std::to_string(table.live()) +
                     " items, by the order of index.ids; got " + std::to_string(rows.size()));
  }
  Bitset slots(table.slots());
  const std::vector<Slot> order = table.arrival_order();
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (rows[i] != 0) slots.set(order[i]);
  }
  return slots;
}

}  // namespace annlib
