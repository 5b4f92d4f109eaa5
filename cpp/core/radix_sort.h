#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace annlib {

/// Sorts by key_of(item), an unsigned number; equal ones stay as they are. From the last byte to the first, but for
/// bytes in which all keys agree (Knuth, TAOCP 3, 5.2.5).
template <class Item, class KeyOf>
void radix_sort(std::vector<Item>& items, KeyOf&& key_of) {
  constexpr std::size_t kBytes = sizeof(key_of(items.front()));
  std::array<std::array<std::uint32_t, 256>, kBytes> counts{};
  for (const Item& item : items) {
    for (std::size_t byte = 0; byte < kBytes; ++byte) ++counts[byte][key_of(item) >> 8 * byte & 0xFF];
  }
  std::vector<Item> sorted(items.size());
  for (std::size_t byte = 0; byte < kBytes; ++byte) {
    auto& next = counts[byte];
    if (std::find(next.begin(), next.end(), items.size()) != next.end()) continue;
    std::exclusive_scan(next.begin(), next.end(), next.begin(), std::uint32_t{0});
    for (const Item& item : items) sorted[next[key_of(item) >> 8 * byte & 0xFF]++] = item;
    items.swap(sorted);
  }
}

}  // namespace annlib
