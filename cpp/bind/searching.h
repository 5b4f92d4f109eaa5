#pragma once

#include <pybind11/stl.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/arrays.h"
#include "index/index.h"

/// Searches as Python calls them: arguments in, tuples out.
namespace annlib::bind {

using Release = py::gil_scoped_release;

/// The filters of a call, kept alive while it runs.
class FilterArguments {
 public:
  FilterArguments() = default;
  FilterArguments(std::optional<MaskArray> mask, std::optional<IdArray> ids,
                  const std::optional<py::bytes>& expression) {
    add(std::move(mask), std::move(ids), expression);
  }
  /// One more, unless it is none.
  void add(std::optional<MaskArray> mask, std::optional<IdArray> ids, const std::optional<py::bytes>& expression) {
    if (mask) filters_.push_back(RowFilter::mask({mask->data(), static_cast<std::size_t>(mask->size())}));
    if (ids) filters_.push_back(RowFilter::ids(span_of(*ids)));
    if (expression) filters_.push_back(RowFilter::expression(*expression));
    if (mask) arrays_.push_back(std::move(*mask));
    if (ids) arrays_.push_back(std::move(*ids));
  }
  std::span<const RowFilter> get() const { return filters_; }

 private:
  std::vector<py::array> arrays_;
  std::vector<RowFilter> filters_;
};

using FilterTuple = std::tuple<std::optional<MaskArray>, std::optional<IdArray>, std::optional<py::bytes>>;

Plan parse_plan(const std::string& name);

/// One query of shape (dim,) gives ids and distances of shape (k,) and one count. A list of what became of each query
/// comes last, or None.
py::tuple search_with(const Index& index, const py::array& queries, const SearchRequest& request, bool explain);
/// The call whose overhead is felt: a search may take no more than some microseconds.
py::tuple search(const Index& index, const py::array& queries, std::size_t k, std::size_t ef, std::size_t ef_filtered,
                 std::optional<MaskArray> mask, std::optional<IdArray> ids, const std::optional<py::bytes>& expression,
                 int threads, const std::string& plan, bool explain);
py::tuple search_each(const Index& index, const py::array& queries, std::size_t k, std::size_t ef,
                      std::size_t ef_filtered, const std::vector<FilterTuple>& each,
                      const py::array_t<std::uint32_t>& filter_of, int threads, const std::string& plan, bool explain);
py::tuple search_radius(const Index& index, const py::array& queries, float radius, std::size_t ef,
                        std::optional<MaskArray> mask, std::optional<IdArray> ids,
                        const std::optional<py::bytes>& expression, int threads);
/// The vectors of some items as queries, each as though neither it nor what equals it were there.
py::tuple search_left_out_with(const Index& index, const py::array& vectors, const IdArray& left_out, std::size_t k,
                               std::size_t ef, std::optional<MaskArray> mask, std::optional<IdArray> ids,
                               const std::optional<py::bytes>& expression, int threads, const std::string& plan);
std::size_t count(const Index& index, std::optional<MaskArray> mask, std::optional<IdArray> ids,
                  const std::optional<py::bytes>& expression);
}  // namespace annlib::bind
