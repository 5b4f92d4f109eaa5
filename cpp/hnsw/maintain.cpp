#include <algorithm>
#include <mutex>
#include <utility>

#include "graph/connect.h"
#include "hnsw/hnsw_index.h"

namespace annlib {

Grower::Publish HnswIndex::publisher() {
  return [this](const std::function<void()>& write) {
    std::lock_guard writing(lock_);
    write();
  };
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
  if (live * 16 > upper_built_for_ * 17) rebuild_upper(threads);
  changes_since_connect_ += changes;
  if (changes_since_connect_ * 10 > live) {
    connect(state.graph, state.nodes, state.walk(), params_.ef_construction, publisher());
    changes_since_connect_ = 0;
  }
}

void HnswIndex::retrain(int threads) {
  HnswState& state = *state_;
  auto fresh = std::make_unique<CodeSpace>(state.table, make_codec(codec_.name, params_.metric, params_.dim));
  std::vector<Slot> live;
  state.table.alive_bits().for_each([&](std::size_t slot) { live.push_back(static_cast<Slot>(slot)); });
  fresh->train(live, threads);
  if (!fresh->finite()) fresh.reset();
  std::lock_guard writing(lock_);
  state.codes.swap(fresh);
}

void HnswIndex::consolidate(int threads) {
  HnswState& state = *state_;
  Grower grower(grow_options(params_, state.walk(), threads), publisher(), {});
  const auto alive = [&](Slot slot) { return state.table.alive(slot); };
  std::vector<Slot> living, dead;
  state.nodes.for_each([&](std::size_t i) {
    const auto slot = static_cast<Slot>(i);
    (alive(slot) ? living : dead).push_back(slot);
  });
  const auto higher = [&](Slot a, Slot b) { return state.graph.level(a) > state.graph.level(b); };
  std::stable_sort(living.begin(), living.end(), higher);
  for (int l = state.graph.level(living.front()); l >= 0; --l) {
    const auto below = [&](Slot slot) { return state.graph.level(slot) < l; };
    grower.bypass(state.graph.layer(l), {living.begin(), std::find_if(living.begin(), living.end(), below)}, alive);
  }
  std::lock_guard writing(lock_);
  if (!alive(state.graph.entry())) state.graph.set_entry(living.front());
  for (Slot slot : dead) {
    if (content_known_) content_.erase(slot, content_hash());
    state.graph.clear(slot);
    state.nodes.reset(slot);
    state.table.release(slot);
  }
  state.dead = 0;
  changes_since_connect_ = state.table.live();
}

// Nodes that came piece by piece were linked into the upper layers as those stood; where the pieces were not a random
// sample, the layers above do not span the data and searches start far from where they should.
void HnswIndex::rebuild_upper(int threads) {
  HnswState& state = *state_;
  Hierarchy upper(params_.m);
  upper.resize_upper(state.graph.slots());
  std::vector<BuildItem> items;
  state.nodes.for_each([&](std::size_t i) {
    const auto slot = static_cast<Slot>(i);
    if (!state.table.alive(slot)) return;
    const std::int64_t id = state.table.id(slot);
    if (params_.level(id) > 0) items.push_back({slot, id});
  });
  upper_built_for_ = state.table.live();
  if (items.empty()) return;
  sort_for_building(params_, items);
  std::vector<Slot> nodes;
  for (const auto& [slot, id] : items) {
    upper.place(slot, params_.level(id));
    nodes.push_back(slot);
  }
  Grower grower(grow_options(params_, state.walk(), threads), [](const auto& write) { write(); }, {});
  build_layers(upper, nodes, 1, grower);
  std::lock_guard writing(lock_);
  state.graph.take_upper(std::move(upper));
}

}  // namespace annlib
