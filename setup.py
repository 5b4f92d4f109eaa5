"""Builds the extension annlib._core: every source under cpp/ but the tests, compiled in parallel."""

from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

ROOMS = [
    "core",
    "simd",
    "table",
    "codec",
    "graph",
    "filter",
    "storage",
    "io",
    "cluster",
    "posting",
    "index",
    "flat",
    "hnsw",
    "spann",
    "disk",
    "bind",
]
SOURCES = sorted(str(source) for room in ROOMS for source in Path("cpp", room).glob("*.cpp"))
HEADERS = sorted(str(header) for header in Path("cpp").rglob("*.h"))

ParallelCompile("ANNLIB_BUILD_JOBS", default=0).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "annlib._core",
            SOURCES,
            include_dirs=["cpp"],
            depends=HEADERS,
            cxx_std=20,
            # No -march: instruction sets are chosen at run time (cpp/simd). No contraction either: a product and a sum
            # fuse only where a kernel says so, so that the same source gives the same bits on every build.
            extra_compile_args=["-O3", "-g0", "-fno-math-errno", "-ffp-contract=off", "-Wall", "-Wextra"],
            extra_link_args=["-pthread"],
        )
    ],
    cmdclass={"build_ext": build_ext},
)
