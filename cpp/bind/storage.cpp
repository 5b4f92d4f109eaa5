#include <pybind11/stl.h>

#include "bind/arrays.h"
#include "core/error.h"

namespace annlib::bind {

void bind_storage(py::module_& m) {
  using storage::Container;
  using storage::SectionInfo;

  py::class_<SectionInfo>(m, "Section", "One row of a file's section table.")
      .def_readonly("name", &SectionInfo::name)
      .def_readonly("shape", &SectionInfo::shape)
      .def_readonly("offset", &SectionInfo::offset)
      .def_readonly("length", &SectionInfo::length)
      .def_property_readonly("dtype",
                             [](const SectionInfo& s) { return py::str(dtype_of(s.type)).cast<std::string>(); });

  py::class_<Container, std::shared_ptr<Container>>(m, "Container", "An index file opened for reading.")
      .def_static(
          "open",
          [](const std::string& path, bool map, bool verify) {
            return std::const_pointer_cast<Container>(Container::open(path, map, verify));
          },
          py::arg("path"), py::arg("mmap"), py::arg("verify"), py::call_guard<py::gil_scoped_release>())
      .def_static(
          "from_bytes",
          [](const py::buffer& data) {
            const py::buffer_info info = data.request();
            const auto* begin = static_cast<const std::byte*>(info.ptr);
            std::vector<std::byte> bytes(begin, begin + info.size * info.itemsize);
            py::gil_scoped_release release;
            return std::const_pointer_cast<Container>(Container::from_bytes(std::move(bytes)));
          },
          py::arg("data"))
      .def_property_readonly("kind", &Container::kind)
      .def_property_readonly("version", &Container::version)
      .def_property_readonly("file_bytes", &Container::file_bytes)
      .def_property_readonly("sections", &Container::sections)
      .def("__contains__", [](const Container& c, const std::string& name) { return c.find(name) != nullptr; })
      .def(
          "read",
          [](const Container& c, const std::string& name) {
            const SectionInfo* section = c.find(name);
            if (section == nullptr) throw CorruptError("section " + name + " is missing");
            // A shape with a zero in it may have anything beside it.
            std::vector<py::ssize_t> shape;
            for (std::uint64_t extent : section->shape) {
              shape.push_back(section->length == 0 ? 0 : static_cast<py::ssize_t>(extent));
            }
            py::array out(dtype_of(section->type), shape);
            auto* data = static_cast<std::byte*>(out.mutable_data());
            {
              py::gil_scoped_release release;
              c.read(*section, {data, section->length});
            }
            return out;
          },
          py::arg("name"), "A copy of a section as an array.");

  m.def("verify_container", &storage::verify_container, py::arg("path"), py::call_guard<py::gil_scoped_release>(),
        "One line for each thing that is wrong with a file.");
}

}  // namespace annlib::bind
