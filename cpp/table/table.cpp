#include "table/table.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/random.h"
#include "core/version.h"

namespace annlib {

Table::Table(std::uint32_t dim, DType dtype, Metric metric)
    : dim_(dim), dtype_(dtype), metric_(metric), stride_(row_stride(vector_bytes())), version_(next_version()) {}

simd::Rows Table::rows() const {
  simd::Rows rows;
  rows.data = rows_.data();
  rows.stride = stride_;
  rows.dim = dim_;
  rows.tails = reinterpret_cast<const std::byte*>(norms_.data());
  rows.tail_stride = sizeof(float);
  rows.prefetch_bytes = static_cast<std::uint32_t>(stride_);
  return rows;
}

const std::byte* Table::vector(Slot slot) const {
  if (keeps_rows_) return row(slot);
  const auto found = given_.find(slot);
  return found == given_.end() ? nullptr : found->second;
}

float Table::reciprocal_norm(Slot slot) const {
  return keeps_rows_ ? norms_[slot] : reciprocal_length(sum_of_squares(vector(slot), dtype_, dim_));
}

bool Table::same_vector(Slot a, Slot b) const { return std::memcmp(row(a), row(b), vector_bytes()) == 0; }

std::uint64_t Table::content_hash(Slot slot) const { return hash_bytes(row(slot), vector_bytes()); }

std::vector<Slot> Table::arrival_order() const {
  std::vector<Slot> order;
  order.reserve(live());
  alive_.for_each([&](std::size_t slot) { order.push_back(static_cast<Slot>(slot)); });
  std::sort(order.begin(), order.end(), [&](Slot a, Slot b) { return arrival_[a] < arrival_[b]; });
  return order;
}

void Table::reserve(std::size_t slots, int threads) {
  if (keeps_rows_) rows_.reserve(slots * stride_, threads);
  if (has_norms()) norms_.reserve(slots);
  ids_.reserve(slots);
  arrival_.reserve(slots);
  map_.reserve(slots, hash_by_id());
}

Slot Table::append(RowView vector) {
  Slot slot;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else {
    const std::size_t n = slots();
    if (n >= kMaxSlots) throw ValueError("an index holds at most " + std::to_string(kMaxSlots) + " vectors");
    resize(n + 1);
    slot = static_cast<Slot>(n);
  }
  if (!keeps_rows_) {
    if (vector.data != nullptr) given_[slot] = vector.data;
    return slot;
  }
  std::byte* out = rows_.data() + slot * stride_;
  convert(vector, dim_, dtype_, out);
  if (has_norms()) norms_[slot] = reciprocal_length(sum_of_squares(out, dtype_, dim_));
  note_length(out);
  return slot;
}

void Table::drop_rows() {
  keeps_rows_ = false;
  rows_ = {};
  norms_ = {};
}

Array<std::byte> Table::rows_as(DType dtype) const {
  const std::size_t stride = row_stride(dim_ * dtype_size(dtype));
  Array<std::byte> rows;
  rows.resize(slots() * stride);
  for (std::size_t slot = 0; slot < slots(); ++slot) {
    convert({row(static_cast<Slot>(slot)), dtype_}, dim_, dtype, rows.data() + slot * stride);
  }
  return rows;
}

void Table::take_rows(Array<std::byte> rows, DType dtype) {
  rows_ = std::move(rows);
  dtype_ = dtype;
  stride_ = row_stride(vector_bytes());
}

void Table::note_length(const std::byte* row) { longest_ = std::max(longest_, length_of(row, dtype_, metric_, dim_)); }

void Table::reveal(Slot slot, std::int64_t id, std::uint32_t arrival) {
  ids_[slot] = id;
  arrival_[slot] = arrival;
  next_arrival_ = std::max(next_arrival_, arrival + 1);
  alive_.set(slot);
  map_.insert(slot, hash_by_id());
  touch();
}

void Table::hide(Slot slot) {
  map_.erase(slot, hash_by_id());
  alive_.reset(slot);
  touch();
}

void Table::touch() { version_ = next_version(); }

void Table::move_item(Slot from, Slot to) {
  map_.replace(from, to, hash_of(ids_[from]));
  ids_[to] = ids_[from];
  arrival_[to] = arrival_[from];
  columns_.copy(from, to);
  alive_.set(to);
  alive_.reset(from);
  touch();
}

void Table::release(Slot slot) { free_.push_back(slot); }

void Table::take_back(std::span<const Slot> appended, std::size_t slots) {
  for (std::size_t i = appended.size(); i-- > 0;) {
    if (appended[i] < slots) release(appended[i]);
  }
  resize(slots);
  forget_vectors();
}

void Table::resize(std::size_t slots) {
  if (keeps_rows_) rows_.resize(slots * stride_);
  if (has_norms()) norms_.resize(slots);
  ids_.resize(slots);
  arrival_.resize(slots);
  alive_.resize(slots);
  columns_.resize(slots);
  touch();
}

void Table::renumber_arrivals() {
  next_arrival_ = 0;
  for (Slot slot : arrival_order()) arrival_[slot] = next_arrival_++;
}

std::size_t Table::memory_bytes() const {
  return rows_.bytes().size() + norms_.bytes().size() + ids_.bytes().size() + arrival_.memory_bytes() +
         alive_.words().bytes().size() + map_.memory_bytes() + free_.size() * sizeof(Slot) + columns_.memory_bytes();
}

void Table::restore(Parts parts) {
  const std::size_t n = parts.ids.size();
  if (n > kMaxSlots || parts.rows.size() != (keeps_rows_ ? n * stride_ : 0) || parts.arrival.size() != n ||
      parts.norms.size() != (has_norms() ? n : 0) || parts.alive.size() != Bitset::words_for(n)) {
    throw CorruptError("the arrays of vectors, ids and liveness differ in length");
  }
  if (n % 64 != 0 && (parts.alive[n / 64] >> (n % 64)) != 0) throw CorruptError("a bit beyond the last row is set");
  Bitset alive(std::move(parts.alive), n);
  const auto hash = [&](Slot slot) { return hash_of(parts.ids[slot]); };
  const bool stored = parts.by_id.has_value();
  SlotHash map;
  if (stored) {
    map = SlotHash(std::move(*parts.by_id));
    if (map.size() != alive.count() || !map.sound(n)) throw CorruptError("the hash by id makes no sense");
  } else {
    map.reserve(alive.count(), hash);
  }
  std::uint32_t next_arrival = 0;
  alive.for_each([&](std::size_t slot) {
    if (parts.ids[slot] < 0) throw CorruptError("a negative id");
    const auto same = [&](Slot other) { return parts.ids[other] == parts.ids[slot]; };
    const Slot found = map.find(hash_of(parts.ids[slot]), same);
    if (stored && found == kNoSlot) throw CorruptError("an id is missing in the hash by id");
    if (found != (stored ? slot : kNoSlot)) throw CorruptError("an id stands twice");
    if (!stored) map.insert(static_cast<Slot>(slot), hash);
    if (parts.arrival[slot] >= 0xFFFFFF00u) throw CorruptError("an arrival number is out of range");
    next_arrival = std::max(next_arrival, parts.arrival[slot] + 1);
  });
  Bitset seen(n);
  for (Slot slot : parts.free) {
    if (slot >= n || alive.test(slot) || seen.test(slot)) throw CorruptError("the list of free rows is wrong");
    seen.set(slot);
  }
  for (std::size_t i = 0; keeps_rows_ && i < n; ++i) {
    const std::byte* row = parts.rows.data() + i * stride_;
    try {
      require_finite({row, dtype_, 1, dim_}, "vectors");
    } catch (const ValueError&) {
      throw CorruptError("vector " + std::to_string(i) + " is not finite");
    }
    if (has_norms() && !std::isfinite(parts.norms[i])) {
      throw CorruptError("the norm of vector " + std::to_string(i) + " is not finite");
    }
  }
  rows_ = std::move(parts.rows);
  norms_ = std::move(parts.norms);
  ids_ = std::move(parts.ids);
  arrival_ = std::move(parts.arrival);
  alive_ = std::move(alive);
  free_ = std::move(parts.free);
  map_ = std::move(map);
  next_arrival_ = next_arrival;
  columns_.resize(n);
  touch();
  for (std::size_t slot = 0; keeps_rows_ && slot < n; ++slot) note_length(row(static_cast<Slot>(slot)));
}

void Table::swap_places(Array<std::uint32_t>& arrivals, Array<Slot>& by_id) {
  std::swap(arrival_, arrivals);
  map_.swap_cells(by_id);
}

}  // namespace annlib
