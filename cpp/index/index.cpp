#include "index/index.h"

#include <algorithm>
#include <cstring>
#include <shared_mutex>

#include "core/error.h"

namespace annlib {

void require_distinct(std::span<const std::int64_t> ids) {
  std::vector<std::int64_t> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) throw ValueError("id " + std::to_string(*twice) + " stands twice in one call");
}

void require_rows(const Columns& attributes, std::size_t n) {
  if (attributes.empty() || attributes.slots() == n) return;
  throw ValueError("got " + std::to_string(n) + " items and attributes of " + std::to_string(attributes.slots()));
}

Index::Index(std::uint32_t dim, DType dtype, Metric metric, bool keep_vectors)
    : dim_(dim), dtype_(dtype), metric_(metric), keep_vectors_(keep_vectors) {
  if (dim == 0 || dim > (1u << 20)) {
    throw ValueError("dim must be between 1 and " + std::to_string(1u << 20) + ", got " + std::to_string(dim));
  }
}

void Index::check_block(const VectorBlock& block, const std::string& what) const {
  if (block.dim != dim_) {
    throw ValueError(what + " have dim " + std::to_string(block.dim) + ", the index has dim " + std::to_string(dim_));
  }
  require_finite(block, what);
}

void Index::add(const VectorBlock& vectors, std::span<const std::int64_t> ids, OnConflict on_conflict, int threads,
                const Progress& progress, const Columns& attributes) {
  check_block(vectors, "vectors");
  if (ids.size() != vectors.count) {
    throw ValueError("got " + std::to_string(vectors.count) + " vectors and " + std::to_string(ids.size()) + " ids");
  }
  for (std::int64_t id : ids) {
    if (id < 0) throw ValueError("ids must be non-negative, got " + std::to_string(id));
  }
  require_distinct(ids);
  require_rows(attributes, ids.size());
  before_write();
  std::lock_guard writer(writer_);
  require_fit(table().columns(), attributes);
  Lookup lookup;
  lookup.attributes = &attributes;
  lookup.old.reserve(ids.size());
  for (std::int64_t id : ids) {
    const Slot slot = table().find(id);
    if (slot != kNoSlot && on_conflict == OnConflict::raise) {
      throw KeyError("id " + std::to_string(id) +
                     " is in the index already; update() replaces it, and so does add(..., "
                     "on_conflict=\"update\")");
    }
    lookup.old.push_back(slot);
    lookup.any |= slot != kNoSlot;
  }
  if (ids.empty()) return;
  insert(vectors, ids, lookup, threads, progress);
}

void Index::update(const VectorBlock& vectors, std::span<const std::int64_t> ids, int threads, const Progress& progress,
                   const Columns& attributes) {
  {
    std::shared_lock reading(lock_);
    slots_of(ids);
  }
  add(vectors, ids, OnConflict::update, threads, progress, attributes);
}

void Index::remove(std::span<const std::int64_t> ids, int threads) {
  require_distinct(ids);
  before_write();
  std::lock_guard writer(writer_);
  const std::vector<Slot> slots = slots_of(ids);
  if (!slots.empty()) erase(slots, threads);
}

std::vector<Slot> Index::slots_of(std::span<const std::int64_t> ids) const {
  std::vector<Slot> slots;
  slots.reserve(ids.size());
  for (std::int64_t id : ids) {
    slots.push_back(table().find(id));
    if (slots.back() == kNoSlot) throw KeyError("id " + std::to_string(id) + " is not in the index");
  }
  return slots;
}

void Index::compact(int threads, const Progress& progress) {
  before_write();
  std::lock_guard writer(writer_);
  rebuild(threads, progress);
}

void Index::get(std::span<const std::int64_t> ids, std::byte* out) const {
  if (!keep_vectors_) throw ValueError("the vectors are not kept (keep_vectors=False)");
  std::shared_lock reading(lock_);
  fetch(slots_of(ids), out);
}

void Index::fetch(std::span<const Slot> slots, std::byte* out) const {
  for (const Slot slot : slots) {
    convert({table().row(slot), table().dtype()}, dim_, dtype_, out);
    out += dim_ * dtype_size(dtype_);
  }
}

void Index::contains(std::span<const std::int64_t> ids, bool* out) const {
  std::shared_lock reading(lock_);
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = table().find(ids[i]) != kNoSlot;
}

std::vector<std::int64_t> Index::ids() const {
  std::shared_lock reading(lock_);
  std::vector<std::int64_t> result;
  for (Slot slot : table().arrival_order()) result.push_back(table().id(slot));
  return result;
}

std::size_t Index::size() const {
  std::shared_lock reading(lock_);
  return table().live();
}

std::size_t Index::vector_bytes() const {
  std::shared_lock reading(lock_);
  return table().row_bytes().bytes().size();
}

std::size_t Index::code_bytes() const {
  std::shared_lock reading(lock_);
  return codes() != nullptr ? codes()->memory_bytes() : 0;
}

std::size_t Index::memory_bytes() const {
  std::shared_lock reading(lock_);
  return table().memory_bytes() + other_memory_bytes() + filters_.memory_bytes();
}

void Index::with_sections(
    const std::function<void(const std::string&, const std::vector<storage::SectionView>&)>& f) const {
  std::lock_guard writer(writer_);
  std::shared_lock reading(lock_);
  storage::SectionList sections;
  append_sections(sections);
  f(kind(), sections.views());
}

}  // namespace annlib
