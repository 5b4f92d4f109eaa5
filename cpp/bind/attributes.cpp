#include "bind/attributes.h"

#include <cstring>
#include <vector>

#include "core/error.h"

namespace annlib::bind {
namespace {

template <class T>
std::vector<T> vector_of(const py::handle& value) {
  const auto array = py::cast<py::array_t<T, py::array::c_style>>(value);
  return {array.data(), array.data() + array.size()};
}

template <class T>
py::array_t<T> copy_of(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

AttributeRows rows_of(const py::tuple& value) {
  AttributeRows rows;
  const auto type = py::cast<std::size_t>(value[0]);
  if (type >= kAttributeTypes) throw ValueError("an attribute of no known type");
  rows.type = static_cast<AttributeType>(type);
  rows.present = vector_of<std::uint8_t>(value[1]);
  if (rows.type == AttributeType::real) {
    rows.reals = vector_of<double>(value[2]);
  } else {
    rows.integers = vector_of<std::int64_t>(value[2]);
  }
  rows.lists = vector_of<std::int64_t>(value[3]);
  rows.texts = vector_of<std::int64_t>(value[4]);
  rows.text = py::cast<std::string>(value[5]);
  return rows;
}

}  // namespace

Columns columns_of(const py::dict& attributes) {
  Columns columns;
  for (const auto& [name, value] : attributes) {
    const auto column_name = py::cast<std::string>(name);
    const AttributeRows rows = rows_of(py::cast<py::tuple>(value));
    py::gil_scoped_release release;
    try {
      columns.put(column_name, Column(rows));
    } catch (const ValueError& error) {
      throw ValueError("attribute '" + column_name + "': " + error.what());
    }
  }
  return columns;
}

py::dict dict_of(const std::map<std::string, AttributeRows>& attributes) {
  py::dict result;
  for (const auto& [name, rows] : attributes) {
    const py::object numbers =
        rows.type == AttributeType::real ? py::object(copy_of(rows.reals)) : py::object(copy_of(rows.integers));
    result[py::str(name)] = py::make_tuple(static_cast<std::size_t>(rows.type), copy_of(rows.present), numbers,
                                           copy_of(rows.lists), copy_of(rows.texts), py::bytes(rows.text));
  }
  return result;
}

}  // namespace annlib::bind
