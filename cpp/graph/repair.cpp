#include "graph/repair.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "core/parallel.h"
#include "core/random.h"

namespace annlib {
namespace {

// The smallest neighbourhood that is made whole by itself; docs/performance.md has what larger ones do.
constexpr std::size_t kInnermost = 8;

using Link = std::pair<Slot, Slot>;

/// Which nodes of a neighbourhood lead to which others without leaving it. Nodes go by rank, a bit of a word for each.
class Closure {
 public:
  Closure(const Layer& layer, std::span<const Slot> nodes) : size_(nodes.size()) {
    std::array<std::pair<Slot, std::size_t>, kNeighbourhood> ranks;
    for (std::size_t i = 0; i < size_; ++i) {
      ranks[i] = {nodes[i], i};
      reach_[i] = std::uint64_t{1} << i;
    }
    const auto end = ranks.begin() + static_cast<std::ptrdiff_t>(size_);
    std::sort(ranks.begin(), end);
    for (std::size_t i = 0; i < size_; ++i) {
      const Slot* links = layer.links(nodes[i]);
      for (std::uint32_t j = 0; j < layer.width && links[j] != kNoSlot; ++j) {
        const auto at = std::lower_bound(ranks.begin(), end, std::pair(links[j], std::size_t{0}));
        if (at != end && at->first == links[j]) add(i, at->second);
      }
    }
  }

  bool leads(std::size_t from, std::size_t to) const { return reach_[from] >> to & 1; }
  void add(std::size_t from, std::size_t to) {
    if (leads(from, to)) return;
    for (std::size_t i = 0; i < size_; ++i) {
      if (leads(i, from)) reach_[i] |= reach_[to];
    }
  }

 private:
  std::size_t size_;
  std::array<std::uint64_t, kNeighbourhood> reach_;
};

// The links that a neighbourhood lacks.
std::vector<Link> missing_links(const Space& space, const Layer& layer, std::span<const Slot> nodes) {
  std::vector<std::pair<std::size_t, std::size_t>> missing;  // by rank
  std::vector<std::tuple<float, std::size_t, std::size_t>> pairs;
  std::array<float, kNeighbourhood> lengths;
  QueryBuffer buffer;
  for (std::size_t size = 0; size < nodes.size();) {
    size = std::min(std::max(2 * size, kInnermost), nodes.size());
    Closure closure(layer, nodes.first(size));
    for (const auto& [from, to] : missing) closure.add(from, to);
    pairs.clear();
    for (std::size_t i = 0; i + 1 < size; ++i) {
      space.prepare_row(nodes[i], buffer).score(&nodes[i + 1], size - i - 1, lengths.data());
      for (std::size_t j = i + 1; j < size; ++j) pairs.emplace_back(lengths[j - i - 1], i, j);
    }
    std::sort(pairs.begin(), pairs.end());
    for (const auto& [length, i, j] : pairs) {
      for (const auto& [from, to] : {std::pair(i, j), std::pair(j, i)}) {
        if (closure.leads(from, to)) continue;
        missing.emplace_back(from, to);
        closure.add(from, to);
      }
    }
  }
  std::vector<Link> links;
  for (const auto& [from, to] : missing) links.emplace_back(nodes[from], nodes[to]);
  return links;
}

// Each once, in an order that depends on nothing else. By hash: like ones would else come together and into one batch,
// where they do not see each other's links.
std::vector<std::span<const Slot>> in_order(const std::vector<Neighbourhood>& neighbourhoods) {
  std::vector<std::pair<std::uint64_t, const Neighbourhood*>> hashed;
  for (const Neighbourhood& nodes : neighbourhoods) {
    const auto bytes = std::as_bytes(std::span(nodes));
    hashed.emplace_back(hash_bytes(bytes.data(), bytes.size()), &nodes);
  }
  std::sort(hashed.begin(), hashed.end(),
            [](const auto& a, const auto& b) { return std::tie(a.first, *a.second) < std::tie(b.first, *b.second); });
  const auto same = [](const auto& a, const auto& b) { return *a.second == *b.second; };
  hashed.erase(std::unique(hashed.begin(), hashed.end(), same), hashed.end());
  std::vector<std::span<const Slot>> order;
  for (const auto& [hash, nodes] : hashed) order.emplace_back(*nodes);
  return order;
}

}  // namespace

RepairCounts repair(const Hierarchy& graph, const std::vector<Neighbourhood>& neighbourhoods,
                    const GrowOptions& options, const Grower::Publish& publish, const Grower::Progress& progress) {
  const Layer layer = graph.layer(0);
  const std::vector<std::span<const Slot>> order = in_order(neighbourhoods);
  const std::size_t cap = std::max<std::size_t>(1, order.size() / 50);
  RepairCounts counts;
  counts.neighbourhoods = order.size();
  Grower grower(options, publish, {});
  std::unordered_map<Slot, std::vector<Slot>> made;
  std::vector<std::vector<Link>> missing(cap);
  for (std::size_t first = 0; first < order.size(); first += cap) {
    const std::size_t size = std::min(cap, order.size() - first);
    parallel_for(size, 4, options.threads, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t i = begin; i < end; ++i) missing[i] = missing_links(*options.space, layer, order[first + i]);
    });
    std::vector<Slot> changed;
    for (std::size_t i = 0; i < size; ++i) {
      counts.broken += !missing[i].empty();
      for (const auto& [from, to] : missing[i]) {
        std::vector<Slot>& links = made[from];
        if (links.size() >= layer.width / 2 || std::find(links.begin(), links.end(), to) != links.end()) continue;
        links.push_back(to);
        changed.push_back(from);
        ++counts.links;
      }
    }
    std::sort(changed.begin(), changed.end());
    changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
    std::vector<Grower::Forced> forced;
    for (Slot node : changed) forced.push_back({node, made[node]});
    grower.force_links(layer, forced);
    if (progress) progress(size);
  }
  counts.lists = made.size();
  return counts;
}

}  // namespace annlib
