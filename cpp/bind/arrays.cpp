#include "bind/arrays.h"

#include <chrono>

#include "core/error.h"

namespace annlib::bind {
namespace {

constexpr const char* kDTypes[] = {"float32", "float16", "int8", "uint8"};
constexpr const char* kMetrics[] = {"l2", "ip", "cosine"};
constexpr const char* kElements[] = {"u1", "i1", "u2", "u4", "i8", "u8", "f2", "f4", "f8"};

}  // namespace

DType parse_dtype(const std::string& name) {
  for (std::uint8_t i = 0; i < 4; ++i) {
    if (name == kDTypes[i]) return static_cast<DType>(i);
  }
  throw ValueError("unknown dtype '" + name + "'; there are: float32, float16, int8, uint8");
}

Metric parse_metric(const std::string& name) {
  for (std::uint8_t i = 0; i < 3; ++i) {
    if (name == kMetrics[i]) return static_cast<Metric>(i);
  }
  throw ValueError("unknown metric '" + name + "'; there are: l2, ip, cosine");
}

const char* name_of(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }
const char* name_of(Metric metric) { return kMetrics[static_cast<std::size_t>(metric)]; }

VectorBlock block_of(const py::array& vectors, const char* what) {
  if (vectors.ndim() < 1 || vectors.ndim() > 2 || !(vectors.flags() & py::array::c_style)) {
    throw ValueError(std::string(what) + " must be an array of one or two dimensions in C order");
  }
  VectorBlock block;
  const char kind = vectors.dtype().kind();
  const auto size = vectors.itemsize();
  if (kind == 'f' && size == 4) {
    block.dtype = DType::f32;
  } else if (kind == 'f' && size == 2) {
    block.dtype = DType::f16;
  } else if (kind == 'i' && size == 1) {
    block.dtype = DType::i8;
  } else if (kind == 'u' && size == 1) {
    block.dtype = DType::u8;
  } else {
    throw ValueError(std::string(what) + " must be float32, float16, int8 or uint8");
  }
  block.data = vectors.data();
  block.count = vectors.ndim() == 1 ? 1 : static_cast<std::size_t>(vectors.shape(0));
  block.dim = static_cast<std::uint32_t>(vectors.shape(vectors.ndim() - 1));
  return block;
}

Progress progress_of(const py::object& callable) {
  using Clock = std::chrono::steady_clock;
  auto last = std::make_shared<Clock::time_point>(Clock::now());
  const auto quiet = std::chrono::milliseconds(callable.is_none() ? 200 : 50);
  return [callable, last, quiet](std::size_t done, std::size_t total) {
    const auto now = Clock::now();
    if (done < total && now - *last < quiet) return;
    *last = now;
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!callable.is_none()) callable(done, total);
  };
}

py::dtype dtype_of(storage::ElementType type) {
  return py::dtype(std::string("<") + kElements[static_cast<std::size_t>(type)]);
}

std::vector<storage::SectionView> sections_of(const py::dict& arrays) {
  std::vector<storage::SectionView> sections;
  for (const auto& [name, value] : arrays) {
    const auto array = py::reinterpret_borrow<py::array>(value);
    storage::SectionView section;
    section.name = py::cast<std::string>(name);
    const std::string element = std::string(1, array.dtype().kind()) + std::to_string(array.itemsize());
    bool known = false;
    for (std::uint8_t i = 0; i < std::size(kElements); ++i) {
      if (element != kElements[i]) continue;
      section.type = static_cast<storage::ElementType>(i);
      known = true;
    }
    if (!known || !(array.flags() & py::array::c_style)) {
      throw ValueError("section " + section.name + " is not a plain array of numbers in C order");
    }
    for (py::ssize_t i = 0; i < array.ndim(); ++i) section.shape.push_back(static_cast<std::uint64_t>(array.shape(i)));
    section.bytes = {static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.nbytes())};
    sections.push_back(std::move(section));
  }
  return sections;
}

}  // namespace annlib::bind
