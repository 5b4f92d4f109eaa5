#pragma once

#include <algorithm>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/bitset.h"
#include "core/buffer.h"
#include "core/prefetch.h"
#include "core/types.h"
#include "posting/list_codes.h"
#include "simd/simd.h"

namespace annlib {

constexpr std::uint32_t kNoList = 0xFFFFFFFFu;

/// Calls take(place, slot, estimate) for those of `size` codes, in blocks from `block` on, each `stride` bytes with its
/// slots at the end, that may be nearer than `bound`, which take() may lower. before() is called ahead of each. With
/// `passing`, only for slots in it, and of blocks without such only the slots are looked at; all slots are below its
/// size then. Returns how many of the codes are of slots that pass.
template <class Before, class Take>
std::size_t scan_blocks(const std::byte* block, std::uint32_t size, std::size_t stride, const simd::BlockQuery& query,
                        float distance, const float& bound, const Bitset* passing, const simd::Kernels& kernels,
                        Before&& before, Take&& take) {
  constexpr std::uint32_t kRows = simd::kBlockRows, kAtOnce = 8;
  const auto slots_of = [&](std::uint32_t b) {
    return reinterpret_cast<const Slot*>(block + (b + 1) * stride) - kRows;
  };
  // Of a file that may be hostile, what stands in places that are free was never looked at.
  Slot last[kRows];
  const auto used = [&](const Slot* slots, std::uint32_t n) {
    std::fill(std::copy_n(slots, n, last), last + kRows, kNoSlot);
    return static_cast<const Slot*>(last);
  };
  std::size_t passed = passing == nullptr ? size : 0;
  for (std::uint32_t first = 0; first < size; first += kAtOnce * kRows, block += kAtOnce * stride) {
    const std::uint32_t blocks = std::min(kAtOnce, (size - first + kRows - 1) / kRows);
    std::uint32_t near[kAtOnce];
    for (std::uint32_t b = 0; b < blocks; ++b) {
      const std::uint32_t left = size - first - b * kRows;
      near[b] = left < kRows ? (std::uint32_t{1} << left) - 1 : ~std::uint32_t{0};
      if (passing == nullptr) continue;
      near[b] &= kernels.test_bits(passing->words().data(), left < kRows ? used(slots_of(b), left) : slots_of(b));
      if (near[b] == 0) continue;
      passed += bit_count(near[b]);
      prefetch(block + b * stride, stride - kRows * sizeof(Slot));
    }
    for (std::uint32_t b = 0; b < blocks; ++b) {
      before();
      if (near[b] == 0) continue;
      alignas(64) float estimates[kRows];
      near[b] &= kernels.scan_block(query, block + b * stride, distance, 1.0f, bound, estimates);
      for (std::uint32_t left = near[b]; left != 0; left &= left - 1) {
        const auto i = static_cast<std::uint32_t>(std::countr_zero(left));
        take(first + b * kRows + i, slots_of(b)[i], estimates[i]);
      }
    }
  }
  return passed;
}

/// Posting lists: around each centroid the slots of the vectors that belong to it, and one bit a dimension of where
/// each lies from the centroid (list_codes.h), in blocks of 32 that are scored at once. A slot may stand in
/// several lists, once in each.
///
/// A block is its codes and then its 32 slots; places that are free have kNoSlot and lie at the end. Lists that outgrow
/// their place move to the end of all and leave a hole, which compact() closes.
///
/// const members may be called from any thread while nothing changes.
class PostingLists {
 public:
  PostingLists(std::uint32_t dim, Metric metric) : codes_(dim, metric), dim_(dim) {}

  std::uint32_t dim() const { return dim_; }
  std::size_t count() const { return lists_.size(); }
  std::size_t size(std::uint32_t list) const { return lists_[list].size; }
  /// Whether a list of more than `longest` is worth splitting: not again before it has doubled, where it was in vain.
  bool overfull(std::uint32_t list, std::size_t longest) const {
    return size(list) > longest && size(list) >= 2 * std::size_t{lists_[list].split_at};
  }
  void note_split(std::uint32_t list) { lists_[list].split_at = lists_[list].size; }
  const float* centroid(std::uint32_t list) const { return centroids_.data() + std::size_t{list} * dim_; }
  const Array<float>& centroids() const { return centroids_; }
  const ListCodes& codes() const { return codes_; }

