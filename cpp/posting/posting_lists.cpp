#include "posting/posting_lists.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/error.h"

namespace annlib {

std::uint32_t PostingLists::add_list(const float* centroid) {
  const auto number = static_cast<std::uint32_t>(lists_.size());
  lists_.push_back(List());
  centroids_.resize(centroids_.size() + dim_);
  place_centroid(number, centroid);
  return number;
}

void PostingLists::place_centroid(std::uint32_t list, const float* centroid) {
  std::copy_n(centroid, dim_, centroids_.data() + std::size_t{list} * dim_);
}

void PostingLists::reset(std::uint32_t list, const float* centroid) {
  lists_[list].size = 0;
  lists_[list].width = 0;
  place_centroid(list, centroid);
}

void PostingLists::measure(List& list) {
  double sum = 0;
  for (std::uint32_t place = 0; place < list.size; ++place) {
    const auto* factors = reinterpret_cast<const float*>(block_of(list, place));
    sum += std::fabs(factors[simd::kBlockRows + place % simd::kBlockRows]);
  }
  list.width = list.size > 0 ? static_cast<float>(sum / list.size) : 0.0f;
}

void PostingLists::grow(List& list, std::size_t size) {
  const std::size_t blocks = (size + simd::kBlockRows - 1) / simd::kBlockRows;
  if (blocks <= list.capacity) return;
  const std::size_t old = list.capacity * stride(), begin = blocks_.size();
  blocks_.resize(begin + blocks * stride());
  std::memcpy(blocks_.data() + begin, blocks_.data() + list.begin, old);
  wasted_ += old;
  list.begin = begin;
  list.capacity = static_cast<std::uint32_t>(blocks);
}

void PostingLists::reserve(std::uint32_t list, std::size_t size) { grow(lists_[list], size); }

void PostingLists::append(std::uint32_t list, std::span<const Slot> slots, const float* vectors) {
  List& one = lists_[list];
  grow(one, one.size + slots.size());
  std::vector<float> memory(codes_.center_floats() + codes_.put_floats());
  const ListCodes::Center around = codes_.center(centroid(list), memory.data());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto place = static_cast<std::uint32_t>(one.size + i);
    std::byte* block = block_of(one, place);
    clear_sign_code(block, place % simd::kBlockRows, codes_.tables());
    codes_.put(codes_.encode(around, vectors + i * dim_, memory.data() + codes_.center_floats()), block,
               place % simd::kBlockRows);
    slots_in(block)[place % simd::kBlockRows] = slots[i];
  }
  one.size += static_cast<std::uint32_t>(slots.size());
  measure(one);
}

std::vector<std::uint32_t> PostingLists::append_each(std::span<const Slot> slots, std::vector<Entry> entries,
                                                     const std::function<void(std::size_t, float*)>& load) {
  std::sort(entries.begin(), entries.end());
  std::vector<std::uint32_t> filled;
  std::vector<Slot> members;
  std::vector<float> vectors;
  for (std::size_t at = 0; at < entries.size();) {
    const std::uint32_t list = entries[at].list;
    members.clear();
    vectors.clear();
    for (; at < entries.size() && entries[at].list == list; ++at) {
      members.push_back(slots[entries[at].i]);
      vectors.resize(vectors.size() + dim_);
      load(entries[at].i, vectors.data() + vectors.size() - dim_);
    }
    if (size(list) == 0) filled.push_back(list);
    append(list, members, vectors.data());
  }
  return filled;
}

void PostingLists::remove(std::uint32_t list, Slot slot) {
  List& one = lists_[list];
  for (std::uint32_t place = 0; place < one.size; ++place) {
    std::byte* block = block_of(one, place);
    if (slots_in(block)[place % simd::kBlockRows] != slot) continue;
    const std::uint32_t last = one.size - 1;
    std::byte* end = block_of(one, last);
    if (place != last) {
      move_sign_code(end, last % simd::kBlockRows, block, place % simd::kBlockRows, codes_.tables());
      slots_in(block)[place % simd::kBlockRows] = slots_in(end)[last % simd::kBlockRows];
    }
    clear_sign_code(end, last % simd::kBlockRows, codes_.tables());
    slots_in(end)[last % simd::kBlockRows] = 0;
    one.size = last;
    return;
  }
}

void PostingLists::slots_of(std::uint32_t list, std::vector<Slot>& out) const {
  const List& one = lists_[list];
  out.clear();
  const std::byte* block = blocks_.data() + one.begin;
  for (std::uint32_t first = 0; first < one.size; first += simd::kBlockRows, block += stride()) {
    const std::uint32_t n = std::min<std::uint32_t>(simd::kBlockRows, one.size - first);
    out.insert(out.end(), slots_in(block), slots_in(block) + n);
  }
}

void PostingLists::compact() {
  Array<std::byte> blocks(blocks_.size() - wasted_);
  std::size_t at = 0;
  for (List& list : lists_) {
    const std::size_t bytes = list.capacity * stride();
    if (bytes > 0) std::memcpy(blocks.data() + at, blocks_.data() + list.begin, bytes);
    list.begin = at;
    at += bytes;
  }
  blocks_ = std::move(blocks);
  wasted_ = 0;
}

std::size_t PostingLists::memory_bytes() const {
  return centroids_.bytes().size() + lists_.bytes().size() + blocks_.bytes().size();
}

void PostingLists::restore(Array<float> centroids, Array<List> lists, Array<std::byte> blocks, std::size_t slots) {
  if (centroids.size() != lists.size() * dim_) throw CorruptError("lists and centroids differ in number");
  for (float x : centroids) {
    if (!std::isfinite(x)) throw CorruptError("a centroid is not finite");
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> spans;
  std::vector<std::uint32_t> seen(slots, 0);  // the list, counted from 1, that had a slot last
  std::size_t used = 0;
  for (std::uint32_t l = 0; l < lists.size(); ++l) {
    const List& list = lists[l];
    const std::uint64_t bytes = std::uint64_t{list.capacity} * stride();
    if (list.begin % stride() != 0 || list.begin > blocks.size() || bytes > blocks.size() - list.begin ||
        list.size > std::uint64_t{list.capacity} * simd::kBlockRows || !(list.width >= 0) ||
        !std::isfinite(list.width)) {
      throw CorruptError("posting list " + std::to_string(l) + " does not lie within the lists");
    }
    if (bytes > 0) spans.emplace_back(list.begin, list.begin + bytes);
    used += bytes;
    for (std::uint32_t place = 0; place < list.size; ++place) {
      const std::byte* block = blocks.data() + list.begin + place / simd::kBlockRows * stride();
      const Slot slot = slots_in(block)[place % simd::kBlockRows];
      if (slot >= slots || seen[slot] == l + 1) {
        throw CorruptError("posting list " + std::to_string(l) + " holds what is not there, or one item twice");
      }
      seen[slot] = l + 1;
    }
  }
  std::sort(spans.begin(), spans.end());
  for (std::size_t i = 1; i < spans.size(); ++i) {
    if (spans[i].first < spans[i - 1].second) throw CorruptError("posting lists lie over each other");
  }
  if (blocks.size() % stride() != 0) throw CorruptError("posting lists have a wrong length");
  centroids_ = std::move(centroids);
  lists_ = std::move(lists);
  blocks_ = std::move(blocks);
  wasted_ = blocks_.size() - used;
}

}  // namespace annlib
