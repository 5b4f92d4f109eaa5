#include <algorithm>
#include <cstring>
#include <numeric>

#include "graph/connect.h"
#include "hnsw/filter_index.h"
#include "hnsw/state.h"

namespace annlib {
namespace {

// Copies of some rows of a space, one behind the other, so that a graph can be built on them by numbers of their own.
class GatheredSpace final : public Space {
 public:
  GatheredSpace(const Space& whole, std::span<const Slot> slots) : whole_(whole), slots_(slots) {
    QueryBuffer buffer;
    const simd::Rows from = whole.prepare_row(slots.front(), buffer).rows;
    rows_.resize(slots.size() * from.stride);
    const bool within = from.tails >= from.data && from.tails < from.data + from.stride;
    if (from.tails != nullptr && !within) tails_.resize(slots.size() * from.tail_stride);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      std::memcpy(rows_.data() + i * from.stride, from.data + slots[i] * from.stride, from.stride);
      if (tails_.empty()) continue;
      std::memcpy(tails_.data() + i * from.tail_stride, from.tails + slots[i] * from.tail_stride, from.tail_stride);
    }
  }

  Scan prepare(const QueryView& query, QueryBuffer& buffer) const override {
    return moved(whole_.prepare(query, buffer));
  }
  Scan prepare_row(Slot number, QueryBuffer& buffer) const override {
    return moved(whole_.prepare_row(slots_[number], buffer));
  }
  void load(Slot number, float* out) const override { whole_.load(slots_[number], out); }

 private:
  Scan moved(Scan scan) const {
    if (scan.rows.tails != nullptr) {
      scan.rows.tails = tails_.empty() ? rows_.data() + (scan.rows.tails - scan.rows.data) : tails_.data();
    }
    scan.rows.data = rows_.data();
    return scan;
  }

  const Space& whole_;
  std::span<const Slot> slots_;
  Array<std::byte> rows_, tails_;
};

}  // namespace

void build_subgraph(const HnswParams& params, const HnswState& state, int threads, std::span<Slot> nodes,
                    std::span<Slot> links) {
  std::vector<BuildItem> items;
  for (const Slot node : nodes) items.push_back({node, state.table.id(node)});
  sort_for_building(params, items);
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i] = items[i].slot;

  const GatheredSpace space(state.links(), nodes);
  std::vector<Slot> numbers(nodes.size());
  std::iota(numbers.begin(), numbers.end(), Slot{0});
  Hierarchy graph(params.m);
  graph.resize(nodes.size());
  Bitset all(nodes.size());
  for (const Slot number : numbers) {
    graph.place(number, params.level(items[number].id));
    all.set(number);
  }
  const Grower::Publish publish = [](const std::function<void()>& write) { write(); };
  Grower grower(grow_options(params, space, threads), publish, {});
  build_layers(graph, numbers, 0, grower);
  connect(graph, all, space, params.ef_construction, publish);
  std::copy(graph.base().begin(), graph.base().end(), links.begin());
}

}  // namespace annlib
