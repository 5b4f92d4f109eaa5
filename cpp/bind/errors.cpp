#include "core/error.h"

#include "bind/arrays.h"

namespace annlib::bind {

void register_errors(py::module_& m) {
  static PyObject* corrupt =
      PyErr_NewExceptionWithDoc("annlib.CorruptIndexError", "The bytes are not a well-formed annlib index.",
                                PyExc_RuntimeError, nullptr);
  static PyObject* version =
      PyErr_NewExceptionWithDoc("annlib.VersionError", "The file has a newer format than this version of annlib reads.",
                                PyExc_RuntimeError, nullptr);
  m.attr("CorruptIndexError") = py::handle(corrupt);
  m.attr("VersionError") = py::handle(version);
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const ValueError& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    } catch (const KeyError& error) {
      PyErr_SetString(PyExc_KeyError, error.what());
    } catch (const CorruptError& error) {
      PyErr_SetString(corrupt, error.what());
    } catch (const VersionError& error) {
      PyErr_SetString(version, error.what());
    } catch (const OsError& error) {
      const py::object value = py::reinterpret_steal<py::object>(
          PyObject_CallFunction(PyExc_OSError, "iss", error.errno_code, error.what(), error.path.c_str()));
      if (value) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(value.ptr())), value.ptr());
    }
  });
}

}  // namespace annlib::bind
