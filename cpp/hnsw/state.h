#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "codec/codec.h"
#include "codec/space.h"
#include "core/bitset.h"
#include "filter/plan.h"
#include "graph/code_walk.h"
#include "graph/grow.h"
#include "graph/hierarchy.h"
#include "graph/twins.h"
#include "hnsw/filter_index.h"
#include "hnsw/filter_lists.h"
#include "hnsw/params.h"
#include "index/index.h"
#include "index/row_source.h"
#include "table/table.h"

namespace annlib {

/// Everything that an HNSW index holds, as one thing that can be built beside another and take its place.
///
/// A slot is one of: a node of the graph (bit in `nodes`; alive, or dead and still walked over), a twin (alive, with
/// a live leader), or free.
struct HnswState {
  /// With rows of type `stored`: that of the parameters, or a narrower one that holds all of them.
  HnswState(const HnswParams& params, DType stored, bool fused, bool codes_alone);

  Table table;
  StoredSpace stored{table};
  std::unique_ptr<CodeSpace> codes;                 ///< nullptr: the graph is walked on the stored vectors
  std::unique_ptr<NeighbourCodes> neighbour_codes;  ///< nullptr: the bottom layer is plain
  Hierarchy graph;
  Bitset nodes;
  Twins twins;
  std::size_t dead = 0;          ///< nodes that are not alive
  FilterIndexes filter_indexes;  ///< by the attribute that they are on
  /// Over all that lives; nullptr where there are no attributes, or few items.
  std::unique_ptr<FilterLists> filter_lists;
  /// How many lists find as much of what passes a filter as a walk of effort kFirstEffort does of all items, one of
  /// twice, four times as much.
  struct ListEfforts {
    std::vector<float> lists;
    float apart = 1;  ///< and of what a walk finds of all items, how much it does of what lies apart from the query
  };
  ListEfforts list_efforts;
  static constexpr std::size_t kFirstEffort = 16, kEfforts = 5;
  /// By them, for any effort.
  std::size_t lists_for(std::size_t ef) const;
  /// By how much distances grow when their rank doubles: as the logarithm to base 2; under ip above the least that
  /// there can be, where all rows are of one length, else in their own unit, for queries of the rows' length.
  float spread = 0.0f;
  /// Under ip: the mean length of rows, 0 where it is not known; and whether all have it, as many embeddings do.
  float length = 0.0f;
  bool one_length = false;
  /// Of walks and scans of what this state holds; measured by the first search that has a choice, so by a reader.
  mutable std::once_flag costs_measured;
  mutable PlanCosts costs;

  /// The table keeps no rows, or will not when the graph is there. Equal vectors are then those of equal codes.
  bool codes_alone;

  const Space& walk() const {
    if (codes != nullptr) return *codes;
    return stored;
  }
  /// What links are chosen on.
  const Space& links() const {
    if (codes != nullptr && (codes->codec().chooses_links() || !table.keeps_rows())) return *codes;
    return stored;
  }
  /// What results are ranked by.
  const Space& truth() const {
    if (codes_alone) return *codes;
    return stored;
  }
  /// Whether walks go by codes whose results are ranked again.
  bool reranks() const { return codes != nullptr && !codes_alone; }
  bool equal(Slot a, Slot b) const { return codes_alone ? codes->same_code(a, b) : table.same_vector(a, b); }
  std::uint64_t content_hash(Slot slot) const {
    return codes_alone ? codes->content_hash(slot) : table.content_hash(slot);
  }
  std::size_t memory_bytes() const;

  /// How far a walk over codes goes for the effort `ef`: to where the ef/2-th nearest lies, by the k-th and `spread`.
  /// (A walk by distances goes to the ef-th; estimates show more of what lies ahead.) By inner product, paths to the
  /// nearest need not get ever nearer, so ef nodes are expanded at least; but rows of one length have an order by their
  /// angles, as under cosine. `query_length` counts under ip alone.
  Reach reach(std::size_t k, std::size_t ef, float query_length) const;
  /// Sets `length` and `one_length` by those of `nodes`.
  void measure_lengths(std::span<const Slot> nodes, int threads);
  /// Whether a row is as long as all others.
  bool of_one_length(RowView row) const;
  /// What `spread` is, from what a sample of `nodes` finds around itself.
  float measure_spread(const Space& space, std::span<const Slot> nodes, bool one_length) const;
  void grow_to_table();
  /// Codes of all rows, of what these are now, by a codec that learns it anew from `slots`; nullptr for vectors so long
  /// that distances of codes are not finite.
  std::unique_ptr<CodeSpace> retrained(std::span<const Slot> slots, int threads) const;
  /// What neighbours' codes have to know, from the first of `nodes`: a random sample.
  void learn_neighbours(std::span<const Slot> nodes);
  /// Makes the codes of the neighbours of `nodes`. Readers may look on: rows are written by `publish`.
  void encode_neighbours(std::span<const Slot> nodes, int threads, const Grower::Publish& publish);
};

struct LayoutChoice {
  Layout layout;       ///< plain or fused
  std::string reason;  ///< for people
};

/// Resolves "auto" for an index of n items whose rows are of type `stored`.
LayoutChoice choose_layout(const HnswParams& params, DType stored, std::size_t n);

/// Builds from nothing. The result, arrivals aside, is a function of the set of (id, vector) and the parameters: not
/// of the order of the source, the number of threads, or timing.
std::unique_ptr<HnswState> build_state(const HnswParams& params, const RowSource& source, int threads,
                                       const Progress& progress);

/// Builds the layers from the top down to `lowest` over nodes that were placed and have no links, the highest levels
/// first; the first of them becomes the entry.
void build_layers(Hierarchy& graph, std::span<const Slot> nodes, int lowest, Grower& grower);

GrowOptions grow_options(const HnswParams& params, const Space& space, int threads);

}  // namespace annlib
