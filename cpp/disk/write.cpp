#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "disk/disk_index.h"
#include "index/sections.h"
#include "spann/centroids.h"
#include "table/vectors.h"

namespace annlib::disk {

using storage::Container;
using storage::ElementType;
using storage::SectionList;

namespace {

// Rows that join their lists while readers wait: a fraction of a millisecond.
constexpr std::size_t kRowsPerLock = 64, kGrain = 32;
// Writers wait for a merge when so many times as much has come as makes one due.
constexpr std::size_t kMostFresh = 4;
// Arrival numbers are dealt out anew before they run out.
constexpr std::uint32_t kLastArrival = 0xFFFFFF00u;

}  // namespace

void FreshRows::append(const std::byte* vector) {
  const std::size_t i = skipped_ + count_;
  if (i / kBlock == blocks_.size()) blocks_.push_back(std::make_unique<std::byte[]>(kBlock * vector_bytes_));
  std::byte* row = blocks_[i / kBlock].get() + i % kBlock * vector_bytes_;
  if (vector != nullptr) {
    std::memcpy(row, vector, vector_bytes_);
  } else {
    std::memset(row, 0, vector_bytes_);
  }
  ++count_;
}

void FreshRows::drop_first(std::size_t n) {
  first_ += static_cast<Slot>(n);
  count_ -= n;
  skipped_ += n;
  for (; skipped_ >= kBlock; skipped_ -= kBlock) blocks_.pop_front();
  release_if_empty();
}

void FreshRows::drop_last(std::size_t n) {
  count_ -= n;
  release_if_empty();
}

void FreshRows::release_if_empty() {
  if (count_ > 0) return;
  blocks_.clear();
  skipped_ = 0;
}

void DiskIndex::before_write() {
  require_open();
  if (options_.read_only && !replaying_) {
    throw OsError(EROFS, directory_, "the index in '" + directory_ + "' was opened for reading only");
  }
  const auto full = [&] {
    std::shared_lock reading(lock_);
    return fresh_.bytes() >= kMostFresh * options_.fresh_bytes;
  };
  if (!replaying_ && full()) merge(0);
}

std::vector<std::uint32_t> DiskIndex::homes_for(const State& state, std::span<const std::byte* const> rows,
                                                int threads) const {
  const std::uint32_t replicas = state.replicas;
  std::vector<std::uint32_t> homes(rows.size() * replicas, kNoList);
  if (state.centroids.count() == 0) return homes;
  parallel_for(rows.size(), kGrain, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(dim_);
    std::vector<NearCentroid> near;
    for (std::size_t i = begin; i < end; ++i) {
      state.fresh.codes().load(rows[i], dtype_, row.data());
      state.centroids.search_squared(state.fresh, row.data(), kChosenAmong, s, near);
      choose_homes(near, state.fresh.centroids(), dim_, {homes.data() + i * replicas, replicas});
    }
  });
  return homes;
}

// By their homes, in memory.
void DiskIndex::put_in_lists(State& state, std::span<const Slot> slots, std::span<const std::byte* const> rows) const {
  std::vector<PostingLists::Entry> entries;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    for (std::uint32_t home : state.homes_of(slots[i])) {
      if (home != kNoList) entries.push_back({home, i});
    }
  }
  const auto load = [&](std::size_t i, float* out) { state.fresh.codes().load(rows[i], dtype_, out); };
  state.fresh.append_each(slots, std::move(entries), load);
}

void DiskIndex::write_log(std::string_view kind, SectionList& sections) {
  require_open();
  std::vector<storage::SectionView> all = sections.views();
  all.insert(all.end(), noted_.views().begin(), noted_.views().end());
  if (!replaying_) {
    log_->append(kind, all);
    log_bytes_ = log_->bytes();
    ++changes_;
  }
  noted_ = {};
}

