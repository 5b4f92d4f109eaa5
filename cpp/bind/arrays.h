#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "filter/row_filter.h"
#include "index/index.h"
#include "storage/container.h"
#include "table/vectors.h"

namespace annlib::bind {

namespace py = pybind11;

using IdArray = py::array_t<std::int64_t, py::array::c_style>;
using MaskArray = py::array_t<bool, py::array::c_style>;

/// "float32", "float16", "int8", "uint8" and "l2", "ip", "cosine"; ValueError for others.
DType parse_dtype(const std::string& name);
Metric parse_metric(const std::string& name);
const char* name_of(DType dtype);
const char* name_of(Metric metric);

/// The array's own memory: (n, dim), or (dim,) for one; C order, of one of the four dtypes. ValueError for any other.
VectorBlock block_of(const py::array& vectors, const char* what);

inline std::span<const std::int64_t> span_of(const IdArray& ids) {
  return {ids.data(), static_cast<std::size_t>(ids.size())};
}

/// The index's Progress for a Python callable(done, total) or None. Looks for signals too, so that Ctrl-C stops long
/// work; both a few times a second at most.
Progress progress_of(const py::object& callable);

/// Arrays by name as sections, which view the arrays.
std::vector<storage::SectionView> sections_of(const py::dict& arrays);

py::dtype dtype_of(storage::ElementType type);

void register_errors(py::module_& m);
void bind_codecs(py::module_& m);
void bind_indexes(py::module_& m);
void bind_disk(py::module_& m);  // behind the indexes, of which it has one
void bind_storage(py::module_& m);

/// The values as an array that owns them.
template <class T>
py::array_t<T> array_of(std::vector<T> values) {
  auto* kept = new std::vector<T>(std::move(values));
  const py::capsule owner(kept, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

}  // namespace annlib::bind
