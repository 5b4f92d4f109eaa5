#include <cstring>

#include "bind/arrays.h"
#include "core/error.h"

namespace annlib::bind {
namespace {

// What a damaged file or the name of a file holds may stand in the message, and need not be UTF-8.
PyObject* text_of(const std::exception& error) {
  return PyUnicode_DecodeUTF8(error.what(), static_cast<py::ssize_t>(std::strlen(error.what())), "replace");
}

void set_error(PyObject* type, const std::exception& error) {
  const auto text = py::reinterpret_steal<py::object>(text_of(error));
  if (text) PyErr_SetObject(type, text.ptr());
}

}  // namespace

void register_errors(py::module_& m) {
  static PyObject* corrupt = PyErr_NewExceptionWithDoc(
      "annlib.CorruptIndexError", "The bytes are not a well-formed annlib index.", PyExc_RuntimeError, nullptr);
  static PyObject* version =
      PyErr_NewExceptionWithDoc("annlib.VersionError", "The file has a newer format than this version of annlib reads.",
                                PyExc_RuntimeError, nullptr);
  m.attr("CorruptIndexError") = py::handle(corrupt);
  m.attr("VersionError") = py::handle(version);
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const ValueError& error) {
      set_error(PyExc_ValueError, error);
    } catch (const KeyError& error) {
      set_error(PyExc_KeyError, error);
    } catch (const CorruptError& error) {
      set_error(corrupt, error);
    } catch (const VersionError& error) {
      set_error(version, error);
    } catch (const OsError& error) {
      const py::object value = py::reinterpret_steal<py::object>(PyObject_CallFunction(
          PyExc_OSError, "iNN", error.errno_code, text_of(error), PyUnicode_DecodeFSDefault(error.path.c_str())));
      if (value) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(value.ptr())), value.ptr());
    }
  });
}

}  // namespace annlib::bind
