#include "filter/evaluate.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "core/radix_sort.h"

namespace annlib {
namespace {

using Kind = Expression::Kind;
using Ranks = ColumnOrder::Ranks;

// Setting bits one by one costs about as much as eight times as many comparisons in a row.
constexpr std::size_t kScatterCost = 8;
// Of more than one slot in so many it takes longer to sort a list than to set bits.
constexpr std::size_t kSlotsToSortOne = 256;
// Fewer slots are sorted by comparisons.
constexpr std::size_t kLeastForRadix = 64;

template <class Test>
void keep_if(Bitset& bits, Test&& test) {
  bits.edit_words([&](std::size_t w, std::uint64_t word) {
    std::uint64_t kept = 0;
    for (std::uint64_t left = word; left != 0; left &= left - 1) {
      const auto bit = static_cast<std::size_t>(std::countr_zero(left));
      kept |= std::uint64_t{test(static_cast<Slot>(w * 64 + bit))} << bit;
    }
    return kept;
  });
}

// Without a branch, for what passes is seldom to be foreseen.
template <class Test>
void keep_if(std::vector<Slot>& list, Test&& test) {
  std::size_t kept = 0;
  for (const Slot slot : list) {
    list[kept] = slot;
    kept += test(slot) ? 1 : 0;
  }
  list.resize(kept);
}

// Puts a list in order, and each of its slots into it once.
void ascend(std::vector<Slot>& list) {
  if (!std::is_sorted(list.begin(), list.end())) {
    if (list.size() < kLeastForRadix) {
      std::sort(list.begin(), list.end());
    } else {
      radix_sort(list, [](Slot slot) { return slot; });
    }
  }
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

// Of lists that ascend.
std::vector<Slot> united(const std::vector<Slot>& a, const std::vector<Slot>& b) {
  std::vector<Slot> both;
  both.reserve(a.size() + b.size());
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

// The ranges that a number lies in, found by halves.
template <class T>
bool lies_in(const std::vector<std::pair<T, T>>& ranges, T value) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), value,
                                      [](T v, const std::pair<T, T>& range) { return v < range.first; });
  return after != ranges.begin() && value < std::prev(after)->second;
}

/// An expression with what its leaves ask of the columns, looked up once.
struct Step {
  const Expression* expression;
  const Column* column = nullptr;      ///< of leaves but items
  const ColumnOrder* order = nullptr;  ///< of `value` and `element`, where it is known; with the
  Ranks ranks = {};                    ///< that stand for the values, negated or not
  std::size_t most = 0;                ///< so many slots may pass
  std::vector<Step> parts = {};        ///< of a conjunction the most selective first: others look at what it leaves
};

class Evaluation {
 public:
  Evaluation(const Table& table, const ColumnOrders& orders) : table_(table), orders_(orders) {}

  SlotSet evaluate(const Expression& e) const {
    const Step step = prepared(e);
    const std::size_t n = table_.slots();
    if (step.most >= few()) {
      Bitset bits = table_.alive_bits().copy();
      restrict(step, bits);
      return SlotSet(std::move(bits));
    }
    std::vector<Slot> list = listed(step);
    const bool sorted = std::is_sorted(list.begin(), list.end());
    if (list.size() < n / (sorted ? SlotSet::kSlotsForOne : kSlotsToSortOne)) {
      keep_if(list, [&](Slot slot) { return table_.alive_bits().test(slot); });
      ascend(list);
      list.shrink_to_fit();
      return SlotSet(std::move(list), n);
    }
    Bitset bits(n);
    for (const Slot slot : list) bits.set(slot);
    bits &= table_.alive_bits();
    return SlotSet(std::move(bits));
  }

 private:
  /// Fewer slots than so many are listed, and those that pass other conditions picked out of the list: what will be a
  /// bitmap is faster made from bitmaps.
  std::size_t few() const { return table_.slots() / SlotSet::kSlotsForOne; }

