#include "flat/flat_index.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "index/sections.h"

namespace annlib {
namespace {

// Rows copied while readers wait.
constexpr std::size_t kRowsPerLock = 1024;

}  // namespace

void FlatIndex::insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int,
                       const Progress& progress) {
  const std::size_t slots = table_.slots();
  std::vector<Slot> fresh;
  fresh.reserve(vectors.count);
  try {
    for (std::size_t first = 0; first < vectors.count; first += kRowsPerLock) {
      const std::size_t last = std::min(vectors.count, first + kRowsPerLock);
      {
        std::lock_guard writing(lock_);
        if (first == 0) table_.reserve(table_.slots() + vectors.count);
        for (std::size_t i = first; i < last; ++i) fresh.push_back(table_.append(vectors.row(i)));
      }
      if (progress) progress(last, vectors.count);
    }
  } catch (...) {
    std::lock_guard writing(lock_);
    table_.take_back(fresh, slots);
    throw;
  }
  std::lock_guard writing(lock_);
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    const Slot old = lookup.old[i];
    const std::uint32_t arrival = old == kNoSlot ? table_.next_arrival() : table_.arrival(old);
    if (old != kNoSlot) {
      table_.hide(old);
      table_.release(old);
    }
    table_.reveal(fresh[i], ids[i], arrival);
  }
}

void FlatIndex::erase(std::span<const Slot> slots, int) {
  std::lock_guard writing(lock_);
  for (Slot slot : slots) {
    table_.hide(slot);
    table_.release(slot);
  }
}

void FlatIndex::rebuild(int, const Progress& progress) {
  // By id, so that the bytes do not depend on the order of arrival.
  std::vector<Slot> order = table_.arrival_order();
  std::sort(order.begin(), order.end(), [&](Slot a, Slot b) { return table_.id(a) < table_.id(b); });
  Table fresh(dim_, dtype_, metric_);
  fresh.reserve(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    fresh.reveal(fresh.append(table_.row(order[i])), table_.id(order[i]), table_.arrival(order[i]));
    if (progress && i % 65536 == 0) progress(i, order.size());
  }
  fresh.renumber_arrivals();
  std::lock_guard writing(lock_);
  std::swap(table_, fresh);
}

std::unique_ptr<FlatIndex> FlatIndex::open(const std::shared_ptr<const storage::Container>& file) {
  const StoredParams params = read_params(*file, 0);
  std::unique_ptr<FlatIndex> index;
  try {
    index = std::make_unique<FlatIndex>(params.dim, params.dtype, params.metric);
  } catch (const ValueError& error) {
    throw CorruptError(std::string("the parameters are out of range: ") + error.what());
  }
  restore_table(file, index->table_);
  return index;
}

void FlatIndex::append_sections(storage::SectionList& sections) const {
  append_params({dim_, dtype_, metric_, {}}, sections);
  append_table(table_, sections);
}

void FlatIndex::search_one(const QueryView& query, const SearchRequest& request, const Bitset* passing, std::size_t,
                           Scratch& s) const {
  exact_search(table_, query, request.k, passing != nullptr ? *passing : table_.alive_bits(), s);
}

void FlatIndex::radius_one(const QueryView& query, float radius, const SearchRequest&, const Bitset* passing,
                           std::size_t, Scratch& s) const {
  exact_radius(table_, query, radius, passing != nullptr ? *passing : table_.alive_bits(), s);
}

}  // namespace annlib
