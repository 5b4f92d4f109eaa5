"""A filter function in C++, for hnswlib: with one in Python, most of a search is calls of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType

# A function without state is handed on by pybind11 as the pointer that it is, so the mask is the module's.
_SOURCE = """
#include <pybind11/pybind11.h>
static const bool* mask = nullptr;
static bool passes(std::size_t row) { return mask[row]; }
PYBIND11_MODULE(mask_filter, m) {
  m.def("use", [](const pybind11::buffer& bytes) { mask = static_cast<const bool*>(bytes.request().ptr); });
  m.def("passes", &passes);
}
"""


def mask_filter() -> ModuleType:
    """Compile and import it: ``use(mask)`` keeps a pointer to an array of bool, ``passes(row)`` looks into it.

    Raises ImportError without pybind11, OSError or CalledProcessError without a compiler that can.
    """
    import pybind11

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "mask_filter.cpp")
        source.write_text(_SOURCE)
        module = source.with_suffix(str(sysconfig.get_config_var("EXT_SUFFIX")))
        headers = [pybind11.get_include(), sysconfig.get_path("include")]
        flags = ["-O1", "-std=c++17", "-shared", "-fPIC", *(f"-I{path}" for path in headers)]
        subprocess.run([os.environ.get("CXX", "c++"), *flags, source, "-o", module], check=True)
        spec = importlib.util.spec_from_file_location("mask_filter", module)
        assert spec is not None and spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
    return made
