#include "hnsw/filter_index.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "hnsw/state.h"

namespace annlib {
namespace {

using Interval = IntervalSet::Interval;
using Kind = Expression::Kind;

// What more than half of the items have, a walk through the whole graph comes upon often enough.
constexpr std::size_t kMostShare = 2;

bool before_end(const std::string& value, const std::optional<std::string>& end) { return !end || value < *end; }
bool ends_within(const std::optional<std::string>& inner, const std::optional<std::string>& outer) {
  return !outer || (inner && *inner <= *outer);
}

/// The values of a column as pairs (value, node), by value: of texts their codes, else keys in the order of the values.
using Values = std::vector<std::pair<std::uint64_t, Slot>>;

Values values_of(const HnswState& state, const Column& column) {
  Values values;
  state.table.alive_bits().for_each([&](std::size_t i) {
    const auto slot = static_cast<Slot>(i);
    if (!column.present(slot)) return;
    const Slot node = state.twins.node_of(slot);
    if (is_list(column.type())) {
      for (const Dictionary::Code code : column.list(slot)) values.emplace_back(code, node);
    } else {
      values.emplace_back(has_dictionary(column.type()) ? column.code(slot) : column.key(slot), node);
    }
  });
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

/// A stretch of them, and which values that is.
struct Stretch {
  std::size_t begin, end;
  Interval values;
  std::size_t size() const { return end - begin; }
};
/// Stretches that are taken together or not at all.
using Level = std::vector<Stretch>;

Interval one_value(const Column& column, std::uint64_t value) {
  if (has_dictionary(column.type())) {
    const std::string text(column.dictionary().text(static_cast<Dictionary::Code>(value)));
    return {text, successor(text)};
  }
  if (value == UINT64_MAX) return {bytes_of_key(value), std::nullopt};
  return {bytes_of_key(value), bytes_of_key(value + 1)};
}

// Each value that many have, the most frequent first.
std::vector<Level> labels(const Column& column, const Values& values, std::size_t live, std::size_t least) {
  std::vector<Level> levels;
  for (std::size_t begin = 0, end = 0; begin < values.size(); begin = end) {
    while (end < values.size() && values[end].first == values[begin].first) ++end;
    const std::size_t n = end - begin;
    if (n >= least && n <= live / kMostShare) {
      levels.push_back({{begin, end, one_value(column, values[begin].first)}});
    }
  }
  std::sort(levels.begin(), levels.end(), [](const Level& a, const Level& b) {
    return std::pair(b.front().size(), a.front().values.begin) < std::pair(a.front().size(), b.front().values.begin);
  });
  return levels;
}

// Windows that begin half a width apart, so that every range of half a width lies within one; the first and the last
// are open, for what comes later. All that have one value are in a window, or none of them.
std::vector<Level> windows(const Values& values, std::size_t least) {
  std::vector<Level> levels;
  const std::size_t n = values.size();
  const auto starts_value = [&](std::size_t i) { return i == 0 || i == n || values[i].first != values[i - 1].first; };
  for (std::size_t width = n / kMostShare; width / 2 >= least; width /= 2) {
    Level& level = levels.emplace_back();
    for (std::size_t first = 0;; first += width / 2) {
      std::size_t begin = first, end = std::min(n, first + width);
      while (!starts_value(begin)) --begin;
      while (!starts_value(end)) ++end;
      Interval interval{begin == 0 ? "" : bytes_of_key(values[begin].first), std::nullopt};
      if (end < n) interval.end = bytes_of_key(values[end].first);
      if (level.empty() || level.back().end != end) level.push_back({begin, end, std::move(interval)});
      if (end == n) break;
    }
  }
  return levels;
}

// What the vectors, codes and lists of the items take: twice the memory buys most of what there is to win (SIEVE).
std::size_t items_bytes(const HnswState& state) {
  const std::size_t vector = state.table.keeps_rows() ? state.table.stride() : 0;
  const std::size_t code = state.codes != nullptr ? state.codes->codec().code_bytes() : 0;
  return state.table.live() * (vector + code + state.graph.stride() * sizeof(Slot));
}

}  // namespace

Subgraph FilterIndex::subgraph(const Group& group) const {
  Subgraph made;
  made.members = {members.data() + group.begin, size(group)};
  made.layer.slots =
      const_cast<Slot*>(links.data()) + group.begin * width;  // for reading, as Hierarchy::layer() has it
  made.layer.width = width;
  made.layer.stride = width;
  return made;
}

const FilterIndex::Group* FilterIndex::find(const Interval& values) const {
  const Group* whole = nullptr;
  const Group* most = nullptr;
  for (const Group& group : groups) {
    if (values.begin < group.values.begin) break;
    if (!before_end(values.begin, group.values.end)) continue;
    if (ends_within(values.end, group.values.end)) {
      if (whole == nullptr || size(group) < size(*whole)) whole = &group;
    } else if (most == nullptr || *most->values.end < *group.values.end) {
      most = &group;
    }
  }
  return whole != nullptr ? whole : most;
}

std::size_t FilterIndex::memory_bytes() const {
  return members.bytes().size() + links.bytes().size() + changed.words().bytes().size() +
         groups.capacity() * sizeof(Group);
}

std::string names_of(const FilterIndexes& indexes) {
  std::string names;
  for (const auto& [name, index] : indexes) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "none" : names;
}

std::optional<FilterCover> find_cover(const Expression& filter, const FilterIndexes& indexes) {
  FilterCover cover;
  const auto add = [&](const FilterCover::Part& part) {
    if (std::find(cover.parts.begin(), cover.parts.end(), part) != cover.parts.end()) return;
    cover.parts.push_back(part);
    cover.members += part.index->size(*part.group);
  };
  switch (filter.kind) {
    case Kind::value:
    case Kind::element: {
      const auto at = indexes.find(filter.column);
      if (at == indexes.end() || filter.negated || filter.null) return std::nullopt;
      for (const Interval& interval : filter.values.intervals()) {
        for (Interval rest = interval;;) {
          const FilterIndex::Group* group = at->second->find(rest);
          if (group == nullptr) return std::nullopt;
          add({at->second.get(), group});
          if (ends_within(rest.end, group->values.end)) break;
          rest.begin = *group->values.end;
        }
      }
      return cover;
    }
    case Kind::all_of: {
      std::optional<FilterCover> least;
      for (const Expression& part : filter.parts) {
        std::optional<FilterCover> one = find_cover(part, indexes);
        if (one && (!least || one->members < least->members)) least = std::move(one);
      }
      return least;
    }
    case Kind::any_of:
      for (const Expression& part : filter.parts) {
        const std::optional<FilterCover> one = find_cover(part, indexes);
        if (!one) return std::nullopt;
        std::for_each(one->parts.begin(), one->parts.end(), add);
      }
      return cover;
    default:
      return std::nullopt;
  }
}

void require_indexable(const std::string& name, AttributeType type, FilterIndexKind kind) {
  if (kind != FilterIndexKind::range || (!has_dictionary(type) && type != AttributeType::boolean)) return;
  throw ValueError("a filter index of kind 'range' needs int, float, date or datetime; attribute '" + name +
                   "' holds " + name_of(type));
}

std::unique_ptr<FilterIndex> build_filter_index(const HnswParams& params, const HnswState& state, const Column& column,
                                                const FilterIndexParams& what, int threads) {
  auto made = std::make_unique<FilterIndex>();
  made->params = what;
  made->width = 2 * params.m;
  made->changed.resize(state.table.slots());
  const Values values = values_of(state, column);
  const std::vector<Level> levels = what.kind == FilterIndexKind::label
                                        ? labels(column, values, state.table.live(), what.min_items)
                                        : windows(values, what.min_items);
  const std::size_t budget =
      what.memory_budget == FilterIndexParams::kAsTheItems ? items_bytes(state) : what.memory_budget;
  const std::size_t member_bytes = sizeof(Slot) * (1 + made->width);
  std::vector<Stretch> taken;
  std::size_t most = 0;
  for (const Level& level : levels) {
    std::size_t sum = 0;
    for (const Stretch& stretch : level) sum += stretch.size();
    if ((most + sum) * member_bytes > budget) continue;
    most += sum;
    taken.insert(taken.end(), level.begin(), level.end());
  }
  std::stable_sort(taken.begin(), taken.end(),
                   [](const Stretch& a, const Stretch& b) { return a.values.begin < b.values.begin; });
  made->members.reserve(most);
  made->links.reserve(most * made->width);
  for (Stretch& stretch : taken) {
    std::vector<Slot> nodes;
    for (std::size_t i = stretch.begin; i < stretch.end; ++i) nodes.push_back(values[i].second);
    std::sort(nodes.begin(), nodes.end());  // a node stands twice if equal vectors have different values
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    const std::size_t begin = made->members.size(), end = begin + nodes.size();
    made->members.resize(end);
    made->links.resize(end * made->width);
    std::copy(nodes.begin(), nodes.end(), made->members.begin() + begin);
    build_subgraph(params, state, threads, {made->members.data() + begin, nodes.size()},
                   {made->links.data() + begin * made->width, nodes.size() * made->width});
    made->groups.push_back({std::move(stretch.values), begin, end});
  }
  return made;
}

}  // namespace annlib
