#include <map>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "index/index.h"

namespace annlib {

void Index::write_attributes(std::span<const Slot> fresh, const Lookup& lookup) {
  Columns& columns = table().columns();
  ColumnsWriter writer(columns, columns, *lookup.attributes);
  for (std::size_t i = 0; i < fresh.size(); ++i) writer.write(fresh[i], lookup.old[i], static_cast<Slot>(i));
  columns.tidy();
  writer.commit();
}

void Index::set_attributes(std::span<const std::int64_t> ids, const Columns& attributes) {
  require_rows(attributes, ids.size());
  require_distinct(ids);
  before_write();
  std::lock_guard writer(writer_);
  require_fit(table().columns(), attributes);
  store_attributes(slots_of(ids), attributes, true);
}

void Index::replace_attributes(const Columns& attributes) {
  before_write();
  std::lock_guard writer(writer_);
  require_rows(attributes, table().live());
  store_attributes(table().arrival_order(), attributes, false);
}

// Columns are made beside those that are there, whose other values they have if these are to be kept.
void Index::store_attributes(std::span<const Slot> slots, const Columns& attributes, bool keep) {
  Columns fresh;
  for (const auto& [name, rows] : attributes.all()) {
    const Column* old = keep ? table().columns().find(name) : nullptr;
    Column column(old != nullptr ? old->type() : rows.type(), table().slots());
    if (old != nullptr) {
      ColumnCopy copy(column, *old);
      table().alive_bits().for_each([&](std::size_t slot) { copy(static_cast<Slot>(slot), static_cast<Slot>(slot)); });
    }
    ColumnCopy copy(column, rows);
    for (std::size_t i = 0; i < slots.size(); ++i) copy(static_cast<Slot>(i), slots[i]);
    fresh.put(name, std::move(column));
  }
  require_room(table().columns(), attributes);
  will_set_attributes(slots, attributes, keep);
  {
    std::lock_guard writing(lock_);
    table().columns().take(std::move(fresh));
    table().touch();
    note_attributes(slots, attributes);
  }
  follow_attributes();
}

void Index::drop_attributes(const std::vector<std::string>& names) {
  before_write();
  std::lock_guard writer(writer_);
  for (const std::string& name : names) table().columns().require(name, "");
  will_drop_attributes(names);
  std::lock_guard writing(lock_);
  for (const std::string& name : names) {
    table().columns().drop(name);
    filters_.forget(name);
    forget_attribute(name);
  }
  table().touch();
}

std::size_t Index::count(const RowFilter& filter) const {
  std::shared_lock reading(lock_);
  return filter.evaluate(table(), filters_).count;
}

std::map<std::string, AttributeRows> Index::attributes(std::span<const std::int64_t> ids) const {
  std::shared_lock reading(lock_);
  const std::vector<Slot> slots = slots_of(ids);
  std::map<std::string, AttributeRows> rows;
  for (const auto& [name, column] : table().columns().all()) rows.emplace(name, column.gather(slots));
  return rows;
}

std::map<std::string, AttributeType> Index::attribute_types() const {
  std::shared_lock reading(lock_);
  std::map<std::string, AttributeType> types;
  for (const auto& [name, column] : table().columns().all()) types.emplace(name, column.type());
  return types;
}

std::map<std::string, Index::AttributeStats> Index::attribute_stats() const {
  std::shared_lock reading(lock_);
  std::map<std::string, AttributeStats> stats;
  for (const auto& [name, column] : table().columns().all()) {
    AttributeStats& one = stats[name];
    one.type = column.type();
    table().alive_bits().for_each([&](std::size_t slot) { one.nulls += !column.present(static_cast<Slot>(slot)); });
    one.bytes = column.memory_bytes();
    one.order_bytes = filters_.order_bytes(name);
  }
  return stats;
}

}  // namespace annlib
