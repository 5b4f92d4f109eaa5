#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "codec/space.h"
#include "core/types.h"
#include "graph/hierarchy.h"
#include "graph/journal.h"
#include "graph/layer.h"
#include "graph/prune.h"

namespace annlib {

/// What building needs to know besides the layer.
struct GrowOptions {
  const Space* space = nullptr;
  std::uint32_t ef_construction = 200;
  int threads = 0;
  Journal* journal = nullptr;  ///< is given every list of a node linked before, ahead of its change
};

/// Adds nodes to a layer in batches that do not depend on threads or timing (Dobson et al., ParlayANN, PPoPP 2024):
/// each batch searches the layer as the batches before left it, chooses its own links, and then the links back are
/// grouped by target and each target's list is pruned once. Batches double up to a fiftieth of what is added, so that
/// few of the nodes that belong together fail to see each other.
class Grower {
 public:
  /// `publish(write)` must call write(); it may take a lock that keeps readers out meanwhile. Everything else only
  /// reads the graph, so searches may run beside it. `progress(n)` follows n more nodes, and may throw to stop.
  using Publish = std::function<void(const std::function<void()>&)>;
  using Progress = std::function<void(std::size_t)>;

  Grower(const GrowOptions& options, Publish publish, Progress progress);
  ~Grower();

  /// That it works with.
  int threads() const { return options_.threads; }

  /// Adds `nodes` to `layer`, whose upper layers are whole in `above`. The nodes are in the order in which they are
  /// to be added; the ones in layers above come first where there are any. They must not be linked yet.
  void add(const Hierarchy& above, const Layer& layer, std::span<const Slot> nodes);

  /// Copies a layer to one without head-room: lists longer than `to.width` are pruned.
  void shrink(const Layer& from, const Layer& to, std::span<const Slot> nodes);

  /// Rewrites the lists of `nodes` that lead to dead nodes: what the dead ones led to comes in their place, and the
  /// list is pruned again (Singh et al., FreshDiskANN, arXiv 2105.09613, Algorithm 4). `alive(slot)` tells who lives.
  void bypass(const Layer& layer, std::span<const Slot> nodes, const std::function<bool(Slot)>& alive);

  /// Offers `nodes`, linked on both layers, the links that they have on `above` for their lists on `layer`. Of a layer
  /// that grew from pieces which lay apart, the few nodes of a new layer above it know what lies between.
  void adopt(const Layer& above, const Layer& layer, std::span<const Slot> nodes);

  /// Links that a list must have, whatever pruning says of them.
  struct Forced {
    Slot node = kNoSlot;
    std::vector<Slot> to;  ///< distinct, without the node itself, no more than a list holds
  };
  /// Gives the list of each node (distinct ones) the links forced on it. From a full list goes what pruning values
  /// least beside them.
  void force_links(const Layer& layer, std::span<const Forced> forced);

  /// Sees to it that a search finds each of `nodes`, which are linked already: where the walk for one ends elsewhere,
  /// the node at which it ends gets a link to it. Such are nodes far from all that was there before them, which
  /// nobody's list may have kept, and those that what came later has hidden from the walk.
  void ensure_found(const Hierarchy& graph, std::span<const Slot> nodes);

 private:
  struct Worker;
  struct Back {
    Slot target;
    Candidate edge;
    friend auto operator<=>(const Back&, const Back&) = default;
  };

  void overwrite(const Layer& layer, Slot node, std::span<const Candidate> links);
  Slot walk_end(const Hierarchy& graph, Slot node, Worker& worker);
  void choose(const Hierarchy& above, const Layer& layer, Slot node, Worker& worker);
  void link_back(const Layer& layer, std::vector<Back>& back);
  template <class Make>
  void rewrite(const Layer& layer, std::size_t n, const std::function<Slot(std::size_t)>& node, Make&& make);
  void rank(Slot node, Worker& worker);
  void merge(const Layer& layer, Slot target, std::span<const Back> incoming, Worker& worker);
  Worker& worker(int i) { return *workers_[static_cast<std::size_t>(i)]; }

  GrowOptions options_;
  Publish publish_;
  Progress progress_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

/// Overwrites a list, its lengths too where the layer keeps them.
void write_links(const Layer& layer, Slot node, std::span<const Candidate> links);

}  // namespace annlib
