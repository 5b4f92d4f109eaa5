#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/slot_set.h"
#include "filter/evaluate.h"
#include "filter/expression.h"
#include "table/table.h"

namespace annlib {

/// Live slots that pass a filter, and how many they are.
struct Passing {
  std::shared_ptr<const SlotSet> slots;  ///< nullptr: there is no filter, and all that lives passes
  std::size_t count = 0;
  std::shared_ptr<const Expression> expression;  ///< nullptr where the filter is none over attributes
};

/// Evaluates expressions over the columns of a table that changes, and keeps what it may need again: their slots by
/// normal form, the least recently used of which go first, and orders of columns, from the second evaluation of an
/// unchanged column on, since sorting one costs several scans of it. What items an expression lists is kept by itself,
/// under the list's hash, for the next expression with it. Thread-safe as long as the table does not change during a
/// call.
class FilterCache {
 public:
  explicit FilterCache(std::size_t most_bytes = std::size_t{64} << 20) : most_bytes_(most_bytes) {}

  /// `encoded` as for read_expression(), whose errors these are.
  Passing evaluate(std::string_view encoded, const Table& table);

  /// Frees what belongs to a column that is no more.
  void forget(const std::string& column);

  std::size_t memory_bytes() const;
  /// Of the order of one column; 0 where there is none.
  std::size_t order_bytes(std::string_view column) const;

 private:
  struct Entry {
    std::string key;
    std::uint64_t version;
    Passing passing;
    std::size_t bytes() const;
  };
  struct Order {
    std::uint64_t version = 0;
    bool asked_before = false;
    std::shared_ptr<const ColumnOrder> order;
  };

  /// What is kept under `key`, or else make().
  template <class Make>
  Passing kept_or(std::string key, std::uint64_t version, Make&& make);
  std::shared_ptr<const SlotSet> slots_of(const ItemList& items, const Table& table);
  const Entry* find(const std::string& key, std::uint64_t version);
  void keep(Entry entry);
  void drop(std::list<Entry>::iterator entry);
  void gather_orders(const Expression& expression, const Table& table, ColumnOrders& orders);
  std::shared_ptr<const ColumnOrder> order_of(const std::string& name, const Column& column);

  const std::size_t most_bytes_;
  mutable std::mutex mutex_;  // of all below
  std::list<Entry> entries_;  // the most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;
  std::size_t bytes_ = 0;
  std::map<std::string, Order, std::less<>> orders_;
  std::mutex sorting_;  // one column at a time; taken before mutex_
};

}  // namespace annlib