  /// An empty list around a centroid; returns its number.
  std::uint32_t add_list(const float* centroid);
  /// Empties a list, which lies around another centroid from now on.
  void reset(std::uint32_t list, const float* centroid);
  /// Room for `size` slots.
  void reserve(std::uint32_t list, std::size_t size);
  /// For one thread a list, in lists that have the room (or for one thread in all): puts slots at the end; their
  /// vectors are size x dim.
  void append(std::uint32_t list, std::span<const Slot> slots, const float* vectors);
  /// The i-th of some slots, to stand in a list.
  struct Entry {
    std::uint32_t list;
    std::size_t i;
    auto operator<=>(const Entry&) const = default;
  };
  /// Puts each at the end of its list, load(i, out) giving the vector. Returns the lists that were empty before.
  std::vector<std::uint32_t> append_each(std::span<const Slot> slots, std::vector<Entry> entries,
                                         const std::function<void(std::size_t, float*)>& load);
  /// Takes a slot out, of a list that may have it.
  void remove(std::uint32_t list, Slot slot);
  void slots_of(std::uint32_t list, std::vector<Slot>& out) const;
  /// Closes the holes.
  void compact();
  /// What errors of its estimates are proportional to, besides the length of what the codes are compared with.
  float width(std::uint32_t list) const { return lists_[list].width; }

  /// Calls take(slot, estimate) for what may be nearer than `bound`, which take() may lower. `distance` is the query's
  /// from the centroid, in the metric's own unit (under cosine half the squared one). Returns how many pass. Meanwhile
  /// `next` is asked for, the list to be scanned after this one, or kNoList. `passing` as in scan_blocks().
  template <class Take>
  std::size_t scan(std::uint32_t list, std::uint32_t next, const simd::BlockQuery& query, float distance,
                   const float& bound, const Bitset* passing, const simd::Kernels& kernels, Take&& take) const {
    const List& one = lists_[list];
    const std::byte* block = blocks_.data() + one.begin;
    const std::byte* ahead = nullptr;
    std::size_t blocks_ahead = 0;
    if (next != kNoList) {
      ahead = blocks_.data() + lists_[next].begin;
      blocks_ahead = (lists_[next].size + simd::kBlockRows - 1) / simd::kBlockRows;
    }
    // Of what passes a filter, the rest of a block is asked for when it is known to hold some.
    const std::size_t skipped = passing != nullptr ? codes_.block_bytes() : 0;
    const auto ask = [&](std::size_t n) __attribute__((always_inline)) {
      for (n = std::min(n, blocks_ahead); n > 0; --n, --blocks_ahead, ahead += stride()) {
        prefetch(ahead + skipped, stride() - skipped);
      }
    };
    const std::size_t passed = scan_blocks(
        block, one.size, stride(), query, distance, bound, passing, kernels, [&] { ask(1); },
        [&](std::uint32_t, Slot slot, float estimate) { take(slot, estimate); });
    ask(blocks_ahead);
    return passed;
  }

  std::size_t memory_bytes() const;
  /// Bytes of blocks that belong to no list.
  std::size_t wasted_bytes() const { return wasted_; }

  struct List {
    std::uint64_t begin = 0;     ///< of its first block, in bytes
    std::uint32_t size = 0;      ///< slots
    std::uint32_t capacity = 0;  ///< blocks
    float width = 0;             ///< mean |times| of its codes: what errors of estimates are proportional to
    std::uint32_t split_at = 0;  ///< its size when it was split last and stayed that long: of equal vectors
  };
  const Array<List>& lists() const { return lists_; }
  const Array<std::byte>& blocks() const { return blocks_; }
  std::size_t stride() const { return codes_.block_bytes() + simd::kBlockRows * sizeof(Slot); }
  /// From a file, which may be hostile: CorruptError unless lists lie apart within the blocks and hold slots
  /// below `slots`, each once in a list.
  void restore(Array<float> centroids, Array<List> lists, Array<std::byte> blocks, std::size_t slots);

 private:
  const Slot* slots_in(const std::byte* block) const {
    return reinterpret_cast<const Slot*>(block + codes_.block_bytes());
  }
  Slot* slots_in(std::byte* block) const { return reinterpret_cast<Slot*>(block + codes_.block_bytes()); }
  std::byte* block_of(const List& list, std::uint32_t place) {
    return blocks_.data() + list.begin + place / simd::kBlockRows * stride();
  }
  void grow(List& list, std::size_t size);
  void place_centroid(std::uint32_t list, const float* centroid);
  void measure(List& list);

  ListCodes codes_;
  std::uint32_t dim_;
  Array<float> centroids_;
  Array<List> lists_;
  Array<std::byte> blocks_;
  std::size_t wasted_ = 0;
};

}  // namespace annlib
