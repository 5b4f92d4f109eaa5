#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/slot_set.h"
#include "filter/interval_set.h"
#include "table/columns.h"

namespace annlib {

/// A filter over attributes and listed items in normal form: negations at the leaves only, conjunctions and
/// disjunctions alternating, constants folded, conditions on one column merged where they can be, parts sorted and
/// different from each other.
///
/// There are two truth values: a comparison with null is false, and a negation lets through exactly what its operand
/// does not.
struct Expression {
  enum class Kind : std::uint8_t {
    nothing,
    everything,
    value,      ///< of a column that holds no lists: the value is in `values`, or null and `null` holds
    element,    ///< of a column of lists: an element is in `values`, which are single ones
    null_list,  ///< of a column of lists: it is null
    items,      ///< the item is one of `slots`
    all_of,
    any_of,
  };

  Kind kind = Kind::everything;
  bool negated = false;     ///< of `element`, `null_list` and `items`
  bool null = false;        ///< of `value`
  std::string column = {};  ///< of leaves but `items`
  IntervalSet values = {};
  std::vector<Expression> parts = {};
  std::string hash = {};  ///< of `items`: of the list that `slots` were made of
  std::shared_ptr<const SlotSet> slots = {};

  /// Equal for equal expressions, and different for different ones.
  std::string key() const;
};

Expression all_of(std::vector<Expression> parts);
Expression any_of(std::vector<Expression> parts);
Expression complement(Expression expression);
/// A leaf, or what it comes to where it says nothing of the items or nothing else.
Expression folded(Expression leaf);

/// Items that a filter lists: by their ids (i64, one behind the other), or by a mask, a byte for each live item by
/// order of arrival.
struct ItemList {
  bool mask;
  std::string_view bytes;
  std::string_view hash;  ///< of all the above
};
/// The slots of these items. May throw, for a mask of another length.
using SlotsOfItems = std::function<std::shared_ptr<const SlotSet>(const ItemList&)>;

/// Reads an expression as annlib/filters/encoding.py writes it:
///
///   node     0 | 1: nothing, everything; 2 node: not; 3 | 4 count:u32 node...: all, any; 5 leaf;
///            6 | 7 hash:16 bytes length:u64 bytes: an ItemList of ids, of a mask
///   leaf     operator:u8 position:i32 column:text count:u32 literal...
///   literal  0 u8: bool; 1 i64: int; 2 f64: float; 3 text; 4 i64: instant; 5 i64 text: a text that is an instant too
///   text     length:u32 bytes
///
/// all numbers little endian, instants in microseconds since 1970-01-01, and normalises it for `columns`, with the
/// `slots_of` its items. ValueError for an unknown column, a literal or an operator that is none for the column's type,
/// naming the leaf's position in the user's text unless it is negative, and for what is no expression.
Expression read_expression(std::string_view encoded, const Columns& columns, const SlotsOfItems& slots_of);

}  // namespace annlib
