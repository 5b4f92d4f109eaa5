#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/arrays.h"
#include "core/parallel.h"
#include "simd/simd.h"

PYBIND11_MODULE(_core, m) {
  using namespace annlib;
  namespace py = pybind11;
  m.doc() = "The C++ core of annlib. Its users are the modules of the package annlib.";
  bind::register_errors(m);
  bind::bind_storage(m);
  bind::bind_codecs(m);
  bind::bind_indexes(m);
  bind::bind_disk(m);
  m.def("set_num_threads", &set_num_threads, py::arg("n"));
  m.def("num_threads", &num_threads);
  m.def("simd_in_use", [] { return std::string(simd::kernels().name); });
  m.def("simd_available", [] {
    std::vector<std::string> names;
    for (const simd::Kernels* kernels : simd::available_kernels()) names.emplace_back(kernels->name);
    return names;
  });
}
