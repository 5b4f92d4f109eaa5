#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/slot_set.h"
#include "disk/state.h"
#include "graph/beam_search.h"

namespace annlib::disk {

/// What a query is answered from. All of it outlives the query.
struct ProbeView {
  const State& state;
  const Table& table;
  const ItemCodes& codes;
  const ListForm& list_form;
  RowForm form;
  const Bitset& accepted;  ///< slots that may be results
  const SlotSet* passing;  ///< the same as a set, or nullptr where all that live may be
};

/// One query through posting lists, from about `wanted` of them: from fewer where what was found is near, and from more
/// where it is far; under a filter, from as many as leave no more of what passes than `wanted` of all
/// (expected_rest.h), and so for all within a radius. As many as are wanted are asked for at once, others when it is
/// known how near results are: what is read together takes little longer than one of it. Who asks for lists and vectors
/// is ProbeBatch.
class Probe {
 public:
  using FreshRow = std::function<const std::byte*(Slot)>;

  /// `s` serves many probes, one at a time. Nothing beyond a finite `radius` is asked for: with a `k` of all that may
  /// be results, it is all within.
  Probe(const ProbeView& view, const QueryView& query, std::size_t k, std::size_t wanted, float radius, Scratch& s);

  /// Memory that a probe takes, about.
  static std::size_t bytes(const ProbeView& view, std::size_t wanted);

  /// The lists that are to be scanned next, all of them and in this order; none when there is nothing left to find.
  std::span<const Candidate> next_lists();
  /// Scores what a list holds: `bytes` as they are in the file, nullptr where it has none or is in memory; `row` gives
  /// the vectors of slots that are in no file yet.
  void scan(Candidate list, const std::byte* bytes, const FreshRow& row);
  /// While lists are scanned, ascending, slots whose vectors will probably be wanted in the end: they may be on their
  /// way meanwhile. At most once; without any effect on results.
  std::span<const Slot> likely();
  /// Then, ascending, the slots whose vectors are to be given to take_exact() as well: of what may be among the k
  /// nearest by what its code is likely to be off by.
  std::span<const Slot> near();
  void take_exact(Slot slot, const std::byte* row);
  /// At last the k nearest.
  std::span<const Candidate> results();

  SearchCost cost;  ///< what is read is counted by who reads it

 private:
  /// Slots that a query has seen, few of many: pages of bits, of which those are there that have any. Lists are of
  /// slots that lie together.
  class Seen {
   public:
    static constexpr std::size_t kPageWords = 16, kPageSlots = 64 * kPageWords;

    explicit Seen(std::size_t slots) : pages_(slots / kPageSlots + 1, 0), words_(kPageWords) {}
    /// What it takes with so many pages.
    static std::size_t bytes(std::size_t slots, std::size_t pages) {
      const std::size_t most = slots / kPageSlots + 1;
      return most * sizeof(std::uint32_t) + std::min(pages, most) * kPageWords * sizeof(std::uint64_t);
    }
    /// True the first time.
    bool insert(Slot slot) {
      std::uint32_t& page = pages_[slot / kPageSlots];
      if (page == 0) {
        page = static_cast<std::uint32_t>(words_.size());
        words_.resize(words_.size() + kPageWords);
      }
      std::uint64_t& word = words_[page + slot % kPageSlots / 64];
      const std::uint64_t bit = std::uint64_t{1} << slot % 64, before = word & bit;
      word |= bit;
      return before == 0;
    }

   private:
    std::vector<std::uint32_t> pages_;  ///< where in `words_` each begins, 0 where it is not there
    std::vector<std::uint64_t> words_;
  };
  struct Waiting {
    float distance, margin;
    Slot slot;
  };

  const PostingLists& lists() const { return view_.state.fresh; }
  bool product() const { return view_.form.metric == Metric::ip; }
  /// Slots come from files that may be hostile.
  bool passes(Slot slot) const { return slot < view_.table.slots() && view_.accepted.test(slot); }
  bool accepts(Slot slot) { return passes(slot) && slot != query_.left_out && seen_.insert(slot); }
  float kth() const;
  bool beyond(Candidate list) const;
  float margin_of(float width, float distance) const;
  void mark_lists();
  bool more_lists(std::size_t at);
  std::size_t count_passing(const std::byte* bytes, std::size_t size) const;
  void scan_signs(Candidate list, const std::byte* bytes);
  void scan_rows(Candidate list, const std::byte* bytes);
  std::size_t scan_resident(Candidate list);
  void score_rows(const std::byte* rows, const Slot* slots, std::size_t n);
  void take(Slot slot, float distance, float margin);
  void scan_fresh(Candidate list, const FreshRow& row);

  const ProbeView& view_;
  QueryView query_;
  std::size_t k_, wanted_;
  Scratch& s_;
  QueryBuffer vectors_, row_, tables_buffer_, code_;
  Scan exact_, by_code_;
  float* vector_;  ///< the query as lists see it
  simd::BlockQuery tables_;
  float length_, rounding_;  ///< of the query, and what rounding it to 7 bits does
  float allowed_, row_margin_, reach_;
  float radius_;
  bool ball_;  ///< there is one
  ExpectedRest rest_;
  bool elsewhere_;  ///< what is asked for may be anywhere: scanned until so little is left
  float enough_;
  std::size_t count_, asked_ = 0;
  bool few_ = false;                   ///< lists may be left out, for nothing in them passes
  std::vector<std::uint32_t> marked_;  ///< the others
  std::vector<Candidate> order_;       ///< lists, nearest first
  std::size_t at_ = 0;                 ///< of them, the next
  TopK nearest_;
  std::vector<Waiting> waiting_;
  std::vector<Slot> slots_;
  std::vector<Slot> early_;  ///< what likely() gave, and from near() on what of that is not near
  std::vector<Candidate> found_;
  Seen seen_;
};

}  // namespace annlib::disk
