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
// Fewer vectors are looked at as fast as codes, which may know little of them yet.
constexpr std::size_t kCodedFrom = 1024;

}  // namespace

FlatIndex::FlatIndex(std::uint32_t dim, DType dtype, Metric metric, const std::string& codec)
    : Index(dim, dtype, metric), codec_asked_(codec), codec_(choose_codec(codec, dtype, dim)), state_(make_state()) {}

std::unique_ptr<FlatIndex::State> FlatIndex::make_state() const {
  auto state = std::make_unique<State>(State{Table(dim_, dtype_, metric_), nullptr});
  state->codes = make_codes(state->table);
  return state;
}

std::unique_ptr<CodeSpace> FlatIndex::make_codes(const Table& table) const {
  std::unique_ptr<Codec> codec = make_codec(codec_.name, metric_, dim_);
  return codec ? std::make_unique<CodeSpace>(table, std::move(codec)) : nullptr;
}

void FlatIndex::retrain(std::span<const Slot> fresh, int threads) {
  std::unique_ptr<CodeSpace> codes = make_codes(state_->table);
  std::vector<Slot> slots = state_->table.arrival_order();
  slots.insert(slots.end(), fresh.begin(), fresh.end());
  codes->train(slots, threads);
  std::lock_guard writing(lock_);
  state_->codes.swap(codes);
}

void FlatIndex::insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
                       const Progress& progress) {
  Table& table = state_->table;
  const std::size_t slots = table.slots();
  std::vector<Slot> fresh;
  fresh.reserve(vectors.count);
  try {
    // Rows that call for training are encoded by it.
    const bool again = state_->codes && state_->codes->wants_training(vectors.count);
    for (std::size_t first = 0; first < vectors.count; first += kRowsPerLock) {
      const std::size_t last = std::min(vectors.count, first + kRowsPerLock);
      {
        std::lock_guard writing(lock_);
        if (first == 0) table.reserve(table.slots() + vectors.count);
        for (std::size_t i = first; i < last; ++i) {
          fresh.push_back(table.append(vectors.row(i)));
          if (state_->codes) state_->codes->grow();
          if (state_->codes && !again) state_->codes->encode(fresh.back());
        }
      }
      if (progress) progress(last, vectors.count);
    }
    if (again || (state_->codes && state_->codes->wants_training())) retrain(fresh, threads);
    std::lock_guard writing(lock_);
    write_attributes(fresh, lookup);
  } catch (...) {
    std::lock_guard writing(lock_);
    table.take_back(fresh, slots);
    throw;
  }
  std::lock_guard writing(lock_);
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    const Slot old = lookup.old[i];
    const std::uint32_t arrival = old == kNoSlot ? table.next_arrival() : table.arrival(old);
    if (old != kNoSlot) {
      table.hide(old);
      table.release(old);
    }
    table.reveal(fresh[i], ids[i], arrival);
  }
}

void FlatIndex::erase(std::span<const Slot> slots, int) {
  std::lock_guard writing(lock_);
  for (Slot slot : slots) {
    state_->table.hide(slot);
    state_->table.release(slot);
  }
}

void FlatIndex::rebuild(int threads, const Progress& progress) {
  // By id, so that the bytes do not depend on the order of arrival.
  const Table& table = state_->table;
  std::vector<Slot> order = table.arrival_order();
  std::sort(order.begin(), order.end(), [&](Slot a, Slot b) { return table.id(a) < table.id(b); });
  std::unique_ptr<State> fresh = make_state();
  fresh->table.reserve(order.size());
  std::vector<Slot> slots;
  slots.reserve(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    slots.push_back(fresh->table.append(table.row(order[i])));
    fresh->table.reveal(slots.back(), table.id(order[i]), table.arrival(order[i]));
    if (progress && i % 65536 == 0) progress(i, order.size());
  }
  fresh->table.renumber_arrivals();
  ColumnsWriter writer(fresh->table.columns(), table.columns(), {});
  for (std::size_t i = 0; i < order.size(); ++i) writer.write(slots[i], order[i], kNoSlot);
  writer.commit();
  if (fresh->codes) fresh->codes->train(slots, threads);
  std::lock_guard writing(lock_);
  state_.swap(fresh);
}

std::unique_ptr<FlatIndex> FlatIndex::open(const std::shared_ptr<const storage::Container>& file) {
  const StoredParams params = read_params(*file, 0);
  const bool coded = file->find("codec.asked") != nullptr;
  std::unique_ptr<FlatIndex> index;
  try {
    index = std::make_unique<FlatIndex>(params.dim, params.dtype, params.metric,
                                        coded ? read_codec_asked(*file) : "float32");
  } catch (const ValueError& error) {
    throw CorruptError(std::string("the parameters are out of range: ") + error.what());
  }
  State& state = *index->state_;
  restore_table(file, state.table);
  if (state.codes) restore_codes(file, *state.codes);
  return index;
}

void FlatIndex::append_sections(storage::SectionList& sections) const {
  append_params({dim_, dtype_, metric_, {}}, sections);
  append_table(state_->table, sections);
  if (codec_asked_ != "float32") append_codec_asked(codec_asked_, sections);  // an exact index has no such section
  if (state_->codes) append_codes(*state_->codes, sections);
}

const CodeSpace* FlatIndex::codes_for(const SearchRequest& request) const {
  return request.exact || state_->table.live() < kCodedFrom ? nullptr : state_->codes.get();
}

void FlatIndex::search_one(const QueryView& query, const SearchRequest& request, const Bitset* passing, std::size_t,
                           Scratch& s) const {
  const Table& table = state_->table;
  const Bitset& slots = passing != nullptr ? *passing : table.alive_bits();
  if (const CodeSpace* codes = codes_for(request)) return coded_search(*codes, table, query, request.k, slots, s);
  exact_search(table, query, request.k, slots, s);
}

void FlatIndex::radius_one(const QueryView& query, float radius, const SearchRequest& request, const Bitset* passing,
                           std::size_t, Scratch& s) const {
  const Table& table = state_->table;
  const Bitset& slots = passing != nullptr ? *passing : table.alive_bits();
  if (const CodeSpace* codes = codes_for(request)) return coded_radius(*codes, table, query, radius, slots, s);
  exact_radius(table, query, radius, slots, s);
}

}  // namespace annlib
