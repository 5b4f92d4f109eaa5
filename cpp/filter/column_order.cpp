#include "filter/column_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/radix_sort.h"

namespace annlib {
ColumnOrder::ColumnOrder(const Column& column) {
  if (is_list(column.type())) {
    place(column, column.dictionary().size());
  } else if (column.type() == AttributeType::string) {
    rank_strings(column);
  } else {
    rank_keys(column);
  }
}

void ColumnOrder::rank_strings(const Column& column) {
  const Dictionary& dictionary = column.dictionary();
  strings_.resize(dictionary.size());
  std::iota(strings_.begin(), strings_.end(), Dictionary::Code{0});
  std::sort(strings_.begin(), strings_.end(),
            [&](Dictionary::Code a, Dictionary::Code b) { return dictionary.text(a) < dictionary.text(b); });
  std::vector<Rank> rank(strings_.size());
  for (std::size_t i = 0; i < strings_.size(); ++i) rank[strings_[i]] = static_cast<Rank>(i);
  const auto null = static_cast<Rank>(strings_.size());
  ranks_.resize(column.slots());
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    const auto slot = static_cast<Slot>(i);
    ranks_[i] = column.present(slot) ? rank[column.code(slot)] : null;
  }
  place(column, strings_.size() + 1);
}

void ColumnOrder::rank_keys(const Column& column) {
  std::vector<std::pair<std::uint64_t, Slot>> sorted;
  sorted.reserve(column.slots());
  column.present_bits().for_each([&](std::size_t i) {
    const auto slot = static_cast<Slot>(i);
    sorted.emplace_back(column.key(slot), slot);
  });
  radix_sort(sorted, [](const auto& keyed) { return keyed.first; });
  constexpr Rank kUnknown = 0xFFFFFFFFu;
  ranks_.assign(column.slots(), kUnknown);
  for (const auto& [key, slot] : sorted) {
    if (keys_.empty() || keys_.back() != key) keys_.push_back(key);
    ranks_[slot] = static_cast<Rank>(keys_.size() - 1);
  }
  std::replace(ranks_.begin(), ranks_.end(), kUnknown, static_cast<Rank>(keys_.size()));
  place(column, keys_.size() + 1);
}

// Counting sort of the slots by rank.
void ColumnOrder::place(const Column& column, std::size_t different) {
  const auto for_ranks = [&](auto&& take) {
    for (std::size_t i = 0; i < column.slots(); ++i) {
      const auto slot = static_cast<Slot>(i);
      if (ranks_.empty()) {
        for (const Dictionary::Code code : column.list(slot)) take(code, slot);
      } else {
        take(ranks_[i], slot);
      }
    }
  };
  starts_.assign(different + 1, 0);
  for_ranks([&](Rank rank, Slot) { ++starts_[rank + 1]; });
  std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
  slots_.resize(starts_.back());
  std::vector<std::uint32_t> next(starts_.begin(), starts_.end() - 1);
  for_ranks([&](Rank rank, Slot slot) { slots_[next[rank]++] = slot; });
}

ColumnOrder::Ranks ColumnOrder::ranks_of(const IntervalSet& values, bool null, const Column& column) const {
  const Dictionary& dictionary = column.dictionary();
  Ranks ranks;
  const auto add = [&](std::size_t first, std::size_t last) {
    if (first < last) ranks.emplace_back(static_cast<Rank>(first), static_cast<Rank>(last));
  };
  const auto first_from = [&](const std::string& value) {
    if (column.type() != AttributeType::string) {
      return static_cast<std::size_t>(std::lower_bound(keys_.begin(), keys_.end(), key_of_bytes(value)) -
                                      keys_.begin());
    }
    const auto before = [&](Dictionary::Code code, const std::string& v) { return dictionary.text(code) < v; };
    return static_cast<std::size_t>(std::lower_bound(strings_.begin(), strings_.end(), value, before) -
                                    strings_.begin());
  };
  for (const auto& [begin, end] : values.intervals()) {
    if (is_list(column.type())) {
      const Dictionary::Code code = dictionary.find(begin);
      if (code != Dictionary::kNone) add(code, code + std::size_t{1});
    } else {
      add(first_from(begin), end ? first_from(*end) : starts_.size() - 2);
    }
  }
  if (null) add(starts_.size() - 2, starts_.size() - 1);
  return ranks;
}

ColumnOrder::Ranks ColumnOrder::complement(const Ranks& ranks) const {
  Ranks others;
  Rank begin = 0;
  for (const auto& [first, last] : ranks) {
    if (begin < first) others.emplace_back(begin, first);
    begin = last;
  }
  if (begin + 1 < starts_.size()) others.emplace_back(begin, static_cast<Rank>(starts_.size() - 1));
  return others;
}

std::size_t ColumnOrder::count(const Ranks& ranks) const {
  std::size_t total = 0;
  for (const auto& range : ranks) total += slots(range).size();
  return total;
}

std::size_t ColumnOrder::memory_bytes() const {
  return keys_.size() * sizeof(keys_[0]) + strings_.size() * sizeof(strings_[0]) +
         (starts_.size() + slots_.size() + ranks_.size()) * sizeof(Rank);
}

}  // namespace annlib
