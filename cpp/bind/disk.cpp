#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind/arrays.h"
#include "bind/attributes.h"
#include "bind/searching.h"
#include "core/error.h"
#include "disk/disk_index.h"

namespace annlib::bind {
namespace {

using disk::Builder;
using disk::DiskIndex;

/// Copies of a dict's arrays.
storage::SectionList copies_of(const py::dict& arrays) {
  storage::SectionList sections;
  for (const storage::SectionView& view : sections_of(arrays)) {
    sections.add_copy(view.name, view.type, view.shape, view.bytes);
  }
  return sections;
}

/// A function of Python's that is called from any thread, and let go of under the GIL.
std::shared_ptr<py::function> shared(py::function function) {
  return {new py::function(std::move(function)), [](py::function* f) {
            py::gil_scoped_acquire gil;
            delete f;
          }};
}

DiskIndex::Extra extra_of(py::function function) {
  return [function = shared(std::move(function))] {
    py::gil_scoped_acquire gil;
    return copies_of((*function)().cast<py::dict>());
  };
}

py::tuple open(const std::string& directory, std::size_t cache_bytes, const std::string& engine, bool direct,
               bool read_only, std::size_t fresh_bytes) {
  disk::OpenOptions options;
  options.cache_bytes = cache_bytes;
  options.engine = io::engine_named(engine);
  options.direct = direct;
  options.read_only = read_only;
  options.fresh_bytes = fresh_bytes;
  std::vector<std::shared_ptr<storage::Container>> records;
  std::shared_ptr<DiskIndex> index;
  {
    Release release;
    index = DiskIndex::open(directory, options, [&](const std::string& kind, const auto& record) {
      if (kind == "add") records.push_back(std::const_pointer_cast<storage::Container>(record));
    });
  }
  return py::make_tuple(index, records);
}

std::unique_ptr<Builder> builder(const std::string& directory, std::uint32_t dim, const std::string& dtype,
                                 const std::string& metric, std::uint32_t list_size, std::uint32_t replicas,
                                 const std::string& codec, std::uint64_t seed, std::uint64_t memory_budget) {
  disk::Params params;
  params.lists.dim = dim;
  params.lists.dtype = parse_dtype(dtype);
  params.lists.metric = parse_metric(metric);
  params.lists.list_size = list_size;
  params.lists.replicas = replicas;
  params.lists.seed = seed;
  params.codec = disk::codec_for(codec, dim);
  params.memory_budget = memory_budget;
  const SpannIndex check(params.lists);
  Release release;
  return std::make_unique<Builder>(directory, params);
}

disk::BuildProgress build_progress_of(const py::object& callable) {
  if (callable.is_none()) return {};
  return [function = shared(callable.cast<py::function>())](const char* phase, std::size_t done, std::size_t total) {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    (*function)(phase, done, total);
  };
}

py::dict counts(const DiskIndex& index) {
  DiskIndex::Counts counts;
  {
    Release release;
    counts = index.counts();
  }
  py::dict result;
  result["lists"] = counts.lists;
  result["postings"] = counts.postings;
  result["shortest_list"] = counts.shortest;
  result["median_list"] = counts.median;
  result["longest_list"] = counts.longest;
  result["fresh"] = counts.fresh;
  result["stale"] = counts.stale;
  result["centroid_bytes"] = counts.centroid_bytes;
  result["item_bytes"] = counts.item_bytes;
  result["mapped_bytes"] = counts.mapped_bytes;
  result["fresh_bytes"] = counts.fresh_bytes;
  result["resident_bytes"] = counts.resident_bytes;
  result["cache_bytes"] = counts.cache_bytes;
  result["cache_capacity"] = counts.cache_capacity;
  result["cache_hits"] = counts.cache_hits;
  result["cache_misses"] = counts.cache_misses;
  result["list_file_bytes"] = counts.list_file_bytes;
  result["vector_file_bytes"] = counts.vector_file_bytes;
  result["log_bytes"] = counts.log_bytes;
  result["reads"] = counts.reads;
  result["bytes_read"] = counts.bytes_read;
  result["engine"] = counts.engine;
  result["direct"] = counts.direct;
  result["stored_dtype"] = name_of(counts.stored_dtype);
  return result;
}

}  // namespace

void bind_disk(py::module_& m) {
  py::class_<Builder>(m, "DiskBuilder", "A directory being filled. For one thread.")
      .def(py::init(&builder), py::arg("directory"), py::arg("dim"), py::arg("dtype"), py::arg("metric"),
           py::arg("list_size"), py::arg("replicas"), py::arg("codec"), py::arg("seed"), py::arg("memory_budget"))
      .def(
          "add",
          [](Builder& builder, const py::array& vectors, const IdArray& ids) {
            const VectorBlock block = block_of(vectors, "vectors");
            const auto span = span_of(ids);
            Release release;
            builder.add(block, span);
          },
          py::arg("vectors"), py::arg("ids"))
      .def(
          "finish",
          [](Builder& builder, const py::dict& attributes, const py::function& extra, int threads,
             const py::object& progress) {
            const Columns columns = columns_of(attributes);
            const auto more = extra_of(extra);
            const auto report = build_progress_of(progress);
            Release release;
            builder.finish(columns, more, threads, report);
          },
          py::arg("attributes"), py::arg("extra"), py::arg("threads"), py::arg("progress"))
      .def("room", &Builder::room, py::arg("count"),
           "Bytes that the budget leaves beside the least that so many vectors take.")
      .def("__len__", &Builder::count);

  py::class_<DiskIndex, Index, std::shared_ptr<DiskIndex>>(m, "DiskIndex")
      .def_static("open", &open, py::arg("directory"), py::arg("cache_bytes"), py::arg("engine"), py::arg("direct"),
                  py::arg("read_only"), py::arg("fresh_bytes"),
                  "The index, and of the changes in its log those that added something.")
      .def_property_readonly(
          "manifest", [](const DiskIndex& i) { return std::const_pointer_cast<storage::Container>(i.manifest()); })
      .def_property_readonly("directory", [](const DiskIndex& i) { return py::bytes(i.directory()); })
      .def_property_readonly("list_size", [](const DiskIndex& i) { return i.params().lists.list_size; })
      .def_property_readonly("replicas", [](const DiskIndex& i) { return i.params().lists.replicas; })
      .def_property_readonly("seed", [](const DiskIndex& i) { return i.params().lists.seed; })
      .def_property_readonly("codec", [](const DiskIndex& i) { return i.params().codec; })
      .def_property_readonly("memory_budget", [](const DiskIndex& i) { return i.params().memory_budget; })
      .def_property_readonly("read_only", &DiskIndex::read_only)
      .def_property_readonly("closed", &DiskIndex::closed)
      .def(
          "set_extra", [](DiskIndex& index, py::function extra) { index.set_extra(extra_of(std::move(extra))); },
          py::arg("extra"), "What gives the arrays to be written beside the index.")
      .def(
          "note", [](DiskIndex& index, const py::dict& arrays) { index.note(copies_of(arrays)); }, py::arg("arrays"),
          "They go into the log with the next change.")
      .def("merge", &DiskIndex::merge, py::arg("threads"), py::call_guard<Release>())
      .def("wait_for_work", &DiskIndex::wait_for_work, py::arg("seconds"), py::call_guard<Release>())
      .def("close", &DiskIndex::close, py::call_guard<Release>())
      .def("damage", &DiskIndex::damage, py::call_guard<Release>())
      .def("counts", &counts)
      .def(
          "bottom_ids",
          [](const DiskIndex& index) {
            std::vector<std::int64_t> ids;
            {
              Release release;
              ids = index.ids();
            }
            return array_of(std::move(ids));
          },
          "All ids.")
      .def(
          "search_left_out",
          [](const DiskIndex& index, const IdArray& left_out, std::size_t k, std::size_t ef,
             std::optional<MaskArray> mask, std::optional<IdArray> ids, const std::optional<py::bytes>& expression,
             int threads, const std::string& plan) {
            py::array vectors(py::dtype(name_of(index.dtype())),
                              {left_out.size(), static_cast<py::ssize_t>(index.dim())});
            auto* data = static_cast<std::byte*>(vectors.mutable_data());
            {
              Release release;
              index.get(span_of(left_out), data);
            }
            return search_left_out_with(index, vectors, left_out, k, ef, std::move(mask), std::move(ids), expression,
                                        threads, plan);
          },
          py::arg("left_out"), py::arg("k"), py::arg("ef"), py::arg("mask"), py::arg("ids"), py::arg("expression"),
          py::arg("threads"), py::arg("plan"),
          "search() with the vectors of these, each as though neither it nor what equals it were there.");
}

}  // namespace annlib::bind
