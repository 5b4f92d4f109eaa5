#include "bind/searching.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace annlib::bind {
namespace {

/// The Python layer names them when it is asked (results.py).
py::tuple tuple_of(const SearchCost& cost) {
  return py::make_tuple(cost.distances, cost.hops, cost.reranked, cost.reads, cost.bytes_read, cost.cache_hits);
}

const char* why(GivenUp reason) {
  switch (reason) {
    case GivenUp::no:
      return "";
    case GivenUp::slow:
      return "what was left of it would have taken longer than another plan";
    case GivenUp::too_few:
      return "it found fewer than k";
  }
  return "";
}

py::dict explained(const PlanReport& report) {
  constexpr double kMicro = 1e-3;
  py::dict result;
  result["plan"] = name_of(report.plan);
  result["switched"] = report.switched();
  result["given_up"] = report.switched() ? py::object(py::str(name_of(report.given_up))) : py::none();
  result["why"] = why(report.reason);
  result["share_around"] = report.seen;
  result["matches"] = report.matches;
  result["actual_us"] = report.took * kMicro;
  result["estimated_scan_us"] = report.scan_cost * kMicro;
  result["estimated_walk_us"] = report.walk_cost * kMicro;
  result["estimated_subgraph_us"] = report.subgraph_cost * kMicro;
  result["estimated_lists_us"] = report.lists_cost * kMicro;
  result["estimated_two_hop_us"] = report.two_hops_cost * kMicro;
  result["subgraphs"] = report.subgraphs;
  result["subgraph_items"] = report.subgraph_items;
  result["distance_computations"] = report.distances;
  result["hops"] = report.hops;
  result["rerank_computations"] = report.reranked;
  result["reads"] = report.reads;
  result["bytes_read"] = report.bytes_read;
  result["cache_hits"] = report.cache_hits;
  return result;
}

}  // namespace

Plan parse_plan(const std::string& name) {
  const auto at = std::find(kPlanNames.begin(), kPlanNames.end(), name);
  if (at != kPlanNames.end()) return static_cast<Plan>(at - kPlanNames.begin());
  throw ValueError("unknown plan '" + name + "'; there are: auto, exact, scan, walk, subgraph, lists, two-hop");
}

py::tuple search_with(const Index& index, const py::array& queries, const SearchRequest& request, bool explain) {
  const VectorBlock block = block_of(queries, "queries");
  const bool single = queries.ndim() == 1;
  const auto n = static_cast<py::ssize_t>(block.count), width = static_cast<py::ssize_t>(request.k);
  IdArray found = single ? IdArray(width) : IdArray({n, width});
  py::array_t<float> distances = single ? py::array_t<float>(width) : py::array_t<float>({n, width});
  std::optional<IdArray> counts;
  if (!single) counts.emplace(n);
  std::int64_t count = 0;
  std::vector<PlanReport> plans(explain ? block.count : 0);
  const SearchOutput out{found.mutable_data(), distances.mutable_data(), single ? &count : counts->mutable_data(),
                         explain ? plans.data() : nullptr};
  SearchCost cost;
  {
    Release release;
    cost = index.search(block, request, out);
  }
  const py::object real = single ? py::object(py::int_(count)) : py::object(*counts);
  py::object reports = py::none();
  if (explain) {
    py::list list;
    for (const PlanReport& report : plans) list.append(explained(report));
    reports = std::move(list);
  }
  return py::make_tuple(std::move(found), std::move(distances), real, tuple_of(cost), std::move(reports));
}

py::tuple search(const Index& index, const py::array& queries, std::size_t k, std::size_t ef, std::size_t ef_filtered,
                 std::optional<MaskArray> mask, std::optional<IdArray> ids, const std::optional<py::bytes>& expression,
                 int threads, const std::string& plan, bool explain) {
  const FilterArguments filter(std::move(mask), std::move(ids), expression);
  return search_with(index, queries, {k, ef, ef_filtered, filter.get(), {}, threads, parse_plan(plan), {}}, explain);
}

py::tuple search_each(const Index& index, const py::array& queries, std::size_t k, std::size_t ef,
                      std::size_t ef_filtered, const std::vector<FilterTuple>& each,
                      const py::array_t<std::uint32_t>& filter_of, int threads, const std::string& plan, bool explain) {
  FilterArguments filters;
  for (const auto& [mask, ids, expression] : each) filters.add(mask, ids, expression);
  const std::span of(filter_of.data(), static_cast<std::size_t>(filter_of.size()));
  const std::size_t n = block_of(queries, "queries").count;
  if (of.size() != n || filters.get().size() != each.size() ||
      std::any_of(of.begin(), of.end(), [&](std::uint32_t f) { return f != kNoFilter && f >= each.size(); })) {
    throw ValueError("filter_of must name one of " + std::to_string(each.size()) + " filters for each of " +
                     std::to_string(n) + " queries");
  }
  return search_with(index, queries, {k, ef, ef_filtered, filters.get(), of, threads, parse_plan(plan), {}}, explain);
}

py::tuple search_radius(const Index& index, const py::array& queries, float radius, std::size_t ef,
                        std::optional<MaskArray> mask, std::optional<IdArray> ids,
                        const std::optional<py::bytes>& expression, int threads) {
  const VectorBlock block = block_of(queries, "queries");
  const FilterArguments filter(std::move(mask), std::move(ids), expression);
  RadiusResult result;
  {
    Release release;
    result = index.search_radius(block, radius, {0, ef, ef, filter.get(), {}, threads, Plan::automatic, {}});
  }
  return py::make_tuple(array_of(std::move(result.lims)), array_of(std::move(result.ids)),
                        array_of(std::move(result.distances)), tuple_of(result.cost));
}

py::tuple search_left_out_with(const Index& index, const py::array& vectors, const IdArray& left_out, std::size_t k,
                               std::size_t ef, std::optional<MaskArray> mask, std::optional<IdArray> ids,
                               const std::optional<py::bytes>& expression, int threads, const std::string& plan) {
  const FilterArguments filter(std::move(mask), std::move(ids), expression);
  return search_with(index, vectors, {k, ef, ef, filter.get(), {}, threads, parse_plan(plan), span_of(left_out)},
                     false);
}

std::size_t count(const Index& index, std::optional<MaskArray> mask, std::optional<IdArray> ids,
                  const std::optional<py::bytes>& expression) {
  const FilterArguments filter(std::move(mask), std::move(ids), expression);
  Release release;
  return filter.get().empty() ? index.size() : index.count(filter.get().front());
}

}  // namespace annlib::bind
