#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/bitset.h"
#include "core/buffer.h"
#include "filter/expression.h"
#include "graph/subgraph.h"
#include "hnsw/params.h"
#include "storage/container.h"
#include "storage/section_list.h"

namespace annlib {

struct HnswState;

/// Numbers are part of the file format.
enum class FilterIndexKind : std::uint8_t {
  label = 0,  ///< a sub-graph for each value that many items have
  range = 1,  ///< sub-graphs for windows of the column's values, each level half as wide as the one before
};

struct FilterIndexParams {
  static constexpr std::uint64_t kAsTheItems = ~std::uint64_t{0};

  FilterIndexKind kind = FilterIndexKind::label;
  std::uint64_t min_items = 1024;             ///< a sub-graph of fewer is not worth its memory: a scan is as fast
  std::uint64_t memory_budget = kAsTheItems;  ///< bytes; as many as the vectors, codes and lists of all items take
};

/// Sub-graphs over the items with certain values of one attribute, for searches whose filter asks for these values
/// (SIEVE: Li et al., arXiv 2507.11907; windows as in WoW: Wang et al., arXiv 2508.18617). Immutable but for `changed`.
///
/// It may describe an earlier state of the table, but for which slots there are: slots whose item or values are others
/// by now are in `changed`. So all that a group's values let through are members of it, or are changed.
struct FilterIndex {
  struct Group {
    IntervalSet::Interval values;  ///< all living nodes with an item that has one of these are members
    std::size_t begin, end;        ///< of its members, in `members`
  };

  FilterIndexParams params;
  std::uint32_t width = 0;    ///< links a member
  std::vector<Group> groups;  ///< by where their values begin
  Array<Slot> members;
  Array<Slot> links;
  Bitset changed;
  std::uint64_t changes = 0;  ///< since it was built: items that came, went or got other values
  /// Nanoseconds for a member expanded by a walk; measured by the first search that has a choice, so by a reader.
  mutable std::once_flag hop_measured;
  mutable double hop_cost = 0;

  std::size_t size(const Group& group) const { return group.end - group.begin; }
  Subgraph subgraph(const Group& group) const;
  /// Of the groups that hold all of `values` the smallest; else of those that hold the first of them the one that holds
  /// the most of what follows. nullptr if none does.
  const Group* find(const IntervalSet::Interval& values) const;
  std::size_t memory_bytes() const;
};

using FilterIndexes = std::map<std::string, std::unique_ptr<FilterIndex>, std::less<>>;

/// For messages: "a, b", or "none".
std::string names_of(const FilterIndexes& indexes);

/// Sub-graphs among whose members are all nodes that a filter lets through, but for those that are changed.
struct FilterCover {
  struct Part {
    const FilterIndex* index;
    const FilterIndex::Group* group;
    bool operator==(const Part&) const = default;
  };
  std::vector<Part> parts;
  std::size_t members = 0;
};

/// Of a conjunction the part leads whose sub-graphs are the smallest; a disjunction needs those of all its parts.
/// Nothing where there are none.
std::optional<FilterCover> find_cover(const Expression& filter, const FilterIndexes& indexes);

/// ValueError, naming the column, if there can be no filter index of the kind on a column of the type.
void require_indexable(const std::string& name, AttributeType type, FilterIndexKind kind);

/// Sub-graphs for `column`, the largest labels and the widest windows first, as far as the memory allows. A function of
/// the items, their values and the parameters.
std::unique_ptr<FilterIndex> build_filter_index(const HnswParams& params, const HnswState& state, const Column& column,
                                                const FilterIndexParams& what, int threads);

/// Puts the slots of `nodes`, distinct, into building order and makes their lists, 2M links each, one behind the other.
/// A function of the ids, the vectors and the parameters, as a build is.
void build_subgraph(const HnswParams& params, const HnswState& state, int threads, std::span<Slot> nodes,
                    std::span<Slot> links);

/// The sections of all, of which there are none where there are no filter indexes.
void append_filter_indexes(const FilterIndexes& indexes, const Columns& columns, storage::SectionList& sections);
/// CorruptError for whatever does not fit together.
FilterIndexes restore_filter_indexes(const std::shared_ptr<const storage::Container>& file, const Columns& columns,
                                     std::uint32_t width);

}  // namespace annlib
