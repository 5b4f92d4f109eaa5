#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

#include "core/error.h"
#include "graph/connect.h"
#include "hnsw/hnsw_index.h"

namespace annlib {
namespace {

// Rows copied while readers wait.
constexpr std::size_t kRowsPerLock = 1024;
// Arrival numbers are dealt out anew before they run out.
constexpr std::uint32_t kLastArrival = 0xFFFFFF00u;

}  // namespace

HnswIndex::HnswIndex(const HnswParams& params, MakeFilterLists make_lists)
    : Index(params.dim, params.dtype, params.metric, params.keep_vectors), params_(params), make_lists_(make_lists) {
  if (params.m < 2 || params.m > HnswParams::kMaxM) {
    throw ValueError("M must be between 2 and " + std::to_string(HnswParams::kMaxM) + ", got " +
                     std::to_string(params.m));
  }
  if (params.ef_construction < 1 || params.ef_construction > HnswParams::kMaxEf) {
    throw ValueError("ef_construction must be between 1 and " + std::to_string(HnswParams::kMaxEf) + ", got " +
                     std::to_string(params.ef_construction));
  }
  state_ = std::make_unique<HnswState>(params_, params_.dtype, params_.layout == Layout::fused, false);
}

void HnswIndex::replace_state(std::unique_ptr<HnswState> fresh) {
  {
    std::lock_guard writing(lock_);
    state_.swap(fresh);
  }
  content_ = SlotHash();
  content_bytes_ = 0;
  content_known_ = false;
  changes_since_mended_ = changes_since_listed_ = 0;
}

void HnswIndex::rebuild(int threads, const Progress& progress) { rebuild_with({}, {}, {}, threads, progress); }

// Everything that lives and is not replaced, and the new items, built as one.
void HnswIndex::rebuild_with(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup,
                             int threads, const Progress& progress) {
  RowSource source;
  gather(vectors, ids, lookup, source);
  const bool coded = !state_->table.keeps_rows() && !source.kept.empty();
  if (coded) source.codes = codes();
  source.code = [&](std::size_t i) { return codes()->code(source.kept[i]); };
  source.codes_alone = coded || (!keep_vectors_ && (ids.empty() || source.count >= kLearntRows));
  std::unique_ptr<HnswState> fresh = build_state(params_, source, threads, progress);
  for (const auto& [name, index] : state_->filter_indexes) {
    if (auto made = renewed(name, *fresh, threads)) fresh->filter_indexes[name] = std::move(made);
  }
  replace_state(std::move(fresh));
  mend_filter_lists(0, threads);
}

void HnswIndex::insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
                       const Progress& progress) {
  const std::size_t replaced =
      ids.size() - static_cast<std::size_t>(std::count(lookup.old.begin(), lookup.old.end(), kNoSlot));
  if (state_->table.next_arrival() > kLastArrival - static_cast<std::uint32_t>(ids.size())) {
    std::lock_guard writing(lock_);
    state_->table.renumber_arrivals();
  }
  const std::size_t stay = state_->table.live() - replaced;
  if (ids.size() >= stay || (state_->table.keeps_rows() && !keep_vectors_ && stay + ids.size() >= kLearntRows)) {
    rebuild_with(vectors, ids, lookup, threads, progress);
    return;
  }
  if (!holds_all(vectors)) widen_rows(threads);
  follow_lengths(vectors);
  const Before before{state_->table.slots(), state_->graph.upper().size(), state_->graph.entry()};
  const std::vector<Slot> fresh = append_rows(vectors);
  std::vector<Slot> leaders;
  std::vector<std::uint32_t> homes;
  Journal journal;
  try {
    if (state_->codes && state_->codes->wants_training()) retrain(fresh, threads);
    match_twins(fresh, leaders);
    std::vector<BuildItem> nodes;
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      if (leaders[i] == kNoSlot) nodes.push_back({fresh[i], ids[i]});
    }
    link(std::move(nodes), threads, progress, journal);
    if (state_->filter_lists) homes = state_->filter_lists->homes_for(fresh, threads);
    std::lock_guard writing(lock_);
    write_attributes(fresh, lookup);
  } catch (...) {
    {
      std::lock_guard writing(lock_);
      unlink(fresh, before, journal);
      drop_rows(fresh, before.slots);
    }
    content_known_ = false;
    refresh_codes(threads);
    throw;
  }
  {
    std::lock_guard writing(lock_);
    HnswState& state = *state_;
    state.table.forget_vectors();
    std::vector<std::uint32_t> arrivals(ids.size());
    std::uint32_t next = state.table.next_arrival();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      arrivals[i] = lookup.old[i] == kNoSlot ? next++ : state.table.arrival(lookup.old[i]);
    }
    // By id, not by slot: dropping one item may have moved another.
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (lookup.old[i] != kNoSlot) drop_item(state.table.find(ids[i]));
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (leaders[i] != kNoSlot) continue;
      state.table.reveal(fresh[i], ids[i], arrivals[i]);
      --state.dead;
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (leaders[i] == kNoSlot) continue;
      if (state.table.alive(leaders[i])) {
        state.table.reveal(fresh[i], ids[i], arrivals[i]);
        state.twins.add(leaders[i], fresh[i]);
      } else {  // a dead node with this very vector comes back to life
        state.table.columns().copy(fresh[i], leaders[i]);
        state.table.reveal(leaders[i], ids[i], arrivals[i]);
        state.table.release(fresh[i]);
        --state.dead;
      }
    }
    for (auto& [name, index] : state.filter_indexes) {
      for (const std::int64_t id : ids) note_change(*index, state.table.find(id));
    }
    enlist(ids, homes);
  }
  maintain(ids.size(), threads);
}

