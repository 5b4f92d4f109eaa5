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

template <class Test>
void keep_if(std::vector<Slot>& list, Test&& test) {
  std::erase_if(list, [&](Slot slot) { return !test(slot); });
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

class Evaluation {
 public:
  Evaluation(const Table& table, const ColumnOrders& orders) : table_(table), orders_(orders) {}

  SlotSet evaluate(const Expression& e) const {
    if (most(e) < few()) {
      std::vector<Slot> list = listed(e);
      keep_if(list, [&](Slot slot) { return table_.alive_bits().test(slot); });
      return SlotSet(std::move(list), table_.slots());
    }
    Bitset bits = table_.alive_bits().copy();
    restrict(e, bits);
    return SlotSet(std::move(bits));
  }

 private:
  const Column& column(const Expression& leaf) const { return *table_.columns().find(leaf.column); }
  const ColumnOrder* order_of(const Expression& leaf) const {
    const auto at = orders_.find(leaf.column);
    return at == orders_.end() ? nullptr : at->second.get();
  }

  /// Fewer than so many slots are listed.
  std::size_t few() const { return table_.slots() / SlotSet::kSlotsForOne; }

  /// How many slots may pass.
  std::size_t most(const Expression& e) const {
    const std::size_t n = table_.slots();
    switch (e.kind) {
      case Kind::nothing:
        return 0;
      case Kind::value:
      case Kind::element: {
        const ColumnOrder* order = order_of(e);
        if (order == nullptr || e.negated) return n;
        return std::min(n, order->count(order->ranks_of(e.values, e.null, column(e))));
      }
      case Kind::items:
        return e.negated ? n : e.slots->count();
      case Kind::all_of: {
        std::size_t least = n;
        for (const Expression& part : e.parts) least = std::min(least, most(part));
        return least;
      }
      case Kind::any_of: {
        std::size_t sum = 0;
        for (const Expression& part : e.parts) sum = std::min(n, sum + most(part));
        return sum;
      }
      default:
        return n;
    }
  }

  /// The most selective first, so that the others look at what it leaves.
  std::vector<const Expression*> by_selectivity(const std::vector<Expression>& parts) const {
    std::vector<std::pair<std::size_t, const Expression*>> by_most;
    for (const Expression& part : parts) by_most.emplace_back(most(part), &part);
    std::sort(by_most.begin(), by_most.end());
    std::vector<const Expression*> sorted;
    for (const auto& [most, part] : by_most) sorted.push_back(part);
    return sorted;
  }

  /// The slots that pass, living or not, ascending, of an expression that few may: of its leaves those that say so have
  /// an order.
  std::vector<Slot> listed(const Expression& e) const {
    std::vector<Slot> list;
    if (e.kind == Kind::all_of) {
      const std::vector<const Expression*> parts = by_selectivity(e.parts);
      list = listed(*parts.front());
      for (const Expression* part : std::span(parts).subspan(1)) restrict(*part, list);
      return list;
    }
    if (e.kind == Kind::any_of) {
      for (const Expression& part : e.parts) {
        list = united(list, listed(part));
      }
    } else if (e.kind == Kind::items) {
      e.slots->for_each([&](std::size_t slot) { list.push_back(static_cast<Slot>(slot)); });
    } else if (e.kind != Kind::nothing) {
      const ColumnOrder& order = *order_of(e);
      for (const auto& range : order.ranks_of(e.values, e.null, column(e))) {
        const auto slots = order.slots(range);
        list.insert(list.end(), slots.begin(), slots.end());
      }
      // Those of one value ascend.
      if (!std::is_sorted(list.begin(), list.end())) radix_sort(list, [](Slot slot) { return slot; });
      list.erase(std::unique(list.begin(), list.end()), list.end());
    }
    return list;
  }

  /// Takes away the slots of a bitmap or a list that the expression does not let through.
  template <class Slots>
  void restrict(const Expression& e, Slots& slots) const {
    switch (e.kind) {
      case Kind::everything:
        return;
      case Kind::nothing:
        return keep_if(slots, [](Slot) { return false; });
      case Kind::value:
        return order_of(e) != nullptr ? by_order(e, *order_of(e), slots) : by_scan(e, slots);
      case Kind::element:
        return order_of(e) != nullptr ? by_order(e, *order_of(e), slots) : by_elements(e, slots);
      case Kind::null_list:
        return keep_if(slots, [&](Slot slot) { return column(e).present(slot) == e.negated; });
      case Kind::items:
        return by_items(e, slots);
      case Kind::all_of:
        for (const Expression* part : by_selectivity(e.parts)) restrict(*part, slots);
        return;
      case Kind::any_of:
        return restrict_to_any(e, slots);
    }
  }

  void restrict_to_any(const Expression& e, Bitset& bits) const {
    Bitset passing(bits.size());
    for (const Expression& part : e.parts) {
      if (most(part) < few()) {
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

  void restrict_to_any(const Expression& e, std::vector<Slot>& list) const {
    std::vector<Slot> passing;
    for (const Expression& part : e.parts) {
      std::vector<Slot> more = list;
      restrict(part, more);
      passing = united(passing, more);
    }
    list = std::move(passing);
  }

  template <class Slots>
  void by_scan(const Expression& e, Slots& slots) const {
    const Column& values = column(e);
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
  void by_elements(const Expression& e, Slots& slots) const {
    const Column& lists = column(e);
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

  void by_order(const Expression& e, const ColumnOrder& order, std::vector<Slot>& list) const {
    const Column& values = column(e);
    if (is_list(values.type())) return by_elements(e, list);
    const Ranks ranks = order.ranks_of(e.values, e.null, values);
    keep_if(list, [&, &rank = order.rank_of_slot()](Slot slot) { return lies_in(ranks, rank[slot]); });
  }

  void by_order(const Expression& e, const ColumnOrder& order, Bitset& bits) const {
    const Column& values = column(e);
    const std::size_t n = values.slots();
    const Ranks ranks = order.ranks_of(e.values, e.null, values);
    const std::size_t m = order.count(ranks);
    const bool lists = is_list(values.type());
    const std::vector<ColumnOrder::Rank>& rank = order.rank_of_slot();
    if (lists || m <= n / kScatterCost || (ranks.size() > 1 && m <= n / 2)) {
      scatter(order, ranks, !e.negated, bits);
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
