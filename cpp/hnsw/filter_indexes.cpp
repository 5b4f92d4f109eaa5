#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>

#include "core/error.h"
#include "hnsw/hnsw_index.h"

namespace annlib {
namespace {

// One that so small a part of the items changed under is built anew: until then what changed is scanned.
constexpr std::size_t kMendShare = 8;

}  // namespace

void HnswIndex::create_filter_index(const std::string& column, const FilterIndexParams& what, int threads) {
  std::lock_guard writer(writer_);
  const Column& values = state_->table.columns().require(column, "");
  require_indexable(column, values.type(), what.kind);
  std::unique_ptr<FilterIndex> made = build_filter_index(params_, *state_, values, what, threads);
  std::lock_guard writing(lock_);
  state_->filter_indexes[column] = std::move(made);
}

void HnswIndex::drop_filter_index(const std::string& column) {
  std::lock_guard writer(writer_);
  const auto at = state_->filter_indexes.find(column);
  if (at == state_->filter_indexes.end()) {
    throw ValueError("no filter index '" + column + "'; there are: " + names_of(state_->filter_indexes));
  }
  std::lock_guard writing(lock_);
  state_->filter_indexes.erase(at);
}

std::map<std::string, HnswIndex::FilterIndexStats> HnswIndex::filter_indexes() const {
  std::shared_lock reading(lock_);
  std::map<std::string, FilterIndexStats> stats;
  for (const auto& [name, index] : state_->filter_indexes) {
    stats[name] = {index->params, index->groups.size(), index->members.size(), index->memory_bytes(), index->changes};
  }
  return stats;
}

// Under lock_. The item in a slot is new, or has other values.
void HnswIndex::note_change(FilterIndex& index, Slot slot) {
  index.changed.resize(state_->table.slots());
  index.changed.set(slot);
  index.changed.set(state_->twins.node_of(slot));
  ++index.changes;
}

void HnswIndex::note_attributes(std::span<const Slot> slots, const Columns& columns) {
  for (auto& [name, index] : state_->filter_indexes) {
    if (columns.find(name) == nullptr) continue;
    // All values anew, of another type perhaps: nothing that is known of the old ones holds.
    if (slots.size() == state_->table.live()) index->groups.clear();
    for (const Slot slot : slots) note_change(*index, slot);
  }
}

void HnswIndex::forget_attribute(const std::string& name) {
  state_->filter_indexes.erase(name);
  if (state_->table.columns().empty()) state_->filter_lists.reset();
}

void HnswIndex::follow_attributes() {
  mend_filter_indexes(0);
  mend_filter_lists(0, 0);
}

void HnswIndex::mend_filter_indexes(int threads) {
  std::vector<std::string> due;
  for (const auto& [name, index] : state_->filter_indexes) {
    if (index->changes * kMendShare > state_->table.live()) due.push_back(name);
  }
  for (const std::string& name : due) {
    std::unique_ptr<FilterIndex> made = renewed(name, *state_, threads);
    std::lock_guard writing(lock_);
    if (made != nullptr) {
      state_->filter_indexes[name] = std::move(made);
    } else {
      state_->filter_indexes.erase(name);
    }
  }
}

// The filter index of this name for what `state` holds; nullptr where its column is none any more that it can be on.
std::unique_ptr<FilterIndex> HnswIndex::renewed(const std::string& name, const HnswState& state, int threads) const {
  const FilterIndexParams& what = state_->filter_indexes.find(name)->second->params;
  const Column* column = state.table.columns().find(name);
  if (column == nullptr) return nullptr;
  try {
    require_indexable(name, column->type(), what.kind);
  } catch (const ValueError&) {
    return nullptr;
  }
  return build_filter_index(params_, state, *column, what, threads);
}

}  // namespace annlib
