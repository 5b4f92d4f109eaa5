#include <algorithm>
#include <mutex>
#include <utility>

#include "core/random.h"
#include "graph/connect.h"
#include "hnsw/hnsw_index.h"

namespace annlib {
namespace {

// Nodes that are looked for after each change; docs/performance.md has what fewer do.
constexpr std::size_t kProbesAChange = 4;

}  // namespace

Grower::Publish HnswIndex::publisher() {
  return [this](const std::function<void()>& write) {
    std::lock_guard writing(lock_);
    write();
  };
}

std::vector<Slot> HnswIndex::living_nodes() const {
  std::vector<Slot> living;
  state_->nodes.for_each([&](std::size_t slot) {
    if (state_->table.alive(static_cast<Slot>(slot))) living.push_back(static_cast<Slot>(slot));
  });
  return living;
}

// Keeps the graph as good as a fresh one, at a cost that is a constant factor of the changes that made it necessary.
void HnswIndex::maintain(std::size_t changes, int threads) {
  HnswState& state = *state_;
  const std::size_t live = state.table.live();
  if (state.dead >= std::max<std::size_t>(live, 1)) {
    rebuild(threads, {});
    return;
  }
  if (state.dead * 5 > live) consolidate(threads);
  changes_since_mended_ += changes;
  const bool due = changes_since_mended_ * 10 > live;
  if (due && state.codes && !state.codes->distinct(living_nodes())) {
    rebuild(threads, {});  // without codes, or with some that are learnt from what there is now
    return;
  }
  if (due) rebuild_upper(threads);
  probe_sample(changes, threads);
  if (due) {
    connect(state.graph, state.nodes, state.links(), params_.ef_construction, publisher());
    changes_since_mended_ = 0;
  }
  refresh_codes(threads);
  mend_filter_indexes(threads);
  mend_filter_lists(changes, threads);
}

// Lists that changed are walked by distances until their codes fit again.
void HnswIndex::refresh_codes(int threads) {
  HnswState& state = *state_;
  if (!state.neighbour_codes) return;
  std::vector<Slot> changed = state.graph.take_changed();
  std::erase_if(changed, [&](Slot slot) { return slot >= state.nodes.size() || !state.nodes.test(slot); });
  state.encode_neighbours(changed, threads, publisher());
}

void HnswIndex::retrain(std::span<const Slot> fresh, int threads) {
  HnswState& state = *state_;
  // What comes first is what is learnt from most surely, and the fresh rows are what the codec knows too little of.
  std::vector<Slot> slots(fresh.begin(), fresh.end());
  state.table.alive_bits().for_each([&](std::size_t slot) { slots.push_back(static_cast<Slot>(slot)); });
  std::unique_ptr<CodeSpace> codes = state.retrained(slots, threads);
  if (state.codes_alone) content_known_ = false;  // it goes by them
  std::lock_guard writing(lock_);
  state.codes.swap(codes);
}

void HnswIndex::consolidate(int threads) {
  HnswState& state = *state_;
  Grower grower(grow_options(params_, state.links(), threads), publisher(), {});
  const auto alive = [&](Slot slot) { return state.table.alive(slot); };
  std::vector<Slot> living = living_nodes();
  const auto higher = [&](Slot a, Slot b) { return state.graph.level(a) > state.graph.level(b); };
  std::stable_sort(living.begin(), living.end(), higher);
  for (int l = state.graph.level(living.front()); l >= 0; --l) {
    const auto below = [&](Slot slot) { return state.graph.level(slot) < l; };
    grower.bypass(state.graph.layer(l), {living.begin(), std::find_if(living.begin(), living.end(), below)}, alive);
  }
  std::lock_guard writing(lock_);
  if (!alive(state.graph.entry())) state.graph.set_entry(living.front());
  state.nodes.for_each([&](std::size_t i) {
    const auto slot = static_cast<Slot>(i);
    if (alive(slot)) return;
    if (content_known_) content_.erase(slot, content_hash());
    state.graph.clear(slot);
    state.nodes.reset(slot);
    state.table.release(slot);
  });
  state.dead = 0;
  changes_since_mended_ = state.table.live();
}

// Nodes that came piece by piece were linked into the upper layers as those stood; where the pieces were not a random
// sample, the layers above do not span the data and searches start far from where they should.
void HnswIndex::rebuild_upper(int threads) {
  HnswState& state = *state_;
  Hierarchy upper(params_.m);
  upper.resize_upper(state.graph.slots());
  std::vector<BuildItem> items;
  for (Slot slot : living_nodes()) {
    const std::int64_t id = state.table.id(slot);
    if (params_.level(id) > 0) items.push_back({slot, id});
  }
  if (items.empty()) return;
  sort_for_building(params_, items);
  std::vector<Slot> nodes;
  for (const auto& [slot, id] : items) {
    upper.place(slot, params_.level(id));
    nodes.push_back(slot);
  }
  Grower grower(grow_options(params_, state.links(), threads), [](const auto& write) { write(); }, {});
  build_layers(upper, nodes, 1, grower);
  {
    std::lock_guard writing(lock_);
    state.graph.take_upper(std::move(upper));
  }
  Grower(grow_options(params_, state.links(), threads), publisher(), {})
      .adopt(state.graph.layer(1), state.graph.layer(0), nodes);
}

// What is inserted can hide from the walk what was there before: it takes the places of links and leads nowhere else.
// That happens to whole clusters at once, so a small sample, drawn again after every change, comes upon them.
void HnswIndex::probe_sample(std::size_t changes, int threads) {
  const HnswState& state = *state_;
  const auto slots = static_cast<std::uint32_t>(state.table.slots());
  std::vector<Slot> sample;
  for (std::size_t i = std::min(changes * kProbesAChange, state.table.live()); i > 0; --i) {
    const Slot slot = to_below(random64(params_.seed, 3, probes_++), slots);
    if (state.nodes.test(slot) && state.table.alive(slot)) sample.push_back(slot);
  }
  if (sample.empty()) return;
  Grower(grow_options(params_, state.links(), threads), publisher(), {}).ensure_found(state.graph, sample);
}

}  // namespace annlib