bool HnswIndex::holds_all(const VectorBlock& vectors) const {
  std::size_t i = 0;
  while (i < vectors.count && holds(state_->table.dtype(), {vectors.row(i), vectors.dtype}, dim_)) ++i;
  return i == vectors.count;
}

// From now on rows are of the index's own type. The graph stays, and gets the codes that are made of such rows.
void HnswIndex::widen_rows(int threads) {
  HnswState& state = *state_;
  Array<std::byte> rows = state.table.rows_as(dtype_);
  {
    std::lock_guard writing(lock_);
    state.table.take_rows(std::move(rows), dtype_);
  }
  content_known_ = false;  // it goes by the rows' bytes
  std::unique_ptr<Codec> codec = make_codec(params_.codec_for(dtype_).name, metric_, dim_);
  if (!codec) return;
  const std::vector<Slot> slots = living_nodes();
  auto codes = std::make_unique<CodeSpace>(state.table, std::move(codec));
  codes->train(state.stored, slots, threads);
  if (!codes->tells_apart(slots)) return;
  std::lock_guard writing(lock_);
  state.codes = std::move(codes);
}

// Where rows are no longer of one length, walks go by differences of products from now on.
void HnswIndex::follow_lengths(const VectorBlock& vectors) {
  HnswState& state = *state_;
  if (!state.one_length) return;
  std::size_t i = 0;
  while (i < vectors.count && state.of_one_length({vectors.row(i), vectors.dtype})) ++i;
  if (i == vectors.count) return;
  const float spread = state.measure_spread(state.links(), living_nodes(), false);
  std::lock_guard writing(lock_);
  state.one_length = false;
  state.spread = spread;
}

std::vector<Slot> HnswIndex::append_rows(const VectorBlock& vectors) {
  HnswState& state = *state_;
  const std::size_t slots = state.table.slots();
  std::vector<Slot> fresh;
  fresh.reserve(vectors.count);
  try {
    for (std::size_t first = 0; first < vectors.count; first += kRowsPerLock) {
      std::lock_guard writing(lock_);
      for (std::size_t i = first; i < std::min(vectors.count, first + kRowsPerLock); ++i) {
        fresh.push_back(state.table.append({vectors.row(i), vectors.dtype}));
        state.grow_to_table();
        if (state.codes) state.codes->encode(fresh.back());
      }
    }
  } catch (...) {
    std::lock_guard writing(lock_);
    drop_rows(fresh, slots);
    throw;
  }
  return fresh;
}

// Under lock_. Undoes append_rows(), before which there were so many slots.
void HnswIndex::drop_rows(std::span<const Slot> fresh, std::size_t slots) {
  state_->table.take_back(fresh, slots);
  state_->grow_to_table();
}

