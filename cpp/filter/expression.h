#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "filter/interval_set.h"
#include "table/columns.h"

namespace annlib {

/// A filter over attributes in normal form: negations at the leaves only, conjunctions and disjunctions alternating,
/// constants folded, conditions on one column merged where they can be, parts sorted and different from each other.
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
    all_of,
    any_of,
  };

  Kind kind = Kind::everything;
  bool negated = false;     ///< of `element` and `null_list`
  bool null = false;        ///< of `value`
  std::string column = {};  ///< of leaves
  IntervalSet values = {};
  std::vector<Expression> parts = {};

  /// Equal for equal expressions, and different for different ones.
  std::string key() const;
};

Expression all_of(std::vector<Expression> parts);
Expression any_of(std::vector<Expression> parts);
Expression complement(const Expression& expression);

/// Reads an expression as annlib/filters/encoding.py writes it:
///
///   node     0 | 1: nothing, everything; 2 node: not; 3 | 4 count:u32 node...: all, any; 5 leaf
///   leaf     operator:u8 position:i32 column:text count:u32 literal...
///   literal  0 u8: bool; 1 i64: int; 2 f64: float; 3 text; 4 i64: instant; 5 i64 text: a text that is an instant too
///   text     length:u32 bytes
///
/// all numbers little endian, instants in microseconds since 1970-01-01, and normalises it for `columns`. ValueError
/// for an unknown column, a literal or an operator that is none for the column's type, naming the leaf's position in
/// the user's text unless it is negative, and for what is no expression.
Expression read_expression(std::string_view encoded, const Columns& columns);

}  // namespace annlib
