#include "filter/filter_cache.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "filter/listed_items.h"

namespace annlib {
namespace {

std::size_t listed_bytes(const Expression& expression) {
  std::size_t bytes = expression.slots != nullptr ? expression.slots->memory_bytes() : 0;
  for (const Expression& part : expression.parts) bytes += listed_bytes(part);
  return bytes;
}

}  // namespace

std::size_t FilterCache::Entry::bytes() const {
  return 2 * key.size() + passing.slots->memory_bytes() + sizeof(Entry) +
         (passing.expression != nullptr ? listed_bytes(*passing.expression) : 0);
}

Passing FilterCache::evaluate(std::string_view encoded, const Table& table) {
  Expression expression =
      read_expression(encoded, table.columns(), [&](const ItemList& items) { return slots_of(items, table); });
  return kept_or(expression.key(), table.version(), [&]() -> Passing {
    ColumnOrders orders;
    gather_orders(expression, table, orders);
    auto slots = std::make_shared<const SlotSet>(annlib::evaluate(expression, table, orders));
    return {slots, slots->count(), std::make_shared<const Expression>(std::move(expression))};
  });
}

std::shared_ptr<const SlotSet> FilterCache::slots_of(const ItemList& items, const Table& table) {
  Expression leaf{Expression::Kind::items};
  leaf.hash = items.hash;
  return kept_or(leaf.key(), table.version(),
                 [&]() -> Passing {
                   const auto made = [&] {
                     if (items.mask) {
                       return slots_of_mask(
                           table, {reinterpret_cast<const std::uint8_t*>(items.bytes.data()), items.bytes.size()});
                     }
                     std::vector<std::int64_t> ids(items.bytes.size() / sizeof(std::int64_t));
                     std::copy(items.bytes.begin(), items.bytes.end(), reinterpret_cast<char*>(ids.data()));
                     return slots_of_ids(table, ids);
                   };
                   auto slots = std::make_shared<const SlotSet>(made());
                   return {slots, slots->count(), nullptr};
                 })
      .slots;
}

template <class Make>
Passing FilterCache::kept_or(std::string key, std::uint64_t version, Make&& make) {
  {
    std::lock_guard guard(mutex_);
    if (const Entry* entry = find(key, version)) return entry->passing;
  }
  const Passing passing = make();
  std::lock_guard guard(mutex_);
  // Who evaluates the same beside another takes what the first has kept, so that equal filters give one set.
  if (const Entry* entry = find(key, version)) return entry->passing;
  keep({std::move(key), version, passing});
  return passing;
}

const FilterCache::Entry* FilterCache::find(const std::string& key, std::uint64_t version) {
  const auto at = by_key_.find(key);
  if (at == by_key_.end()) return nullptr;
  if (at->second->version != version) {
    drop(at->second);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, at->second);
  return &entries_.front();
}

void FilterCache::keep(Entry entry) {
  // What describes an earlier state of the table is of no use any more, and lies behind what describes this one.
  while (!entries_.empty() && (bytes_ + entry.bytes() > most_bytes_ || entries_.back().version != entry.version)) {
    drop(std::prev(entries_.end()));
  }
  if (entry.bytes() > most_bytes_) return;
  bytes_ += entry.bytes();
  entries_.push_front(std::move(entry));
  by_key_.emplace(entries_.front().key, entries_.begin());
}

void FilterCache::drop(std::list<Entry>::iterator entry) {
  bytes_ -= entry->bytes();
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

void FilterCache::gather_orders(const Expression& expression, const Table& table, ColumnOrders& orders) {
  if (expression.kind == Expression::Kind::value || expression.kind == Expression::Kind::element) {
    if (!orders.contains(expression.column)) {
      orders.emplace(expression.column, order_of(expression.column, *table.columns().find(expression.column)));
    }
  }
  for (const Expression& part : expression.parts) gather_orders(part, table, orders);
}

std::shared_ptr<const ColumnOrder> FilterCache::order_of(const std::string& name, const Column& column) {
  const auto known = [&]() -> std::shared_ptr<const ColumnOrder> {
    std::lock_guard guard(mutex_);
    Order& order = orders_[name];
    if (order.version != column.version()) order = {column.version(), false, nullptr};
    return order.order;
  };
  if (auto order = known()) return order;
  {
    std::lock_guard guard(mutex_);
    if (!std::exchange(orders_[name].asked_before, true)) return nullptr;
  }
  std::lock_guard sorting(sorting_);
  if (auto order = known()) return order;
  auto made = std::make_shared<const ColumnOrder>(column);
  std::lock_guard guard(mutex_);
  orders_[name] = {column.version(), true, made};
  return made;
}

void FilterCache::forget(const std::string& column) {
  std::lock_guard guard(mutex_);
  orders_.erase(column);
}

std::size_t FilterCache::memory_bytes() const {
  std::lock_guard guard(mutex_);
  std::size_t bytes = bytes_;
  for (const auto& [name, order] : orders_) bytes += order.order ? order.order->memory_bytes() : 0;
  return bytes;
}

std::size_t FilterCache::order_bytes(std::string_view column) const {
  std::lock_guard guard(mutex_);
  const auto at = orders_.find(column);
  return at == orders_.end() || !at->second.order ? 0 : at->second.order->memory_bytes();
}

}  // namespace annlib
