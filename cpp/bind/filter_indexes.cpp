#include "bind/filter_indexes.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "core/error.h"

namespace py = pybind11;

namespace annlib::bind {
namespace {

using Release = py::gil_scoped_release;

constexpr const char* kKinds[] = {"label", "range"};

FilterIndexKind parse_kind(const std::string& name) {
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    if (name == kKinds[i]) return static_cast<FilterIndexKind>(i);
  }
  throw ValueError("unknown kind of filter index '" + name + "'; there are: label, range");
}

py::dict filter_indexes(const HnswIndex& index) {
  std::map<std::string, HnswIndex::FilterIndexStats> stats;
  {
    Release release;
    stats = index.filter_indexes();
  }
  py::dict result;
  for (const auto& [name, one] : stats) {
    py::dict entry;
    entry["kind"] = kKinds[static_cast<std::size_t>(one.params.kind)];
    entry["subgraphs"] = one.subgraphs;
    entry["members"] = one.members;
    entry["bytes"] = one.bytes;
    entry["changes"] = one.changes;
    result[py::str(name)] = entry;
  }
  return result;
}

}  // namespace

void bind_filter_indexes(py::class_<HnswIndex, Index, std::shared_ptr<HnswIndex>>& hnsw) {
  hnsw.def(
          "create_filter_index",
          [](HnswIndex& index, const std::string& name, const std::string& kind, std::uint64_t min_items,
             std::optional<std::uint64_t> memory_budget, int threads) {
            const FilterIndexParams what{parse_kind(kind), min_items,
                                         memory_budget.value_or(FilterIndexParams::kAsTheItems)};
            Release release;
            index.create_filter_index(name, what, threads);
          },
          py::arg("name"), py::arg("kind"), py::arg("min_items"), py::arg("memory_budget"), py::arg("threads"))
      .def("drop_filter_index", &HnswIndex::drop_filter_index, py::arg("name"), py::call_guard<Release>())
      .def("filter_indexes", &filter_indexes);
}

}  // namespace annlib::bind
