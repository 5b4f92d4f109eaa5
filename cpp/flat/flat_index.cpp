#include "flat/flat_index.h"

#include <algorithm>
#include <mutex>
#include <utility>
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

FlatIndex::FlatIndex(std::uint32_t dim, DType dtype, Metric metric, const std::string& codec, bool keep_vectors)
    : Index(dim, dtype, metric, keep_vectors),
      codec_asked_(codec),
      codec_(choose_codec(codec, dtype, dim, keep_vectors)),
      state_(make_state()) {}

std::unique_ptr<FlatIndex::State> FlatIndex::make_state() const {
  auto state = std::make_unique<State>(dim_, dtype_, metric_);
  state->codes = make_codes(state->table, false);
  return state;
}

std::unique_ptr<CodeSpace> FlatIndex::make_codes(const Table& table, bool alone) const {
  std::unique_ptr<Codec> codec = make_codec(codec_.name, metric_, dim_);
  return codec ? std::make_unique<CodeSpace>(table, std::move(codec), alone) : nullptr;
}

// The fresh rows, of which the codec knows too little, come first: what comes first is what is learnt from most surely.
// They come by id, so that what is learnt from one call does not depend on the order in it.
void FlatIndex::retrain(std::span<const Slot> fresh, std::span<const std::int64_t> ids, bool drop, int threads) {
  Table& table = state_->table;
  std::vector<std::pair<std::int64_t, Slot>> items;
  for (std::size_t i = 0; i < fresh.size(); ++i) items.emplace_back(ids[i], fresh[i]);
  std::sort(items.begin(), items.end());
  std::vector<Slot> slots;
  for (const auto& [id, slot] : items) slots.push_back(slot);
  const std::vector<Slot> live = table.arrival_order();
  slots.insert(slots.end(), live.begin(), live.end());
  std::unique_ptr<CodeSpace> codes = make_codes(table, drop || !table.keeps_rows());
  codes->train(truth(), slots, threads);
  std::lock_guard writing(lock_);
  state_->codes.swap(codes);
  if (drop) table.drop_rows();
}

void FlatIndex::insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
                       const Progress& progress) {
  Table& table = state_->table;
  const std::size_t slots = table.slots();
  std::vector<Slot> fresh;
  fresh.reserve(vectors.count);
  try {
    const bool drop = !keep_vectors_ && table.keeps_rows() && table.live() + vectors.count >= kLearntRows;
    // Rows that call for training are encoded by it.
    const bool again = drop || (state_->codes && state_->codes->wants_training(vectors.count));
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
    if (again || (state_->codes && state_->codes->wants_training())) retrain(fresh, ids, drop, threads);
    std::lock_guard writing(lock_);
    write_attributes(fresh, lookup);
  } catch (...) {
    std::lock_guard writing(lock_);
    table.take_back(fresh, slots);
    if (state_->codes) state_->codes->grow();
    throw;
  }
  std::lock_guard writing(lock_);
  table.forget_vectors();
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
  const bool alone = !keep_vectors_ && !order.empty(), gone = alone && !table.keeps_rows();
  std::unique_ptr<State> fresh = make_state();
  if (gone) fresh->table.drop_rows();
  fresh->table.reserve(order.size());
  std::vector<Slot> slots;
  slots.reserve(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    slots.push_back(fresh->table.append(table.vector(order[i])));
    fresh->table.reveal(slots.back(), table.id(order[i]), table.arrival(order[i]));
    if (progress && i % 65536 == 0) progress(i, order.size());
  }
  fresh->table.renumber_arrivals();
  ColumnsWriter writer(fresh->table.columns(), table.columns(), {});
  for (std::size_t i = 0; i < order.size(); ++i) writer.write(slots[i], order[i], kNoSlot);
  writer.commit();
  fresh->codes = make_codes(fresh->table, alone);
  if (gone) {
    fresh->codes->learn_from(*codes());
    fresh->codes->grow();
    for (std::size_t i = 0; i < order.size(); ++i) fresh->codes->set_code(slots[i], codes()->code(order[i]));
  } else if (fresh->codes) {
    fresh->codes->train(fresh->stored, slots, threads);
  }
  if (alone) fresh->table.drop_rows();
  std::lock_guard writing(lock_);
  state_.swap(fresh);
}

std::unique_ptr<FlatIndex> FlatIndex::open(const std::shared_ptr<const storage::Container>& file) {
  const StoredParams params = read_params(*file, 0);
  const bool coded = file->find("codec.asked") != nullptr;
  std::unique_ptr<FlatIndex> index;
  try {
    index = std::make_unique<FlatIndex>(params.dim, params.dtype, params.metric,
                                        coded ? read_codec_asked(*file) : "float32", read_keep_vectors(*file));
  } catch (const ValueError& error) {
    throw CorruptError(std::string("the parameters are out of range: ") + error.what());
  }
  State& state = *index->state_;
  if (!index->keep_vectors_ && !has_vectors(*file)) {
    state.table.drop_rows();
    state.codes = index->make_codes(state.table, true);
  }
  restore_table(file, state.table);
  if (state.codes) restore_codes(file, *state.codes);
  return index;
}

void FlatIndex::append_sections(storage::SectionList& sections) const {
  append_params({dim_, dtype_, metric_, {}}, sections);
  append_keep_vectors(keep_vectors_, sections);
  append_table(state_->table, sections);
  if (codec_asked_ != "float32") append_codec_asked(codec_asked_, sections);  // an exact index has no such section
  if (state_->codes) append_codes(*state_->codes, sections);
}

ScanSpaces FlatIndex::scan_spaces(const SearchRequest& request, const SlotSet*) const {
  const Table& table = state_->table;
  const bool coded = table.keeps_rows() && request.plan != Plan::exact && table.live() >= kCodedFrom;
  return {coded ? codes() : nullptr, &truth()};
}

bool FlatIndex::search_one(const QueryView&, const SearchRequest& request, const Passing&, std::size_t, Scratch&,
                           PlanReport&) const {
  if (request.plan != Plan::automatic && request.plan != Plan::exact && request.plan != Plan::scan) {
    throw ValueError("plan '" + name_of(request.plan) +
                     "': a flat index has no graph; its plans are auto, exact, scan");
  }
  return false;
}

void FlatIndex::radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                           std::size_t, Scratch& s) const {
  scan_radius(scan_spaces(request, passing), query, radius, passing, state_->table.alive_bits(), s);
}

}  // namespace annlib