void DiskIndex::insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
                       const Progress& progress) {
  require_open();
  if (vectors.dtype != dtype_) throw ValueError("vectors have another dtype than those of the index");
  if (table_.next_arrival() > kLastArrival - static_cast<std::uint32_t>(ids.size())) {
    std::lock_guard writing(lock_);
    table_.renumber_arrivals();
  }
  const std::size_t slots = table_.slots(), replicas = state_->replicas;
  std::vector<Slot> fresh;
  std::vector<const std::byte*> rows;
  const float before = longest_;
  float longest = before;
  for (std::size_t i = 0; i < vectors.count; ++i) {
    rows.push_back(vectors.row(i));
    longest = std::max(longest, length_of(rows.back(), dtype_, metric_, dim_));
  }
  if (progress) progress(0, vectors.count);
  const std::vector<std::uint32_t> homes = homes_for(*state_, rows, threads);
  std::vector<std::string> names;  // of attributes that there are already
  for (const auto& [name, column] : table_.columns().all()) names.push_back(name);
  std::size_t listed = 0;
  try {
    for (std::size_t first = 0; first < vectors.count; first += kRowsPerLock) {
      const std::size_t last = std::min(vectors.count, first + kRowsPerLock);
      std::lock_guard writing(lock_);
      if (first == 0) {
        table_.reserve(slots + vectors.count);
        longest_ = longest;
      }
      for (std::size_t i = first; i < last; ++i) {
        fresh.push_back(table_.append(nullptr));
        fresh_.append(rows[i]);
      }
      state_->homes.resize(table_.slots() * replicas);
      std::copy(homes.begin() + static_cast<std::ptrdiff_t>(first * replicas),
                homes.begin() + static_cast<std::ptrdiff_t>(last * replicas),
                state_->homes.data() + std::size_t{fresh[first]} * replicas);
      put_in_lists(*state_, std::span(fresh).subspan(first), std::span(rows).subspan(first, last - first));
      listed = fresh.size();
    }
    {
      std::lock_guard writing(lock_);
      write_attributes(fresh, lookup);
    }
    SectionList sections;
    sections.add("ids", ElementType::i64, {ids.size()}, std::as_bytes(ids));
    sections.add("vectors", ElementType::u8, {vectors.count, vectors.row_bytes()},
                 {static_cast<const std::byte*>(vectors.data), vectors.count * vectors.row_bytes()});
    append_columns(*lookup.attributes, sections);
    write_log("add", sections);
  } catch (...) {
    std::lock_guard writing(lock_);
    for (std::size_t i = 0; i < listed; ++i) {
      for (std::uint32_t home : state_->homes_of(fresh[i])) {
        if (home != kNoList) state_->fresh.remove(home, fresh[i]);
      }
    }
    for (const auto& [name, column] : lookup.attributes->all()) {
      if (std::find(names.begin(), names.end(), name) == names.end()) table_.columns().drop(name);
    }
    longest_ = before;
    table_.take_back(fresh, slots);
    fresh_.drop_last(fresh.size());
    state_->homes.resize(slots * replicas);
    throw;
  }
  {
    std::lock_guard writing(lock_);
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      const Slot old = lookup.old[i];
      const std::uint32_t arrival = old == kNoSlot ? table_.next_arrival() : table_.arrival(old);
      if (old != kNoSlot) table_.hide(old);  // what lists still hold of it goes with the next merge
      table_.reveal(fresh[i], ids[i], arrival);
    }
  }
  if (progress) progress(vectors.count, vectors.count);
  std::lock_guard guard(work_mutex_);
  work_.notify_all();
}

void DiskIndex::log_ids(std::string_view kind, std::span<const Slot> slots, const Columns* attributes) {
  std::vector<std::int64_t> ids;
  for (Slot slot : slots) ids.push_back(table_.id(slot));
  SectionList sections;
  sections.add_copy("ids", ElementType::i64, ids);
  if (attributes != nullptr) append_columns(*attributes, sections);
  write_log(kind, sections);
}

void DiskIndex::erase(std::span<const Slot> slots, int) {
  log_ids("delete", slots, nullptr);
  std::lock_guard writing(lock_);
  for (Slot slot : slots) table_.hide(slot);
}

void DiskIndex::will_set_attributes(std::span<const Slot> slots, const Columns& attributes, bool keep) {
  log_ids(keep ? "set" : "replace", slots, &attributes);
}

void DiskIndex::will_drop_attributes(const std::vector<std::string>& names) {
  std::vector<char> text;
  for (const std::string& name : names) {
    text.insert(text.end(), name.begin(), name.end());
    text.push_back('\0');
  }
  SectionList sections;
  sections.add_copy("names", ElementType::u8, text);
  write_log("drop", sections);
}

