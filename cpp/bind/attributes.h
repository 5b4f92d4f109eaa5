#pragma once

#include <map>
#include <string>

#include "bind/arrays.h"
#include "table/columns.h"

namespace annlib::bind {

/// Attributes cross the border as a dict of tuples, by name: (type, present, numbers, lists, texts, text), the arrays
/// of AttributeRows, empty where the type has none.
Columns columns_of(const py::dict& attributes);
py::dict dict_of(const std::map<std::string, AttributeRows>& attributes);

}  // namespace annlib::bind
