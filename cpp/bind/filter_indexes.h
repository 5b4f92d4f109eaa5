#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "hnsw/hnsw_index.h"

namespace annlib::bind {

/// What makes, drops and lists the filter indexes of a graph index.
void bind_filter_indexes(pybind11::class_<HnswIndex, Index, std::shared_ptr<HnswIndex>>& hnsw);

}  // namespace annlib::bind
