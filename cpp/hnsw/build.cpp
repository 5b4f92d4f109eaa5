#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "core/parallel.h"
#include "graph/connect.h"
#include "hnsw/state.h"
#include "table/narrow_type.h"

namespace annlib {
namespace {

// Of shorter vectors the codes would not be read much faster.
constexpr std::uint32_t kDraftFromDim = 32;
// Scoring a list by its codes reads a tenth of the memory of scoring its nodes one by one and computes more: it is
// faster where nodes come from memory and slower where they come from caches (docs/performance.md).
constexpr std::uint32_t kFuseFromDim = 48;
constexpr std::size_t kCachedBytes = std::size_t{12} << 20;

// Rows of a layer under construction, with room beyond what will stay and the length of every link.
struct DraftRows {
  DraftRows(const Layer& final_layer, std::size_t rows, int threads) : layer(final_layer) {
    const std::size_t places = rows * draft_width(final_layer.width);
    slots.reserve(places, threads);
    slots.resize(places, kNoSlot);
    lengths.reserve(places, threads);
    lengths.resize(places);
    layer.slots = slots.data();
    layer.distances = lengths.data();
    layer.width = draft_width(final_layer.width);
    layer.stride = layer.width;
    layer.changed = nullptr;
  }
  static std::uint32_t draft_width(std::uint32_t width) { return width + std::max(width / 4, 1u); }

  Layer layer;
  Array<Slot> slots;
  Array<float> lengths;
};

// Equal vectors find each other by hash; the first of them in building order leads.
void find_twins(HnswState& state, int threads) {
  const auto n = state.table.slots();
  std::vector<std::pair<std::uint64_t, Slot>> hashes(n);
  parallel_for(n, 4096, threads, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) {
      hashes[i] = {state.content_hash(static_cast<Slot>(i)), static_cast<Slot>(i)};
    }
  });
  std::sort(hashes.begin(), hashes.end());
  std::vector<Slot> leaders;  // of the run of one hash: nearly always one
  for (std::size_t i = 0; i < n; ++i) {
    if (i == 0 || hashes[i].first != hashes[i - 1].first) leaders.clear();
    const Slot slot = hashes[i].second;
    const auto same = [&](Slot leader) { return state.equal(leader, slot); };
    const auto leader = std::find_if(leaders.begin(), leaders.end(), same);
    if (leader == leaders.end()) {
      leaders.push_back(slot);
    } else {
      state.twins.add(*leader, slot);
      state.nodes.reset(slot);
    }
  }
}

// The codes of all rows: learnt from them, or those that the source has, and by the same codec those of its new
// vectors.
void make_codes(HnswState& state, const RowSource& source, const std::vector<BuildItem>& items,
                std::span<const Slot> slots, int threads) {
  if (source.codes == nullptr) return state.codes->train(state.stored, slots, threads);
  state.codes->learn_from(*source.codes);
  for (Slot slot : slots) {
    if (state.table.vector(slot) != nullptr) {
      state.codes->encode(slot);
    } else {
      state.codes->set_code(slot, source.code(items[slot].slot));
    }
  }
  if (state.codes->wants_training()) state.codes = state.retrained(slots, threads);
}

// Whole numbers of 8 bits, as pixels are, are kept as such in whatever type they come: nothing is lost, and they are
// read in a quarter of the time of floats. A codec that was asked for makes codes of vectors as they come.
DType stored_dtype(const HnswParams& params, const RowSource& source) {
  if (!params.keep_vectors) return params.dtype;
  if (params.codec != "auto" && params.codec != "float32") return params.dtype;
  NarrowType narrow(params.dtype, params.dim);
  for (std::size_t i = 0; i < source.count && !narrow.known(); ++i) narrow.see(source.row(i));
  return narrow.type();
}

// Which links to make is decided as well on 8-bit codes as on wider ones, in half the time. They are thrown away when
// the graph is there; nullptr where the walk has such codes itself, or the data does not allow them.
std::unique_ptr<CodeSpace> draft_codes_for(const HnswState& state, std::span<const Slot> slots, int threads) {
  const Table& table = state.table;
  if (!table.keeps_rows() || is_integer(table.dtype()) || table.dim() < kDraftFromDim) return nullptr;
  if (state.codes && state.codes->codec().name() == "int8") return nullptr;
  auto codes = std::make_unique<CodeSpace>(table, make_codec("int8", table.metric(), table.dim()));
  codes->train(state.stored, slots, threads);
  if (!codes->resolves(slots)) return nullptr;
  return codes;
}

}  // namespace