// For each new row the node with an equal vector, in the graph or among the new rows before it, or kNoSlot.
void HnswIndex::match_twins(std::span<const Slot> fresh, std::vector<Slot>& leaders) {
  if (!content_known_) {
    content_ = SlotHash();
    content_.reserve(state_->nodes.count() + fresh.size(), content_hash());
    state_->nodes.for_each([&](std::size_t node) { content_.insert(static_cast<Slot>(node), content_hash()); });
    content_known_ = true;
  }
  for (Slot slot : fresh) {
    const auto same = [&](Slot node) { return state_->equal(node, slot); };
    leaders.push_back(content_.find(state_->content_hash(slot), same));
    if (leaders.back() == kNoSlot) content_.insert(slot, content_hash());
  }
  content_bytes_ = content_.memory_bytes();
}

void HnswIndex::link(std::vector<BuildItem> items, int threads, const Progress& progress, Journal& journal) {
  if (items.empty()) return;
  HnswState& state = *state_;
  sort_for_building(params_, items);
  std::vector<Slot> nodes;
  {
    std::lock_guard writing(lock_);
    for (const auto& [slot, id] : items) {
      state.graph.place(slot, params_.level(id));
      state.nodes.set(slot);
      ++state.dead;
      nodes.push_back(slot);
    }
  }
  std::size_t done = 0;
  GrowOptions options = grow_options(params_, state.links(), threads);
  options.journal = &journal;
  Grower grower(options, publisher(), [&](std::size_t more) {
    done += more;
    if (progress) progress(std::min(done, items.size()), items.size());
  });
  const auto add = [&](std::span<const Slot> some) {
    for (int l = std::min(state.graph.top(), state.graph.level(some.front())); l >= 0; --l) {
      const auto below = [&](Slot slot) { return state.graph.level(slot) < l; };
      grower.add(state.graph, state.graph.layer(l), {some.begin(), std::find_if(some.begin(), some.end(), below)});
    }
  };
  // A node above all others becomes the entry before the rest may look for it.
  std::span<const Slot> rest(nodes);
  if (state.graph.level(nodes.front()) > state.graph.top()) {
    add(rest.first(1));
    rest = rest.subspan(1);
    std::lock_guard writing(lock_);
    state.graph.set_entry(nodes.front());
  }
  if (!rest.empty()) add(rest);
  grower.ensure_found(state.graph, nodes);
  refresh_codes(threads);
}

// Under lock_. Undoes link(), however far it came.
void HnswIndex::unlink(std::span<const Slot> fresh, const Before& before, const Journal& journal) {
  HnswState& state = *state_;
  journal.undo(state.graph);
  state.graph.set_entry(before.entry);
  bool reused = false;
  for (Slot slot : fresh) {
    reused |= slot < before.slots;
    if (!state.nodes.test(slot)) continue;
    state.graph.clear(slot);
    state.nodes.reset(slot);
    --state.dead;
  }
  // A slot that was free before keeps the rows that it was given.
  if (!reused) state.graph.drop_rows(before.upper_size);
}

// Under lock_. The slot of an item that leads twins passes to one of them: the graph keeps its node.
void HnswIndex::drop_item(Slot slot) {
  HnswState& state = *state_;
  const auto unlist = [&](Slot empty) {
    if (state.filter_lists) state.filter_lists->leave_lists(empty);
  };
  state.table.hide(slot);
  if (!state.twins.leads(slot)) unlist(slot);
  if (state.twins.is_twin(slot)) {
    state.twins.remove(slot);
    state.table.release(slot);
  } else if (state.twins.leads(slot)) {
    const Slot heir = state.twins.of(slot).back();
    unlist(heir);
    state.twins.remove(heir);
    state.table.move_item(heir, slot);
    state.table.release(heir);
  } else {
    ++state.dead;
  }
}

void HnswIndex::erase(std::span<const Slot> slots, int threads) {
  {
    std::lock_guard writing(lock_);
    std::vector<std::int64_t> ids;
    for (Slot slot : slots) ids.push_back(state_->table.id(slot));
    for (std::int64_t id : ids) drop_item(state_->table.find(id));
    for (auto& [name, index] : state_->filter_indexes) index->changes += ids.size();
  }
  maintain(slots.size(), threads);
}

}  // namespace annlib
