#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codec/space.h"
#include "core/bitset.h"
#include "core/shared_lock.h"
#include "filter/plan.h"
#include "graph/beam_search.h"
#include "storage/container.h"
#include "storage/section_list.h"
#include "table/table.h"

namespace annlib {

/// What is looked for in posting lists.
struct ProbeRequest {
  std::size_t k;
  /// Lists, about, where all passes: fewer where what was found is near, more where it is far. Of what passes a filter
  /// as much is found as by so many where all does.
  std::size_t wanted;
  const Bitset* passing = nullptr;   ///< only these slots
  Slot left_out = kNoSlot;           ///< nor this one, nor what equals it
  const Planner* planner = nullptr;  ///< breaks it off where that says so
  /// Nothing beyond is asked for. With a `k` of all that passes, it is all within.
  float radius = std::numeric_limits<float>::infinity();
  /// Goes on for as long as nearer ones keep coming, too: of what passes a filter, more may be left than is expected.
  bool settles = true;
};

/// Posting lists over the rows of a graph index, for searches under filters that favour nothing near the query: where a
/// walk would pass by thousands of nodes for each that it may keep, blocks of rows that lie together are tested and
/// scored at once. Made elsewhere (spann/postings.h), for lists are found by a graph of their centroids.
///
/// const members may be called from any thread while nothing changes.
class FilterLists {
 public:
  virtual ~FilterLists() = default;

  /// Makes lists of the rows in `slots`, which come in a random order.
  virtual void build(std::span<const Slot> slots, int threads) = 0;
  /// The lists that slots are to stand in, for settle().
  virtual std::vector<std::uint32_t> homes_for(std::span<const Slot> slots, int threads) const = 0;
  /// Puts slots into these lists and takes them out of all others.
  virtual void settle(std::span<const Slot> slots, std::span<const std::uint32_t> homes) = 0;
  virtual void leave_lists(Slot slot) = 0;
  /// Splits lists that have grown too long, gives up short ones and closes holes, each in a moment of its own under
  /// `lock`.
  virtual void maintain(int threads, FairSharedMutex& lock) = 0;
  /// The nearest k, with exact distances, into s.nearest; false where it was broken off.
  virtual bool probe(const QueryView& query, const ProbeRequest& request, Scratch& s) const = 0;
  /// All that is found within a radius, nearest first, into s.found; false where it was broken off. `request.k` is how
  /// many there are in all.
  bool probe_within(const QueryView& query, const ProbeRequest& request, Scratch& s) const;
  /// Takes the rows out that are in the lists nearest to a query, of which it takes a share.
  virtual void leave_out_near(const QueryView& query, double share, Scratch& s, Bitset& rows) const = 0;
  /// What a probe of one wanted list takes, timed on this machine and the state of its memory when it is first asked.
  virtual const Course& course() const = 0;
  virtual std::size_t memory_bytes() const = 0;
  /// Sections whose names begin with `prefix`.
  virtual void append_sections(const std::string& prefix, storage::SectionList& sections) const = 0;
  /// CorruptError for whatever does not fit together, or unless each living slot and no other is in lists.
  virtual void restore(const std::shared_ptr<const storage::Container>& file, const std::string& prefix) = 0;
};

/// Empty lists over a table, which must outlive them.
using MakeFilterLists = std::unique_ptr<FilterLists> (*)(const Table& table, std::uint64_t seed);

}  // namespace annlib