// A change that the log holds, made anew.
void DiskIndex::apply(const std::string& kind, const std::shared_ptr<const Container>& record) {
  if (kind == "drop") {
    const auto text = storage::read_vector<char>(*record, "names", ElementType::u8);
    std::vector<std::string> names;
    for (auto begin = text.begin(); begin != text.end();) {
      const auto end = std::find(begin, text.end(), '\0');
      names.emplace_back(begin, end);
      begin = end == text.end() ? end : end + 1;
    }
    return drop_attributes(names);
  }
  const auto ids = storage::read_vector<std::int64_t>(*record, "ids", ElementType::i64);
  if (kind == "delete") return remove(ids, 0);
  Columns columns;
  columns.resize(ids.size());
  restore_columns(record, columns);
  if (kind == "set") return set_attributes(ids, columns);
  if (kind == "replace") {
    if (ids != this->ids()) throw CorruptError("a change of attributes is of other items than there are");
    return replace_attributes(columns);
  }
  if (kind != "add") throw CorruptError("a change of unknown kind '" + kind + "'");
  const storage::SectionInfo& section = record->require("vectors", ElementType::u8, 2);
  if (section.shape[0] != ids.size() || section.shape[1] != row_bytes()) {
    throw CorruptError("vectors of a change have a wrong shape");
  }
  const std::span<std::byte> rows = record->view(section);
  add({rows.data(), dtype_, ids.size(), dim_}, ids, OnConflict::update, 0, {}, columns);
}

bool DiskIndex::wait_for_work(double seconds) {
  const auto due = [&] {
    if (closed_) return true;
    std::shared_lock reading(lock_);
    return fresh_.bytes() >= options_.fresh_bytes;
  };
  std::unique_lock guard(work_mutex_);
  work_.wait_for(guard, std::chrono::duration<double>(seconds), due);
  return !closed_ && due();
}

void DiskIndex::close() {
  if (closed_.exchange(true)) return;
  {
    std::lock_guard guard(work_mutex_);
    work_.notify_all();
  }
  // Whoever is inside comes to an end first.
  std::lock_guard merge(merging_);
  std::lock_guard writer(writer_);
  std::lock_guard writing(lock_);
  log_.reset();
  state_->lists_file.reset();
  state_->vectors_file.reset();
  state_->resident.reset();
  cache_.reset();
  directory_lock_.reset();
}

std::size_t DiskIndex::other_memory_bytes() const {
  const std::size_t cached = cache_ != nullptr ? cache_->counts().bytes : 0;
  return state_->memory_bytes() + fresh_.bytes() + cached;
}

DiskIndex::Counts DiskIndex::counts() const {
  std::shared_lock reading(lock_);
  require_open();
  const State& state = *state_;
  Counts counts;
  std::vector<std::size_t> sizes;
  for (std::uint32_t l = 0; l < state.fresh.count(); ++l) {
    if (!state.is_given_up(l)) sizes.push_back(state.places[l].size + state.fresh.size(l));
  }
  std::sort(sizes.begin(), sizes.end());
  counts.lists = sizes.size();
  counts.postings = std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
  if (!sizes.empty()) {
    counts.shortest = sizes.front();
    counts.longest = sizes.back();
    counts.median = static_cast<double>(sizes[sizes.size() / 2]);
  }
  counts.fresh = fresh_.count();
  counts.stale = table_.slots() - table_.live();
  counts.centroid_bytes = state.fresh.centroids().bytes().size() + state.centroids.memory_bytes();
  counts.item_bytes = table_.memory_bytes() + state.homes.memory_bytes() + state.sums.bytes().size();
  counts.mapped_bytes = table_.mapped_bytes() + state.homes.mapped_bytes();
  counts.fresh_bytes = fresh_.bytes();
  if (cache_ != nullptr) {
    const io::BlockCache::Counts cached = cache_->counts();
    counts.resident_bytes = state.resident != nullptr ? state.resident->bytes() : 0;
    counts.cache_bytes = cached.bytes + counts.resident_bytes;
    counts.cache_capacity = options_.cache_bytes;
    counts.cache_hits = cached.hits;
    counts.cache_misses = cached.misses;
  }
  for (const auto& file : {state.lists_file, state.vectors_file}) {
    counts.reads += file->reader().counters().reads;
    counts.bytes_read += file->reader().counters().bytes;
  }
  counts.list_file_bytes = state.lists_end;
  counts.vector_file_bytes = state.vector_form.offset(state.sums.size());
  counts.log_bytes = log_bytes_;
  counts.engine = io::engine_name(state.lists_file->reader().engine());
  counts.stored_dtype = state.vector_form.stored();
  counts.direct = state.lists_file->reader().file().direct();
  return counts;
}

}  // namespace annlib::disk
