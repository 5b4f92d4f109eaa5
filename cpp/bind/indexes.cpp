#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "bind/arrays.h"
#include "bind/attributes.h"
#include "bind/filter_indexes.h"
#include "bind/searching.h"
#include "core/error.h"
#include "flat/flat_index.h"
#include "hnsw/hnsw_index.h"
#include "spann/spann_index.h"

namespace annlib::bind {
namespace {

template <class T>
py::array_t<std::int64_t> ids_of(const T& index, std::vector<std::int64_t> (T::*list)() const) {
  std::vector<std::int64_t> ids;
  {
    Release release;
    ids = (index.*list)();
  }
  return array_of(std::move(ids));
}

py::dict attributes(const Index& index, const IdArray& ids) {
  const auto span = span_of(ids);
  std::map<std::string, AttributeRows> rows;
  {
    Release release;
    rows = index.attributes(span);
  }
  return dict_of(rows);
}

py::dict attribute_types(const Index& index) {
  py::dict result;
  for (const auto& [name, type] : index.attribute_types()) result[py::str(name)] = static_cast<std::size_t>(type);
  return result;
}

py::dict attribute_stats(const Index& index) {
  std::map<std::string, Index::AttributeStats> stats;
  {
    Release release;
    stats = index.attribute_stats();
  }
  py::dict result;
  for (const auto& [name, one] : stats) {
    py::dict entry;
    entry["type"] = name_of(one.type);
    entry["nulls"] = one.nulls;
    entry["bytes"] = one.bytes;
    entry["order_bytes"] = one.order_bytes;
    result[py::str(name)] = entry;
  }
  return result;
}

constexpr const char* kLayouts[] = {"auto", "plain", "fused"};

Layout parse_layout(const std::string& name) {
  for (std::size_t i = 0; i < std::size(kLayouts); ++i) {
    if (name == kLayouts[i]) return static_cast<Layout>(i);
  }
  throw ValueError("unknown layout '" + name + "'; there are: auto, plain, fused");
}

std::string layout_name(Layout layout) { return kLayouts[static_cast<std::size_t>(layout)]; }

py::array get(const Index& index, const IdArray& ids) {
  py::array out(py::dtype(name_of(index.dtype())), {ids.size(), static_cast<py::ssize_t>(index.dim())});
  auto* data = static_cast<std::byte*>(out.mutable_data());
  const auto span = span_of(ids);
  Release release;
  index.get(span, data);
  return out;
}

py::array loaded(const HnswIndex& index, const IdArray& ids) {
  py::array_t<float> out({ids.size(), static_cast<py::ssize_t>(index.dim())});
  float* data = out.mutable_data();
  const auto span = span_of(ids);
  Release release;
  index.load(span, data);
  return out;
}

py::array vectors_of(const Index& index, const IdArray& ids) { return get(index, ids); }
py::array vectors_of(const HnswIndex& index, const IdArray& ids) {
  return index.keeps_vectors() ? get(index, ids) : loaded(index, ids);
}

template <class T>
py::tuple search_left_out(const T& index, const IdArray& left_out, std::size_t k, std::size_t ef,
                          std::optional<MaskArray> mask, std::optional<IdArray> ids,
                          const std::optional<py::bytes>& expression, int threads, const std::string& plan) {
  return search_left_out_with(index, vectors_of(index, left_out), left_out, k, ef, std::move(mask), std::move(ids),
                              expression, threads, plan);
}

py::array_t<bool> contains(const Index& index, const IdArray& ids) {
  py::array_t<bool> out(ids.size());
  bool* data = out.mutable_data();
  const auto span = span_of(ids);
  Release release;
  index.contains(span, data);
  return out;
}

// The index's own sections and, behind them, those of the Python layer.
template <class F>
void with_all_sections(const Index& index, const py::dict& extra, F&& f) {
  const auto more = sections_of(extra);
  Release release;
  index.with_sections([&](const std::string& kind, const std::vector<storage::SectionView>& own) {
    std::vector<storage::SectionView> all(own);
    all.insert(all.end(), more.begin(), more.end());
    f(kind, all);
  });
}

void write(const Index& index, const std::string& path, const py::dict& extra) {
  with_all_sections(index, extra, [&](const std::string& kind, const std::vector<storage::SectionView>& sections) {
    storage::write_container(path, kind, sections);
  });
}

py::bytes dump(const Index& index, const py::dict& extra) {
  std::vector<std::byte> bytes;
  with_all_sections(index, extra, [&](const std::string& kind, const std::vector<storage::SectionView>& sections) {
    bytes = storage::container_bytes(kind, sections);
  });
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void visit_sections(const Index& index, const py::function& visit) {
  Release release;
  index.with_sections([&](const std::string&, const std::vector<storage::SectionView>& sections) {
    py::gil_scoped_acquire gil;
    for (const storage::SectionView& section : sections) {
      visit(section.name, section.shape, py::memoryview::from_memory(section.bytes.data(), section.bytes.size()));
    }
  });
}

template <class T, class... More>
std::shared_ptr<T> open(const std::shared_ptr<storage::Container>& file, const More&... more) {
  Release release;
  try {
    return T::open(file, more...);
  } catch (const CorruptError& error) {
    if (file->path().empty()) throw;
    throw CorruptError(file->path() + ": " + error.what());
  }
}

}  // namespace

void bind_indexes(py::module_& m) {
  py::class_<Index, std::shared_ptr<Index>>(m, "Index", "What all indexes do alike. Thread-safe.")
      .def(
          "add",
          [](Index& index, const py::array& vectors, const IdArray& ids, bool update, int threads,
             const py::object& progress, const py::dict& attributes) {
            const VectorBlock block = block_of(vectors, "vectors");
            const auto span = span_of(ids);
            const Progress report = progress_of(progress);
            const Columns columns = columns_of(attributes);
            Release release;
            index.add(block, span, update ? OnConflict::update : OnConflict::raise, threads, report, columns);
          },
          py::arg("vectors"), py::arg("ids"), py::arg("update"), py::arg("threads"), py::arg("progress"),
          py::arg("attributes"))
      .def(
          "update",
          [](Index& index, const py::array& vectors, const IdArray& ids, int threads, const py::dict& attributes) {
            const VectorBlock block = block_of(vectors, "vectors");
            const auto span = span_of(ids);
            const Progress report = progress_of(py::none());
            const Columns columns = columns_of(attributes);
            Release release;
            index.update(block, span, threads, report, columns);
          },
          py::arg("vectors"), py::arg("ids"), py::arg("threads"), py::arg("attributes"))
      .def(
          "set_attributes",
          [](Index& index, const std::optional<IdArray>& ids, const py::dict& attributes) {
            const Columns columns = columns_of(attributes);
            Release release;
            ids ? index.set_attributes(span_of(*ids), columns) : index.replace_attributes(columns);
          },
          py::arg("ids"), py::arg("attributes"))
      .def("drop_attributes", &Index::drop_attributes, py::arg("names"), py::call_guard<Release>())
      .def("attributes", &attributes, py::arg("ids"))
      .def("attribute_types", &attribute_types)
      .def("attribute_stats", &attribute_stats)
      .def("count", &count, py::arg("mask"), py::arg("ids"), py::arg("expression"))
      .def(
          "remove",
          [](Index& index, const IdArray& ids, int threads) {
            const auto span = span_of(ids);
            Release release;
            index.remove(span, threads);
          },
          py::arg("ids"), py::arg("threads"))
      .def(
          "compact",
          [](Index& index, int threads, const py::object& progress) {
            const Progress report = progress_of(progress);
            Release release;
            index.compact(threads, report);
          },
          py::arg("threads"), py::arg("progress"))
      .def("search", &search, py::arg("queries"), py::arg("k"), py::arg("ef"), py::arg("ef_filtered"), py::arg("mask"),
           py::arg("ids"), py::arg("expression"), py::arg("threads"), py::arg("plan"), py::arg("explain"))
      .def("search_each", &search_each, py::arg("queries"), py::arg("k"), py::arg("ef"), py::arg("ef_filtered"),
           py::arg("filters"), py::arg("filter_of"), py::arg("threads"), py::arg("plan"), py::arg("explain"))
      .def("search_radius", &search_radius, py::arg("queries"), py::arg("radius"), py::arg("ef"), py::arg("mask"),
           py::arg("ids"), py::arg("expression"), py::arg("threads"))
      .def("get", &get, py::arg("ids"))
      .def("contains", &contains, py::arg("ids"))
      .def("ids", [](const Index& index) { return ids_of(index, &Index::ids); })
      .def("write", &write, py::arg("path"), py::arg("extra"))
      .def("dump", &dump, py::arg("extra"))
      .def("visit_sections", &visit_sections, py::arg("visit"))
      .def("__len__", &Index::size, py::call_guard<Release>())
      .def_property_readonly("memory_bytes", py::cpp_function(&Index::memory_bytes, py::call_guard<Release>()))
      .def_property_readonly("vector_bytes", py::cpp_function(&Index::vector_bytes, py::call_guard<Release>()))
      .def_property_readonly("code_bytes", py::cpp_function(&Index::code_bytes, py::call_guard<Release>()))
      .def_property_readonly("keeps_vectors", &Index::keeps_vectors)
      .def_property_readonly("dim", &Index::dim)
      .def_property_readonly("dtype", [](const Index& index) { return name_of(index.dtype()); })
      .def_property_readonly("metric", [](const Index& index) { return name_of(index.metric()); });

  py::class_<FlatIndex, Index, std::shared_ptr<FlatIndex>>(m, "FlatIndex")
      .def(py::init([](std::uint32_t dim, const std::string& dtype, const std::string& metric, const std::string& codec,
                       bool keep_vectors) {
             return std::make_shared<FlatIndex>(dim, parse_dtype(dtype), parse_metric(metric), codec, keep_vectors);
           }),
           py::arg("dim"), py::arg("dtype"), py::arg("metric"), py::arg("codec"), py::arg("keep_vectors"))
      .def_static("open", &open<FlatIndex>, py::arg("file"))
      .def_property_readonly("codec_asked", &FlatIndex::codec_asked)
      .def_property_readonly("codec", [](const FlatIndex& index) { return index.codec().name; })
      .def_property_readonly("codec_reason", [](const FlatIndex& index) { return index.codec().reason; });

  py::class_<SpannIndex, Index, std::shared_ptr<SpannIndex>>(m, "SpannIndex")
      .def(py::init([](std::uint32_t dim, const std::string& dtype, const std::string& metric, std::uint32_t list_size,
                       std::uint32_t replicas, std::uint64_t seed) {
             SpannParams params;
             params.dim = dim;
             params.dtype = parse_dtype(dtype);
             params.metric = parse_metric(metric);
             params.list_size = list_size;
             params.replicas = replicas;
             params.seed = seed;
             return std::make_shared<SpannIndex>(params);
           }),
           py::arg("dim"), py::arg("dtype"), py::arg("metric"), py::arg("list_size"), py::arg("replicas"),
           py::arg("seed"))
      .def_static("open", &open<SpannIndex>, py::arg("file"))
      .def_property_readonly("list_size", [](const SpannIndex& index) { return index.params().list_size; })
      .def_property_readonly("replicas", [](const SpannIndex& index) { return index.params().replicas; })
      .def_property_readonly("seed", [](const SpannIndex& index) { return index.params().seed; })
      .def(
          "bottom_ids", [](const SpannIndex& index) { return ids_of<Index>(index, &Index::ids); }, "All ids.")
      .def("search_left_out", &search_left_out<SpannIndex>, py::arg("left_out"), py::arg("k"), py::arg("ef"),
           py::arg("mask"), py::arg("ids"), py::arg("expression"), py::arg("threads"), py::arg("plan"),
           "search() with the vectors of these, each as though neither it nor what equals it were there.")
      .def("counts", [](const SpannIndex& index) {
        SpannIndex::Counts counts;
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
        result["list_bytes"] = counts.list_bytes;
        result["centroid_bytes"] = counts.centroid_bytes;
        return result;
      });

  py::class_<HnswIndex, Index, std::shared_ptr<HnswIndex>> hnsw(m, "HnswIndex");
  bind_filter_indexes(hnsw);
  hnsw.def(py::init([](std::uint32_t dim, const std::string& dtype, const std::string& metric, std::uint32_t big_m,
                       std::uint32_t ef_construction, const std::string& codec, std::uint64_t seed,
                       const std::string& layout, bool keep_vectors) {
             HnswParams params;
             params.dim = dim;
             params.dtype = parse_dtype(dtype);
             params.metric = parse_metric(metric);
             params.m = big_m;
             params.ef_construction = ef_construction;
             params.codec = codec;
             params.seed = seed;
             params.layout = parse_layout(layout);
             params.keep_vectors = keep_vectors;
             return std::make_shared<HnswIndex>(params, make_filter_lists);
           }),
           py::arg("dim"), py::arg("dtype"), py::arg("metric"), py::arg("M"), py::arg("ef_construction"),
           py::arg("codec"), py::arg("seed"), py::arg("layout"), py::arg("keep_vectors"))
      .def_static(
          "open",
          [](const std::shared_ptr<storage::Container>& file) { return open<HnswIndex>(file, make_filter_lists); },
          py::arg("file"))
      .def_property_readonly("M", [](const HnswIndex& index) { return index.params().m; })
      .def_property_readonly("ef_construction", [](const HnswIndex& index) { return index.params().ef_construction; })
      .def_property_readonly("seed", [](const HnswIndex& index) { return index.params().seed; })
      .def_property_readonly("layout_asked", [](const HnswIndex& index) { return layout_name(index.params().layout); })
      .def_property_readonly("layout", [](const HnswIndex& index) { return layout_name(index.layout().layout); })
      .def_property_readonly("layout_reason", [](const HnswIndex& index) { return index.layout().reason; })
      .def_property_readonly("codec_asked", [](const HnswIndex& index) { return index.params().codec; })
      .def_property_readonly("codec", [](const HnswIndex& index) { return index.codec().name; })
      .def_property_readonly("codec_reason", [](const HnswIndex& index) { return index.codec().reason; })
      .def_property_readonly("stored_dtype", [](const HnswIndex& index) { return name_of(index.stored_dtype()); })
      .def("unreachable", &HnswIndex::unreachable, py::call_guard<Release>(),
           "How many live items no walk from the entry point can find.")
      .def(
          "bottom_ids", [](const HnswIndex& index) { return ids_of(index, &HnswIndex::bottom_ids); },
          "The ids of the items whose nodes are on the bottom layer alone, without the entry point.")
      .def(
          "search_left_out", &search_left_out<HnswIndex>, py::arg("left_out"), py::arg("k"), py::arg("ef"),
          py::arg("mask"), py::arg("ids"), py::arg("expression"), py::arg("threads"), py::arg("plan"),
          "search() with the vectors of some of bottom_ids(), each as though neither it nor what equals it were there.")
      .def(
          "repair",
          [](HnswIndex& index, const py::array& queries, std::size_t k, int threads, const py::object& progress) {
            const VectorBlock block = block_of(queries, "queries");
            const Progress report = progress_of(progress);
            RepairCounts counts;
            {
              Release release;
              counts = index.repair(block, k, threads, report);
            }
            return py::make_tuple(counts.neighbourhoods, counts.broken, counts.links, counts.lists);
          },
          py::arg("queries"), py::arg("k"), py::arg("threads"), py::arg("progress"),
          "Distinct neighbourhoods, how many were broken, links made, lists that got them.")
      .def("counts", [](const HnswIndex& index) {
        HnswIndex::Counts counts;
        {
          Release release;
          counts = index.counts();
        }
        py::dict result;
        result["live"] = counts.live;
        result["dead"] = counts.dead;
        result["twins"] = counts.twins;
        result["levels"] = counts.levels;
        result["links"] = counts.links;
        result["graph_bytes"] = counts.graph_bytes;
        result["filter_list_bytes"] = counts.filter_list_bytes;
        result["codec_error"] = counts.codec_error;
        return result;
      });
}

}  // namespace annlib::bind