LayoutChoice choose_layout(const HnswParams& params, DType stored, std::size_t n) {
  if (params.layout != Layout::automatic) return {params.layout, "as asked"};
  if (!params.keep_vectors) return {Layout::plain, "codes alone save memory, of which the fused layout takes more"};
  if (params.dim < kFuseFromDim) {
    return {Layout::plain, "one bit a dimension tells too little of " + std::to_string(params.dim) + " dimensions"};
  }
  const std::unique_ptr<Codec> walked = make_codec(params.codec_for(stored).name, params.metric, params.dim);
  const std::size_t row = walked ? walked->code_bytes() : params.dim * dtype_size(stored);
  const std::string size = std::to_string(n * row >> 20) + " MiB of rows to walk on";
  if (n * row < kCachedBytes) return {Layout::plain, size + " stay in caches"};
  return {Layout::fused, size + " do not stay in caches"};
}

void build_layers(Hierarchy& graph, std::span<const Slot> nodes, int lowest, Grower& grower) {
  graph.set_entry(nodes.front());
  for (int l = graph.top(); l >= lowest; --l) {
    const auto below = [&](Slot slot) { return graph.level(slot) < l; };
    const auto end = std::find_if(nodes.begin(), nodes.end(), below);
    const std::span<const Slot> members(nodes.begin(), end);
    const Layer layer = graph.layer(l);
    DraftRows draft(layer, l == 0 ? graph.slots() : graph.upper().size() / graph.m(), grower.threads());
    grower.add(graph, draft.layer, members);
    grower.shrink(draft.layer, layer, members);
  }
}

GrowOptions grow_options(const HnswParams& params, const Space& space, int threads) {
  GrowOptions options;
  options.space = &space;
  options.ef_construction = params.ef_construction;
  options.threads = threads;
  return options;
}

std::unique_ptr<HnswState> build_state(const HnswParams& params, const RowSource& source, int threads,
                                       const Progress& progress) {
  const std::size_t n = source.count;
  const DType stored = stored_dtype(params, source);
  const LayoutChoice layout = choose_layout(params, stored, n);
  auto state = std::make_unique<HnswState>(params, stored, layout.layout == Layout::fused, source.codes_alone);
  if (n == 0) return state;

  // Until they are rows of the table, an item's place in the source stands for its slot.
  std::vector<BuildItem> items(n);
  for (std::size_t i = 0; i < n; ++i) items[i] = {static_cast<Slot>(i), source.id(i)};
  sort_for_building(params, items);

  Table& table = state->table;
  if (source.codes != nullptr) table.drop_rows();
  table.reserve(n, threads);
  for (const BuildItem& item : items) {
    table.reveal(table.append(source.row(item.slot)), item.id, source.arrival(item.slot));
  }
  table.renumber_arrivals();
  std::vector<std::size_t> order;
  for (const BuildItem& item : items) order.push_back(item.slot);
  source.attributes(table.columns(), order);
  state->graph.reserve(n, threads);
  state->grow_to_table();
  std::vector<Slot> slots(n);
  std::iota(slots.begin(), slots.end(), Slot{0});
  for (Slot slot : slots) state->nodes.set(slot);
  if (state->codes) make_codes(*state, source, items, slots, threads);
  find_twins(*state, threads);
  std::vector<Slot> nodes;
  state->nodes.for_each([&](std::size_t i) {
    const auto slot = static_cast<Slot>(i);
    state->graph.place(slot, params.level(table.id(slot)));
    nodes.push_back(slot);
  });
  if (state->codes && !state->codes_alone && !state->codes->tells_apart(nodes)) state->codes.reset();
  const std::unique_ptr<CodeSpace> draft_codes = draft_codes_for(*state, nodes, threads);
  const Space& space = draft_codes ? *draft_codes : state->links();
  const Grower::Publish publish = [](const std::function<void()>& write) { write(); };
  std::size_t done = 0;
  Grower grower(grow_options(params, space, threads), publish, [&](std::size_t more) {
    done += more;
    // The upper layers are about one part in M - 1 of the work.
    if (progress) progress(std::min(done, n), n);
  });
  build_layers(state->graph, nodes, 0, grower);
  connect(state->graph, state->nodes, space, params.ef_construction, publish);
  if (state->neighbour_codes) {
    state->learn_neighbours(nodes);
    state->encode_neighbours(nodes, threads, publish);
    state->measure_lengths(nodes, threads);
    state->spread = state->measure_spread(space, nodes, state->one_length);
    state->graph.track_changes();
  }
  table.forget_vectors();
  if (state->codes_alone) table.drop_rows();
  return state;
}

}  // namespace annlib
