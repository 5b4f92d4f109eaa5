#include "graph/grow.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "core/parallel.h"

namespace annlib {

namespace {

// One group of lists is prepared while readers go on, and then written in one go.
constexpr std::size_t kPublishLists = 4096;
// The effort of a search that is to find a node: less than anybody searches with.
constexpr std::size_t kProbeEf = 8;

}  // namespace

struct Grower::Worker {
  Scratch search;
  PruneScratch prune;
  std::vector<Candidate> list;
  std::vector<Slot> slots;
  std::vector<float> distances;
};

void write_links(const Layer& layer, Slot node, std::span<const Candidate> links) {
  Slot* out = layer.links(node);
  for (std::uint32_t i = 0; i < layer.width; ++i) out[i] = i < links.size() ? links[i].slot() : kNoSlot;
  layer.touch(node);
  if (layer.distances == nullptr) return;
  float* lengths = layer.lengths(node);
  for (std::size_t i = 0; i < links.size(); ++i) lengths[i] = links[i].distance();
}

Grower::Grower(const GrowOptions& options, Publish publish, Progress progress)
    : options_(options), publish_(std::move(publish)), progress_(std::move(progress)) {
  const int threads = options_.threads > 0 ? options_.threads : num_threads();
  for (int i = 0; i < threads; ++i) workers_.push_back(std::make_unique<Worker>());
  options_.threads = threads;
}

Grower::~Grower() = default;

void Grower::add(const Hierarchy& above, const Layer& layer, std::span<const Slot> nodes) {
  const std::uint32_t degree = above.width(static_cast<int>(layer.level));
  const std::size_t cap = std::max<std::size_t>(1, nodes.size() / 50);
  std::vector<Candidate> chosen;
  std::vector<std::uint32_t> counts;
  std::vector<Back> back;
  for (std::size_t done = 0; done < nodes.size();) {
    const std::size_t size = std::min({nodes.size() - done, std::max<std::size_t>(1, done), cap});
    const std::span<const Slot> batch = nodes.subspan(done, size);
    chosen.resize(size * degree);
    counts.assign(size, 0);
    parallel_for(size, 4, options_.threads, [&](std::size_t begin, std::size_t end, int w) {
      for (std::size_t i = begin; i < end; ++i) {
        Worker& mine = worker(w);
        choose(above, layer, batch[i], mine);
        prune(*options_.space, degree, mine.list, mine.prune);
        counts[i] = static_cast<std::uint32_t>(mine.list.size());
        std::copy(mine.list.begin(), mine.list.end(), chosen.begin() + static_cast<std::ptrdiff_t>(i * degree));
      }
    });
    back.clear();
    for (std::size_t i = 0; i < size; ++i) {
      for (std::uint32_t j = 0; j < counts[i]; ++j) {
        const Candidate c = chosen[i * degree + j];
        back.push_back({c.slot(), Candidate(c.distance(), batch[i])});
      }
    }
    publish_([&] {
      for (std::size_t i = 0; i < size; ++i) write_links(layer, batch[i], {&chosen[i * degree], counts[i]});
    });
    link_back(layer, back);
    done += size;
    if (progress_) progress_(size);
  }
}

void Grower::choose(const Hierarchy& above, const Layer& layer, Slot node, Worker& worker) {
  Scratch& s = worker.search;
  const Scan scan = options_.space->prepare_row(node, s.query);
  const int level = static_cast<int>(layer.level);
  s.visited.reset(above.slots());
  s.pool.reset(options_.ef_construction);
  // A node is no neighbour of its own, and on the layers above it may be there already.
  s.visited.insert(node);
  if (above.entry() != kNoSlot) {
    if (above.level(node) > level) {
      const Layer upper = above.layer(level + 1);
      enter(scan, above.entry(), AcceptAll{}, s);
      for (std::uint32_t i = 0; i < upper.degree(node); ++i) enter(scan, upper.links(node)[i], AcceptAll{}, s);
    } else {
      enter(scan, above.approach(scan, level, s), AcceptAll{}, s);
    }
    beam_search(layer, scan, s);
  }
  worker.list.clear();
  for (std::size_t i = 0; i < s.pool.size(); ++i) {
    worker.list.emplace_back(s.pool[i].distance(), s.pool[i].slot());
  }
}

void Grower::overwrite(const Layer& layer, Slot node, std::span<const Candidate> links) {
  if (options_.journal != nullptr) options_.journal->keep(layer, node);
  write_links(layer, node, links);
}

// Makes n lists anew: make(i, worker) leaves the list of node(i) in worker.list.
template <class Make>
void Grower::rewrite(const Layer& layer, std::size_t n, const std::function<Slot(std::size_t)>& node, Make&& make) {
  std::vector<Candidate> lists(std::min(kPublishLists, n) * layer.width);
  std::vector<std::uint32_t> counts(std::min(kPublishLists, n));
  for (std::size_t first = 0; first < n; first += kPublishLists) {
    const std::size_t size = std::min(kPublishLists, n - first);
    parallel_for(size, 16, options_.threads, [&](std::size_t begin, std::size_t end, int w) {
      for (std::size_t i = begin; i < end; ++i) {
        Worker& mine = worker(w);
        make(first + i, mine);
        counts[i] = static_cast<std::uint32_t>(mine.list.size());
        std::copy(mine.list.begin(), mine.list.end(), lists.begin() + static_cast<std::ptrdiff_t>(i * layer.width));
      }
    });
    publish_([&] {
      for (std::size_t i = 0; i < size; ++i) {
        overwrite(layer, node(first + i), {lists.data() + i * layer.width, counts[i]});
      }
    });
  }
}

void Grower::link_back(const Layer& layer, std::vector<Back>& back) {
  std::sort(back.begin(), back.end());
  std::vector<std::size_t> groups;
  for (std::size_t i = 0; i < back.size(); ++i) {
    if (i == 0 || back[i].target != back[i - 1].target) groups.push_back(i);
  }
  const std::size_t n = groups.size();
  groups.push_back(back.size());
  rewrite(
      layer, n, [&](std::size_t i) { return back[groups[i]].target; },
      [&](std::size_t i, Worker& mine) {
        merge(layer, back[groups[i]].target, {&back[groups[i]], groups[i + 1] - groups[i]}, mine);
      });
}

// Leaves worker.slots, by their distance from `node`, in worker.list.
void Grower::rank(Slot node, Worker& worker) {
  worker.distances.resize(worker.slots.size());
  options_.space->prepare_row(node, worker.search.row)
      .score(worker.slots.data(), worker.slots.size(), worker.distances.data());
  worker.list.clear();
  for (std::size_t i = 0; i < worker.slots.size(); ++i) worker.list.emplace_back(worker.distances[i], worker.slots[i]);
  std::sort(worker.list.begin(), worker.list.end());
}

void Grower::bypass(const Layer& layer, std::span<const Slot> nodes, const std::function<bool(Slot)>& alive) {
  std::vector<Slot> affected;
  for (Slot node : nodes) {
    const Slot* links = layer.links(node);
    if (!std::all_of(links, links + layer.degree(node), alive)) affected.push_back(node);
  }
  rewrite(
      layer, affected.size(), [&](std::size_t i) { return affected[i]; },
      [&](std::size_t i, Worker& mine) {
        const Slot node = affected[i];
        std::set<Slot> seen{node};
        mine.slots.clear();
        const auto take = [&](Slot slot) {
          if (alive(slot) && seen.insert(slot).second) mine.slots.push_back(slot);
        };
        const Slot* links = layer.links(node);
        const std::uint32_t degree = layer.degree(node);
        for (std::uint32_t j = 0; j < degree; ++j) {
          take(links[j]);
          if (alive(links[j])) continue;
          const Slot* beyond = layer.links(links[j]);
          std::for_each(beyond, beyond + layer.degree(links[j]), take);
        }
        rank(node, mine);
        prune(*options_.space, layer.width, mine.list, mine.prune);
      });
}

void Grower::adopt(const Layer& above, const Layer& layer, std::span<const Slot> nodes) {
  rewrite(
      layer, nodes.size(), [&](std::size_t i) { return nodes[i]; },
      [&](std::size_t i, Worker& mine) {
        const Slot* links = layer.links(nodes[i]);
        const Slot* more = above.links(nodes[i]);
        mine.slots.assign(links, links + layer.degree(nodes[i]));
        std::remove_copy_if(more, more + above.degree(nodes[i]), std::back_inserter(mine.slots), [&](Slot slot) {
          return std::find(links, links + layer.degree(nodes[i]), slot) != links + layer.degree(nodes[i]);
        });
        rank(nodes[i], mine);
        prune(*options_.space, layer.width, mine.list, mine.prune);
      });
}

void Grower::merge(const Layer& layer, Slot target, std::span<const Back> incoming, Worker& worker) {
  const std::uint32_t degree = layer.degree(target);
  const Slot* links = layer.links(target);
  worker.list.clear();
  if (layer.distances != nullptr) {
    for (std::uint32_t i = 0; i < degree; ++i) worker.list.emplace_back(layer.lengths(target)[i], links[i]);
  } else if (degree > 0) {
    worker.distances.resize(degree);
    options_.space->prepare_row(target, worker.search.row).score(links, degree, worker.distances.data());
    for (std::uint32_t i = 0; i < degree; ++i) worker.list.emplace_back(worker.distances[i], links[i]);
  }
  for (const Back& b : incoming) {
    // Two nodes of one batch may have chosen each other.
    if (std::find(links, links + degree, b.edge.slot()) == links + degree) worker.list.push_back(b.edge);
  }
  std::sort(worker.list.begin(), worker.list.end());
  // With head-room a list is pruned to less than it may hold, so that the next prune is some links away.
  if (worker.list.size() > layer.width) {
    const std::uint32_t room = layer.distances != nullptr ? layer.width - layer.width / 6 : layer.width;
    prune(*options_.space, room, worker.list, worker.prune);
  }
}

void Grower::shrink(const Layer& from, const Layer& to, std::span<const Slot> nodes) {
  parallel_for(nodes.size(), 64, options_.threads, [&](std::size_t begin, std::size_t end, int w) {
    for (std::size_t i = begin; i < end; ++i) {
      Worker& mine = worker(w);
      const Slot* links = from.links(nodes[i]);
      const std::uint32_t degree = from.degree(nodes[i]);
      mine.list.clear();
      for (std::uint32_t j = 0; j < degree; ++j) mine.list.emplace_back(from.lengths(nodes[i])[j], links[j]);
      std::sort(mine.list.begin(), mine.list.end());
      if (degree > to.width) {
        prune(*options_.space, to.width, mine.list, mine.prune);
      }
      write_links(to, nodes[i], mine.list);
    }
  });
}

void Grower::force_links(const Layer& layer, std::span<const Forced> forced) {
  rewrite(
      layer, forced.size(), [&](std::size_t i) { return forced[i].node; },
      [&](std::size_t i, Worker& mine) {
        const auto& [node, to] = forced[i];
        const auto is_forced = [&to = to](Slot slot) { return std::find(to.begin(), to.end(), slot) != to.end(); };
        const Slot* links = layer.links(node);
        mine.slots = to;
        std::remove_copy_if(links, links + layer.degree(node), std::back_inserter(mine.slots), is_forced);
        rank(node, mine);
        std::stable_partition(mine.list.begin(), mine.list.end(), [&](Candidate c) { return is_forced(c.slot()); });
        prune(*options_.space, layer.width, mine.list, mine.prune, to.size());
        std::sort(mine.list.begin(), mine.list.end());
      });
}

// Where a small search for a node's own vector comes out: at the nearest that it finds, or at the node if it finds that
// too, or enough that lies nearer.
Slot Grower::walk_end(const Hierarchy& graph, Slot node, Worker& worker) {
  Scratch& s = worker.search;
  const Scan scan = options_.space->prepare_row(node, s.query);
  s.visited.reset(graph.slots());
  s.pool.reset(kProbeEf);
  enter(scan, graph.approach(scan, 0, s), AcceptAll{}, s);
  beam_search(graph.layer(0), scan, s);
  // By inner product others may well be nearer to a vector than it is itself, and copies are as near.
  float own;
  scan.score(&node, 1, &own);
  if (!s.pool.admits(Candidate(own, node))) return node;
  for (std::size_t i = 0; i < s.pool.size(); ++i) {
    if (s.pool[i].slot() == node) return node;
  }
  return s.pool[0].slot();
}

void Grower::ensure_found(const Hierarchy& graph, std::span<const Slot> nodes) {
  std::vector<Slot> ends(nodes.size());
  parallel_for(nodes.size(), 16, options_.threads, [&](std::size_t begin, std::size_t end, int w) {
    for (std::size_t i = begin; i < end; ++i) ends[i] = walk_end(graph, nodes[i], worker(w));
  });
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (ends[i] == nodes[i]) continue;
    // A link made for one of them since may lead to this one too.
    const Slot end = walk_end(graph, nodes[i], worker(0));
    if (end == nodes[i]) continue;
    const Forced link{end, {nodes[i]}};
    force_links(graph.layer(0), {&link, 1});
  }
}

}  // namespace annlib
