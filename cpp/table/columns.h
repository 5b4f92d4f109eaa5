#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"
#include "table/column.h"

namespace annlib {

/// The attributes of a table's rows: columns by name, all of one length. Not thread-safe.
class Columns {
 public:
  using Map = std::map<std::string, Column, std::less<>>;
  static constexpr std::size_t kMost = 512;
  static constexpr std::size_t kLongestName = 1024;

  bool empty() const { return columns_.empty(); }
  std::size_t slots() const { return slots_; }
  const Map& all() const { return columns_; }
  /// nullptr if there is none of this name.
  const Column* find(std::string_view name) const;
  /// ValueError, naming what there is, for an unknown name.
  const Column& require(std::string_view name, const std::string& where) const;

  void resize(std::size_t slots);
  /// Gives the slot `to` the values of `from`.
  void copy(Slot from, Slot to) noexcept;
  /// As Column::tidy(), of each.
  void tidy();
  /// Adds a column of slots() rows, or puts it in the place of another. ValueError for a name that cannot be one and
  /// for too many columns.
  void put(const std::string& name, Column column);

  /// Puts all of another's columns, of as many rows, beside those that are there or in their places.
  void take(Columns&& others) noexcept;

  /// Takes a column away, if it is there.
  void drop(const std::string& name) { columns_.erase(name); }

  std::size_t memory_bytes() const;

 private:
  friend class ColumnsWriter;
  Map columns_;
  std::size_t slots_ = 0;
};

/// ValueError if there would be too many columns with those of `given`.
void require_room(const Columns& there, const Columns& given);
/// The same, and ValueError unless rows of `given` can be written into columns like those of `there`.
void require_fit(const Columns& there, const Columns& given);

/// Writes rows of `to`, a value from `given` where that has the column, else from `kept` (which may be `to`), else
/// null. Columns that `to` lacks are made, and are part of it from commit() on. require_fit() must hold.
class ColumnsWriter {
 public:
  ColumnsWriter(Columns& to, const Columns& kept, const Columns& given);
  /// `kept_slot` and `given_row` may be kNoSlot: there is nothing of that kind.
  void write(Slot to, Slot kept_slot, Slot given_row);
  void commit() noexcept;

 private:
  struct Target {
    Column* to;
    std::optional<ColumnCopy> kept, given;
  };
  Columns& columns_;
  Columns::Map added_;
  std::vector<Target> targets_;
};

}  // namespace annlib