  Step prepared(const Expression& e) const {
    const std::size_t n = table_.slots();
    Step step{&e};
    step.most = n;
    for (const Expression& part : e.parts) step.parts.push_back(prepared(part));
    switch (e.kind) {
      case Kind::everything:
        break;
      case Kind::nothing:
        step.most = 0;
        break;
      case Kind::value:
      case Kind::element: {
        step.column = table_.columns().find(e.column);
        const auto at = orders_.find(e.column);
        if (at == orders_.end() || at->second == nullptr) break;
        step.order = at->second.get();
        step.ranks = step.order->ranks_of(e.values, e.null, *step.column);
        if (!e.negated) step.most = std::min(n, step.order->count(step.ranks));
        break;
      }
      case Kind::null_list:
        step.column = table_.columns().find(e.column);
        break;
      case Kind::items:
        if (!e.negated) step.most = e.slots->count();
        break;
      case Kind::all_of:
        std::sort(step.parts.begin(), step.parts.end(), [](const Step& a, const Step& b) { return a.most < b.most; });
        step.most = step.parts.front().most;
        break;
      case Kind::any_of:
        step.most = 0;
        for (const Step& part : step.parts) step.most = std::min(n, step.most + part.most);
        break;
    }
    return step;
  }

  /// The slots that pass, living or not, in any order and some of them twice, of what few may pass: its leaves that say
  /// so have an order.
  std::vector<Slot> listed(const Step& step) const {
    const Expression& e = *step.expression;
    std::vector<Slot> list;
    if (e.kind == Kind::all_of) {
      list = listed(step.parts.front());
      for (const Step& part : std::span(step.parts).subspan(1)) restrict(part, list);
    } else if (e.kind == Kind::any_of) {
      for (const Step& part : step.parts) {
        const std::vector<Slot> more = listed(part);
        list.insert(list.end(), more.begin(), more.end());
      }
    } else if (e.kind == Kind::items) {
      e.slots->for_each([&](std::size_t slot) { list.push_back(static_cast<Slot>(slot)); });
    } else if (e.kind != Kind::nothing) {
      for (const auto& range : step.ranks) {
        const auto slots = step.order->slots(range);
        list.insert(list.end(), slots.begin(), slots.end());
      }
    }
    return list;
  }

  /// Takes away the slots of a bitmap or a list that the expression does not let through.
  template <class Slots>
  void restrict(const Step& step, Slots& slots) const {
    const Expression& e = *step.expression;
    switch (e.kind) {
      case Kind::everything:
        return;
      case Kind::nothing:
        return keep_if(slots, [](Slot) { return false; });
      case Kind::value:
        return step.order != nullptr ? by_order(step, slots) : by_scan(step, slots);
      case Kind::element:
        return step.order != nullptr ? by_order(step, slots) : by_elements(step, slots);
      case Kind::null_list:
        return keep_if(slots, [&](Slot slot) { return step.column->present(slot) == e.negated; });
      case Kind::items:
        return by_items(e, slots);
      case Kind::all_of:
        for (const Step& part : step.parts) restrict(part, slots);
        return;
      case Kind::any_of:
        return restrict_to_any(step, slots);
    }
  }

  void restrict_to_any(const Step& step, Bitset& bits) const {
    Bitset passing(bits.size());
    for (const Step& part : step.parts) {
      if (part.most < few()) {
        for (const Slot slot : listed(part)) {
          if (bits.test(slot)) passing.set(slot);
        }
        continue;
      }
      Bitset more = bits.copy();
      restrict(part, more);
      passing |= more;
      bits -= more;
    }
    bits = std::move(passing);
  }

  void restrict_to_any(const Step& step, std::vector<Slot>& list) const {
    ascend(list);
    std::vector<Slot> passing;
    for (const Step& part : step.parts) {
      std::vector<Slot> more = list;
      restrict(part, more);
      passing = united(passing, more);
    }
    list = std::move(passing);
  }

