#include "filter/evaluate.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace annlib {
namespace {

using Kind = Expression::Kind;
using Ranks = ColumnOrder::Ranks;

// Of so many slots and fewer one may still pass for each slot of a column: these are asked one by one.
constexpr std::size_t kFew = 64;
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

  /// Takes away the slots of `bits` that the expression does not let through.
  void restrict(const Expression& e, Bitset& bits) const {
    switch (e.kind) {
      case Kind::everything:
        return;
      case Kind::nothing:
        bits = Bitset(bits.size());
        return;
      case Kind::value:
        return order_of(e) != nullptr ? by_order(e, *order_of(e), bits) : by_scan(e, bits);
      case Kind::element:
        return order_of(e) != nullptr ? by_order(e, *order_of(e), bits) : by_elements(e, bits);
      case Kind::null_list:
        return e.negated ? void(bits &= column(e).present_bits()) : void(bits -= column(e).present_bits());
      case Kind::items:
        return e.negated ? void(bits -= *e.slots) : void(bits &= *e.slots);
      case Kind::all_of: {
        // The most selective first: the others look at what it leaves.
        std::vector<std::pair<std::size_t, const Expression*>> parts;
        for (const Expression& part : e.parts) parts.emplace_back(most(part), &part);
        std::sort(parts.begin(), parts.end());
        for (const auto& [most, part] : parts) restrict(*part, bits);
        return;
      }
      case Kind::any_of: {
        Bitset passing(bits.size());
        for (const Expression& part : e.parts) {
          Bitset more = bits.copy();
          restrict(part, more);
          passing |= more;
          bits -= more;
        }
        bits = std::move(passing);
        return;
      }
    }
  }

 private:
  const Column& column(const Expression& leaf) const { return *table_.columns().find(leaf.column); }
  const ColumnOrder* order_of(const Expression& leaf) const {
    const auto at = orders_.find(leaf.column);
    return at == orders_.end() ? nullptr : at->second.get();
  }

  /// How many slots may pass.
  std::size_t most(const Expression& e) const {
    const std::size_t n = table_.slots();
    switch (e.kind) {
      case Kind::nothing:
        return 0;
      case Kind::value:
      case Kind::element: {
        const ColumnOrder* order = order_of(e);
        if (order == nullptr) return n;
        const std::size_t m = std::min(n, order->count(order->ranks_of(e.values, e.null, column(e))));
        return e.negated ? n - m : m;
      }
      case Kind::items:
        return e.negated ? n - e.slots->count() : e.slots->count();
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

  void by_scan(const Expression& e, Bitset& bits) const {
    const Column& values = column(e);
    if (values.type() == AttributeType::string) {
      const Bitset wanted = wanted_codes(e, values);
      keep_if(bits, [&](Slot slot) { return values.present(slot) ? wanted.test(values.code(slot)) : e.null; });
      return;
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;  // both ends are part of it
    for (const auto& [begin, end] : e.values.intervals()) {
      if (end && key_of_bytes(*end) == 0) continue;  // before all numbers
      ranges.emplace_back(key_of_bytes(begin), end ? key_of_bytes(*end) - 1 : UINT64_MAX);
    }
    const auto after = [](std::uint64_t key, const auto& range) { return key < range.first; };
    keep_if(bits, [&](Slot slot) {
      if (!values.present(slot)) return e.null;
      const std::uint64_t key = values.key(slot);
      const auto next = std::upper_bound(ranges.begin(), ranges.end(), key, after);
      return next != ranges.begin() && key <= std::prev(next)->second;
    });
  }

  void by_elements(const Expression& e, Bitset& bits) const {
    const Column& lists = column(e);
    const Bitset wanted = wanted_codes(e, lists);
    keep_if(bits, [&](Slot slot) {
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

  void by_order(const Expression& e, const ColumnOrder& order, Bitset& bits) const {
    const Column& values = column(e);
    const std::size_t n = values.slots();
    const Ranks ranks = order.ranks_of(e.values, e.null, values);
    const std::size_t m = order.count(ranks);
    const bool lists = is_list(values.type());
    const std::vector<ColumnOrder::Rank>& rank = order.rank_of_slot();
    if (m > n / kFew && bits.count() < n / kFew) {
      if (lists) return by_elements(e, bits);
      keep_if(bits, [&](Slot slot) { return lies_in(ranks, rank[slot]); });
    } else if (lists || m <= n / kScatterCost || (ranks.size() > 1 && m <= n / 2)) {
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

Bitset evaluate(const Expression& expression, const Table& table, const ColumnOrders& orders) {
  Bitset bits = table.alive_bits().copy();
  Evaluation(table, orders).restrict(expression, bits);
  return bits;
}

}  // namespace annlib
