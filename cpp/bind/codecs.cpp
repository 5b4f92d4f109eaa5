#include <pybind11/stl.h>

#include "bind/arrays.h"
#include "codec/codec.h"
#include "core/error.h"
#include "core/parallel.h"

namespace annlib::bind {
namespace {

/// (distances of shape (queries, vectors), bytes of a code)
py::tuple code_distances(const std::string& codec, const std::string& metric, const py::array& vectors,
                         const py::array& queries) {
  const VectorBlock rows = block_of(vectors, "vectors"), asked = block_of(queries, "queries");
  if (rows.dim != asked.dim) throw ValueError("vectors and queries differ in dim");
  std::unique_ptr<Codec> made = make_codec(codec, parse_metric(metric), rows.dim);
  if (made == nullptr) throw ValueError("'" + codec + "' makes no codes");
  py::array_t<float> out({static_cast<py::ssize_t>(asked.count), static_cast<py::ssize_t>(rows.count)});
  float* distances = out.mutable_data();
  const std::size_t bytes = made->code_bytes();
  {
    const py::gil_scoped_release release;
    Table table(rows.dim, rows.dtype, parse_metric(metric));
    std::vector<Slot> slots;
    for (std::size_t i = 0; i < rows.count; ++i) slots.push_back(table.append(rows.row(i)));
    CodeSpace codes(table, std::move(made));
    codes.train(StoredSpace(table), slots, 0);
    parallel_for(asked.count, 16, 0, [&](std::size_t begin, std::size_t end, int) {
      QueryBuffer buffer;
      for (std::size_t q = begin; q < end; ++q) {
        codes.prepare({asked.row(q), asked.dtype}, buffer).score_range(0, rows.count, distances + q * rows.count);
      }
    });
  }
  return py::make_tuple(out, bytes);
}

}  // namespace

void bind_codecs(py::module_& m) {
  m.def("codec_names", &codec_names, "Names that an index takes as its codec.");
  m.def("code_distances", &code_distances, py::arg("codec"), py::arg("metric"), py::arg("vectors"), py::arg("queries"),
        "Distances (q, n) by codes alone, learnt from the vectors, and the bytes of a code: to measure a codec.");
}

}  // namespace annlib::bind
