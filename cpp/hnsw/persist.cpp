#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "core/error.h"
#include "graph/connect.h"
#include "hnsw/hnsw_index.h"
#include "index/sections.h"

namespace annlib {

using storage::Container;
using storage::ElementType;
using storage::SectionInfo;
using storage::SectionList;

void HnswIndex::append_sections(SectionList& sections) const {
  const HnswState& state = *state_;
  const std::uint64_t n = state.graph.slots();
  append_params({dim_, dtype_, metric_, {params_.m, params_.ef_construction, params_.seed, state.graph.entry()}},
                sections);
  append_codec_asked(params_.codec, sections);  // digests depend on the order of the sections
  if (params_.layout != Layout::automatic) {
    sections.add_copy("graph.layout", ElementType::u8, std::vector<Layout>{params_.layout});
  }
  append_keep_vectors(keep_vectors_, sections);
  if (state.table.dtype() != dtype_) append_stored_dtype(state.table.dtype(), sections);
  append_table(state.table, sections);
  if (state.codes) append_codes(*state.codes, sections);
  sections.add("graph.base", ElementType::u32, {n, state.graph.stride()}, state.graph.base().bytes());
  if (state.neighbour_codes) {
    sections.add_copy("graph.spread", ElementType::f32, std::vector<float>{state.spread});
    if (state.length > 0) {
      sections.add_copy("graph.length", ElementType::f32, std::vector<float>{state.length, float(state.one_length)});
    }
    sections.add_copy("graph.mean", ElementType::f32, state.neighbour_codes->params());
  }
  sections.add("graph.at", ElementType::u32, {n}, state.graph.at().bytes());
  sections.add("graph.level", ElementType::u8, {n}, state.graph.levels().bytes());
  sections.add("graph.upper", ElementType::u32, {state.graph.upper().size() / params_.m, params_.m},
               state.graph.upper().bytes());
  std::vector<Slot> twins;
  for (const auto& [leader, twin] : state.twins.pairs()) {
    twins.push_back(leader);
    twins.push_back(twin);
  }
  sections.add_copy("graph.twins", ElementType::u32, twins);
  append_filter_indexes(state.filter_indexes, state.table.columns(), sections);
  if (state.filter_lists) {
    state.filter_lists->append_sections("filter_lists.", sections);
    std::vector<float> efforts = state.list_efforts.lists;
    efforts.push_back(state.list_efforts.apart);
    sections.add_copy("filter_lists.efforts", ElementType::f32, efforts);
  }
}

std::unique_ptr<HnswIndex> HnswIndex::open(const std::shared_ptr<const Container>& file, MakeFilterLists make_lists) {
  const StoredParams stored = read_params(*file, 4);
  HnswParams params;
  params.dim = stored.dim;
  params.dtype = stored.dtype;
  params.metric = stored.metric;
  params.m = static_cast<std::uint32_t>(std::min<std::uint64_t>(stored.more[0], 0xFFFFFFFFu));
  params.ef_construction = static_cast<std::uint32_t>(std::min<std::uint64_t>(stored.more[1], 0xFFFFFFFFu));
  params.seed = stored.more[2];
  params.codec = read_codec_asked(*file);
  params.keep_vectors = read_keep_vectors(*file);
  if (file->find("graph.layout") != nullptr) {
    const auto layout = storage::read_vector<std::uint8_t>(*file, "graph.layout", ElementType::u8);
    if (layout.size() != 1 || layout[0] > static_cast<std::uint8_t>(Layout::fused)) {
      throw CorruptError("the graph's layout is none that there is");
    }
    params.layout = static_cast<Layout>(layout[0]);
  }
  std::unique_ptr<HnswIndex> index;
  try {
    index = std::make_unique<HnswIndex>(params, make_lists);
  } catch (const ValueError& error) {
    throw CorruptError(std::string("the parameters are out of range: ") + error.what());
  }
  index->restore(file, static_cast<Slot>(std::min<std::uint64_t>(stored.more[3], kNoSlot)));
  return index;
}

void HnswIndex::restore(const std::shared_ptr<const Container>& file, Slot entry) {
  const SectionInfo& base = file->require("graph.base", ElementType::u32, 2);
  const SectionInfo& upper = file->require("graph.upper", ElementType::u32, 2);
  const bool codes_alone = !keep_vectors_ && !has_vectors(*file);
  const std::optional<DType> stored = read_stored_dtype(*file);
  if (stored && (is_integer(dtype_) || !keep_vectors_)) throw CorruptError("rows of vectors are of two types");
  state_ = std::make_unique<HnswState>(params_, stored.value_or(dtype_), base.shape[1] != 2 * params_.m, codes_alone);
  HnswState& state = *state_;
  if (codes_alone) state.table.drop_rows();
  restore_table(file, state.table);
  const std::size_t n = state.table.slots();
  if (base.shape[1] != state.graph.stride() || upper.shape[1] != params_.m) {
    throw CorruptError("the graph's lists have a wrong length");
  }
  Hierarchy::Parts parts;
  parts.base = Array<Slot>(load_section(file, base));
  parts.at = Array<std::uint32_t>(load_section(file, file->require("graph.at", ElementType::u32, 1)));
  parts.level = Array<std::uint8_t>(load_section(file, file->require("graph.level", ElementType::u8, 1)));
  parts.upper = Array<Slot>(load_section(file, upper));
  parts.entry = entry;
  if (parts.level.size() != n) throw CorruptError("the graph and the vectors differ in length");

  state.nodes.resize(n);
  for (std::size_t slot = 0; slot < n; ++slot) state.nodes.set(slot);
  for (Slot slot : state.table.free_slots()) state.nodes.reset(slot);
  const auto twins = storage::read_vector<Slot>(*file, "graph.twins", ElementType::u32);
  for (std::size_t i = 0; i + 1 < twins.size(); i += 2) {
    const Slot leader = twins[i], twin = twins[i + 1];
    if (leader >= n || twin >= n || leader == twin || !state.table.alive(leader) || !state.table.alive(twin) ||
        state.twins.leads(twin) || state.twins.is_twin(twin) || state.twins.is_twin(leader)) {
      throw CorruptError("the list of equal vectors is wrong");
    }
    state.twins.add(leader, twin);
    state.nodes.reset(twin);
  }
  if (twins.size() % 2 != 0) throw CorruptError("the list of equal vectors is wrong");
  state.graph.restore(std::move(parts), state.nodes);
  if (state.table.live() > 0 && (entry == kNoSlot || !state.nodes.test(entry))) {
    throw CorruptError("the entry point is not a node");
  }
  state.dead = state.nodes.count() + state.twins.count() - state.table.live();

  const bool uncoded = file->find("codec.codes") == nullptr && file->find("codec.params") == nullptr;
  if (!codes_alone && uncoded) state.codes.reset();
  if (state.codes) restore_codes(file, *state.codes);
  if (state.neighbour_codes) {
    const auto spread = storage::read_vector<float>(*file, "graph.spread", ElementType::f32);
    if (spread.size() != 1 || !(spread[0] >= 0) || !std::isfinite(spread[0])) {
      throw CorruptError("the spread of distances is not a number");
    }
    state.spread = spread[0];
    if (metric_ == Metric::ip && file->find("graph.length") != nullptr) {
      const auto length = storage::read_vector<float>(*file, "graph.length", ElementType::f32);
      if (length.size() != 2 || !(length[0] > 0) || !std::isfinite(length[0]) || (length[1] != 0 && length[1] != 1)) {
        throw CorruptError("the length of the vectors is not a number");
      }
      state.length = length[0];
      state.one_length = length[1] == 1;
    }
    // Files from before it was learnt have codes relative to 0.
    if (file->find("graph.mean") != nullptr &&
        !state.neighbour_codes->restore(storage::read_vector<float>(*file, "graph.mean", ElementType::f32))) {
      throw CorruptError("what the neighbours' codes are relative to is no mean and share");
    }
    state.graph.track_changes();
  }
  state.filter_indexes = restore_filter_indexes(file, state.table.columns(), 2 * params_.m);
  if (make_lists_ == nullptr || file->find("filter_lists.efforts") == nullptr) return;
  std::vector<float> efforts = storage::read_vector<float>(*file, "filter_lists.efforts", ElementType::f32);
  const auto effort = [](float lists) { return lists >= 1.0f && lists <= 1e6f; };
  if (efforts.size() != HnswState::kEfforts + 1 || !std::all_of(efforts.begin(), efforts.end() - 1, effort) ||
      !(efforts.back() >= 0.0f)) {
    throw CorruptError("the efforts of the lists for filters are none");
  }
  state.list_efforts.apart = efforts.back();
  efforts.pop_back();
  state.list_efforts.lists = std::move(efforts);
  state.filter_lists = make_lists_(state.table, params_.seed);
  state.filter_lists->restore(file, "filter_lists.");
}

CodecChoice HnswIndex::codec() const {
  std::shared_lock reading(lock_);
  CodecChoice choice = params_.codec_for(state_->table.dtype());
  if (state_->table.dtype() != dtype_) choice.reason = "whole numbers are kept in 8 bits and walked on as they are";
  if (state_->codes != nullptr || choice.name == "float32") return choice;
  return {"float32", choice.name + " codes do not tell near neighbours of this data apart, or it is too long for them"};
}

DType HnswIndex::stored_dtype() const {
  std::shared_lock reading(lock_);
  return state_->table.dtype();
}

LayoutChoice HnswIndex::layout() const {
  std::shared_lock reading(lock_);
  LayoutChoice choice = choose_layout(params_, state_->table.dtype(), state_->table.live());
  const Layout there = state_->neighbour_codes ? Layout::fused : Layout::plain;
  if (choice.layout == there) return choice;
  return {there, "as it was when the index was built as a whole"};
}

HnswIndex::Counts HnswIndex::counts() const {
  std::shared_lock reading(lock_);
  const HnswState& state = *state_;
  Counts counts;
  counts.live = state.table.live();
  counts.dead = state.dead;
  counts.twins = state.twins.count();
  counts.levels = static_cast<std::size_t>(state.graph.top() + 1);
  const Layer base = state.graph.layer(0);
  state.nodes.for_each([&](std::size_t slot) { counts.links += base.degree(static_cast<Slot>(slot)); });
  counts.graph_bytes = state.graph.memory_bytes();
  if (state.filter_lists) counts.filter_list_bytes = state.filter_lists->memory_bytes();
  counts.codec_error = state.codes ? state.codes->error() : 0.0f;
  return counts;
}

std::vector<std::int64_t> HnswIndex::bottom_ids() const {
  std::shared_lock reading(lock_);
  const HnswState& state = *state_;
  std::vector<std::int64_t> ids;
  state.table.alive_bits().for_each([&](std::size_t slot) {
    const Slot node = state.twins.node_of(static_cast<Slot>(slot));
    if (state.graph.level(node) == 0 && node != state.graph.entry()) ids.push_back(state.table.id(slot));
  });
  return ids;
}

void HnswIndex::load(std::span<const std::int64_t> ids, float* out) const {
  std::shared_lock reading(lock_);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Slot slot = state_->table.find(ids[i]);
    if (slot == kNoSlot) throw KeyError("id " + std::to_string(ids[i]) + " is not in the index");
    state_->truth().load(slot, out + i * dim_);
  }
}

std::size_t HnswIndex::unreachable() const {
  std::shared_lock reading(lock_);
  const Bitset seen = reachable(state_->graph);
  std::size_t lost = 0;
  state_->nodes.for_each([&](std::size_t slot) {
    if (state_->table.alive(static_cast<Slot>(slot)) && !seen.test(slot))
      lost += 1 + state_->twins.of(static_cast<Slot>(slot)).size();
  });
  return lost;
}

}  // namespace annlib