  template <class Slots>
  void by_scan(const Step& step, Slots& slots) const {
    const Expression& e = *step.expression;
    const Column& values = *step.column;
    if (values.type() == AttributeType::string) {
      const Bitset wanted = wanted_codes(e, values);
      keep_if(slots, [&](Slot slot) { return values.present(slot) ? wanted.test(values.code(slot)) : e.null; });
      return;
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;  // both ends are part of it
    for (const auto& [begin, end] : e.values.intervals()) {
      if (end && key_of_bytes(*end) == 0) continue;  // before all numbers
      ranges.emplace_back(key_of_bytes(begin), end ? key_of_bytes(*end) - 1 : UINT64_MAX);
    }
    const auto after = [](std::uint64_t key, const auto& range) { return key < range.first; };
    keep_if(slots, [&](Slot slot) {
      if (!values.present(slot)) return e.null;
      const std::uint64_t key = values.key(slot);
      const auto next = std::upper_bound(ranges.begin(), ranges.end(), key, after);
      return next != ranges.begin() && key <= std::prev(next)->second;
    });
  }

  template <class Slots>
  void by_elements(const Step& step, Slots& slots) const {
    const Expression& e = *step.expression;
    const Column& lists = *step.column;
    const Bitset wanted = wanted_codes(e, lists);
    keep_if(slots, [&](Slot slot) {
      const auto list = lists.list(slot);
      return std::any_of(list.begin(), list.end(), [&](auto code) { return wanted.test(code); }) != e.negated;
    });
  }

  /// The codes of a dictionary whose texts are among the leaf's values.
  static Bitset wanted_codes(const Expression& e, const Column& values) {
    const Dictionary& dictionary = values.dictionary();
    Bitset wanted(dictionary.size());
    for (const auto& interval : e.values.intervals()) {
      if (interval.end && *interval.end == successor(interval.begin)) {
        const Dictionary::Code code = dictionary.find(interval.begin);
        if (code != Dictionary::kNone) wanted.set(code);
        continue;
      }
      const IntervalSet one({interval});
      for (std::size_t i = 0; i < dictionary.size(); ++i) {
        if (one.contains(dictionary.text(static_cast<Dictionary::Code>(i)))) wanted.set(i);
      }
    }
    return wanted;
  }

  void by_items(const Expression& e, std::vector<Slot>& list) const {
    keep_if(list, [&](Slot slot) { return e.slots->contains(slot) != e.negated; });
  }

  void by_items(const Expression& e, Bitset& bits) const {
    Bitset items(bits.size());
    e.slots->for_each([&](std::size_t slot) { items.set(slot); });
    e.negated ? bits -= items : bits &= items;
  }

  void by_order(const Step& step, std::vector<Slot>& list) const {
    if (is_list(step.column->type())) return by_elements(step, list);
    const std::vector<ColumnOrder::Rank>& rank = step.order->rank_of_slot();
    if (step.ranks.size() == 1) {
      const auto [first, last] = step.ranks.front();
      return keep_if(list, [&, first = first, last = last](Slot slot) { return rank[slot] - first < last - first; });
    }
    keep_if(list, [&](Slot slot) { return lies_in(step.ranks, rank[slot]); });
  }

  void by_order(const Step& step, Bitset& bits) const {
    const Column& values = *step.column;
    const ColumnOrder& order = *step.order;
    const Ranks& ranks = step.ranks;
    const std::size_t n = values.slots();
    const std::size_t m = order.count(ranks);
    const bool lists = is_list(values.type());
    const std::vector<ColumnOrder::Rank>& rank = order.rank_of_slot();
    if (lists || m <= n / kScatterCost || (ranks.size() > 1 && m <= n / 2)) {
      scatter(order, ranks, !step.expression->negated, bits);
    } else if (n - m <= n / kScatterCost || ranks.size() > 1) {
      scatter(order, order.complement(ranks), false, bits);
    } else {
      const auto [first, last] = ranks.front();
      bits.edit_words([&](std::size_t w, std::uint64_t word) {
        return word & ranks_within(rank.data() + w * 64, std::min<std::size_t>(64, n - w * 64), first, last);
      });
    }
  }

  /// Keeps of `bits` those that stand under the ranks, or the others.
  static void scatter(const ColumnOrder& order, const Ranks& ranks, bool keep, Bitset& bits) {
    Bitset under(bits.size());
    for (const auto& range : ranks) {
      for (const Slot slot : order.slots(range)) under.set(slot);
    }
    keep ? bits &= under : bits -= under;
  }

  /// A bit for each of up to 64 ranks.
  static std::uint64_t ranks_within(const ColumnOrder::Rank* ranks, std::size_t n, ColumnOrder::Rank first,
                                    ColumnOrder::Rank last) {
    std::uint8_t within[64] = {};
    for (std::size_t i = 0; i < n; ++i) within[i] = ranks[i] - first < last - first;
    std::uint64_t bits = 0;
    for (std::size_t group = 0; group < 8; ++group) {
      std::uint64_t bytes;
      std::memcpy(&bytes, within + 8 * group, 8);
      // Eight bytes of 0 or 1 to eight bits: the product moves byte i to bit 56 + i.
      bits |= (bytes * 0x0102040810204080u >> 56) << (8 * group);
    }
    return bits;
  }

  const Table& table_;
  const ColumnOrders& orders_;
};

}  // namespace

SlotSet evaluate(const Expression& expression, const Table& table, const ColumnOrders& orders) {
  return Evaluation(table, orders).evaluate(expression);
}

}  // namespace annlib
