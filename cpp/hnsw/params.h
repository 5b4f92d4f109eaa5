#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "codec/codec.h"
#include "core/random.h"
#include "core/types.h"
#include "graph/hierarchy.h"

namespace annlib {

/// How the bottom layer lies in memory: plain lists, whose neighbours are scored one by one, or lists fused with codes
/// of the neighbours, which are scored together (codec/neighbour_codes.h). Numbers are part of the file format.
enum class Layout : std::uint8_t { automatic = 0, plain = 1, fused = 2 };

/// What an HNSW index is built with. Together with the set of (id, vector) these determine the graph.
struct HnswParams {
  std::uint32_t dim = 0;
  DType dtype = DType::f32;
  Metric metric = Metric::l2;
  std::uint32_t m = 16;                 ///< links a node on upper layers, half of those on the bottom
  std::uint32_t ef_construction = 200;  ///< candidates that a new node's links are chosen from
  std::string codec = "auto";           ///< as asked for
  Layout layout = Layout::automatic;
  std::uint64_t seed = 0;
  bool keep_vectors = true;  ///< if not, codes are all that is left of them once there are enough to learn from

  static constexpr std::uint32_t kMaxM = 512;
  static constexpr std::uint32_t kMaxEf = 100000;

  /// What rows of type `stored` are walked on. ValueError for an unknown codec, and without vectors for one that makes
  /// no codes.
  CodecChoice codec_for(DType stored) const { return choose_codec(codec, stored, dim, keep_vectors); }
  /// The order in which items enter a bulk build: a pseudo-random function of the id, never of the arrival.
  std::uint64_t rank(std::int64_t id) const { return random64(seed, 1, static_cast<std::uint64_t>(id)); }
  /// The highest layer of an item: geometric with mean 1 / ln(M) (Malkov & Yashunin, section 4).
  int level(std::int64_t id) const {
    const double u = to_unit(random64(seed, 2, static_cast<std::uint64_t>(id)));
    return std::min(Hierarchy::kMaxLevel, static_cast<int>(-std::log(u) / std::log(static_cast<double>(m))));
  }
};

/// An item on its way into a graph. Items enter by building_key(): high levels first, so that the nodes of a layer
/// are the first so many, and by rank within a level.
struct BuildItem {
  Slot slot = kNoSlot;
  std::int64_t id = -1;
};

inline auto building_key(const HnswParams& params, std::int64_t id) {
  return std::tuple(-params.level(id), params.rank(id), id);
}

inline void sort_for_building(const HnswParams& params, std::vector<BuildItem>& items) {
  std::vector<std::tuple<int, std::uint64_t, std::int64_t, Slot>> keyed;
  keyed.reserve(items.size());
  for (const BuildItem& item : items) {
    keyed.push_back(std::tuple_cat(building_key(params, item.id), std::tuple(item.slot)));
  }
  std::sort(keyed.begin(), keyed.end());
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = {std::get<3>(keyed[i]), std::get<2>(keyed[i])};
}

}  // namespace annlib
