/// Links forced on lists, and neighbourhoods of queries that are mended by them.

#include "graph/repair.h"

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "graph/prune.h"
#include "hnsw/hnsw_index.h"
#include "tests/check.h"
#include "tests/index_fixture.h"
#include "tests/index_harness.h"

using namespace annlib;
using namespace annlib::test;

namespace {

constexpr std::uint32_t kM = 16;
const Grower::Publish kPublish = [](const std::function<void()>& write) { write(); };

/// A grown graph of one layer.
struct Grown {
  explicit Grown(const Vectors& vectors) : table(table_of(vectors, Metric::l2)), space(table), graph(kM) {
    graph.resize(table.slots());
    std::vector<Slot> order;
    for (Slot i = 0; i < table.slots(); ++i) {
      graph.place(i, 0);
      order.push_back(i);
    }
    graph.set_entry(0);
    options.space = &space;
    options.ef_construction = 60;
    options.threads = 1;
    Grower(options, kPublish, {}).add(graph, graph.layer(0), order);
  }
  std::vector<Slot> links(Slot slot) const {
    const Layer layer = graph.layer(0);
    return {layer.links(slot), layer.links(slot) + layer.degree(slot)};
  }
  std::vector<std::vector<Slot>> lists() const {
    std::vector<std::vector<Slot>> all;
    for (Slot i = 0; i < graph.slots(); ++i) all.push_back(links(i));
    return all;
  }
  /// What `from` leads to without leaving `nodes`, the plain way.
  std::set<Slot> reach(Slot from, std::span<const Slot> nodes) const {
    const std::set<Slot> inside(nodes.begin(), nodes.end());
    std::set<Slot> seen{from};
    std::vector<Slot> stack{from};
    while (!stack.empty()) {
      const Slot at = stack.back();
      stack.pop_back();
      for (const Slot to : links(at)) {
        if (inside.contains(to) && seen.insert(to).second) stack.push_back(to);
      }
    }
    return seen;
  }

  Table table;
  StoredSpace space;
  Hierarchy graph;
  GrowOptions options;
};

/// Nodes drawn at random: as far from each other as those around a query that lies far from the data.
std::vector<Neighbourhood> strewn(std::size_t count, std::size_t size, Slot slots, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Neighbourhood> drawn(count);
  for (Neighbourhood& nodes : drawn) {
    while (nodes.size() < size) {
      const Slot slot = static_cast<Slot>(random() % slots);
      if (std::find(nodes.begin(), nodes.end(), slot) == nodes.end()) nodes.push_back(slot);
    }
  }
  return drawn;
}

}  // namespace

TEST(pruning_keeps_what_it_must_and_judges_the_rest_beside_it) {
  // On a line: 0 at the origin, then 1, 2, 3 on one side and -1.5 on the other.
  Vectors line(1, DType::f32);
  for (const float x : {0.0f, 1.0f, 2.0f, 3.0f, -1.5f}) line.add(&x);
  const Table table = table_of(line, Metric::l2);
  const StoredSpace space(table);
  PruneScratch scratch;
  const auto chosen = [&](std::vector<Candidate> candidates, std::size_t most, std::size_t always) {
    prune(space, most, candidates, scratch, always);
    std::vector<Slot> slots;
    for (const Candidate c : candidates) slots.push_back(c.slot());
    return slots;
  };
  const Candidate one(1, 1), two(4, 2), three(9, 3), left(2.25, 4);
  CHECK(chosen({one, left, two, three}, 2, 0) == (std::vector<Slot>{1, 4}));
  CHECK(chosen({three, one, left, two}, 2, 1) == (std::vector<Slot>{3, 1}));
  CHECK(chosen({three, two, one, left}, 3, 2) == (std::vector<Slot>{3, 2, 4}));  // 1 is nearer to 2 than to 0
  CHECK(chosen({two, three, one, left}, 2, 2) == (std::vector<Slot>{2, 3}));
}

TEST(forced_links_are_there_and_lists_no_longer) {
  Grown grown(Vectors::clustered(500, 6));
  const Layer layer = grown.graph.layer(0);
  const std::vector<Grower::Forced> forced{{7, {400, 401, 402}}, {9, {grown.links(9).front(), 400}}};
  const std::set<Slot> before(layer.links(7), layer.links(7) + layer.degree(7));
  Grower(grown.options, kPublish, {}).force_links(layer, forced);
  for (const auto& [node, to] : forced) {
    const std::vector<Slot> links = grown.links(node);
    CHECK_EQ(std::set<Slot>(links.begin(), links.end()).size(), links.size());
    CHECK(links.size() <= layer.width);
    for (const Slot slot : to) CHECK(std::find(links.begin(), links.end(), slot) != links.end());
  }
  for (const Slot slot : grown.links(7)) CHECK(before.contains(slot) || slot >= 400);
}

TEST(repaired_neighbourhoods_lead_everywhere_within) {
  for (const std::size_t size : {2u, 5u, 8u, 20u, 64u}) {
    Grown grown(Vectors::clustered(2000, 8));
    const std::vector<Neighbourhood> one = strewn(1, size, 2000, 3);
    const RepairCounts counts = repair(grown.graph, one, grown.options, kPublish, {});
    CHECK_EQ(counts.neighbourhoods, 1u);
    CHECK_EQ(counts.broken, 1u);
    CHECK(counts.links > 0 && counts.lists > 0);
    for (std::size_t within = 8; within < 2 * size; within *= 2) {
      const std::span<const Slot> nodes = std::span(one[0]).first(std::min(within, size));
      for (const Slot node : nodes) CHECK_EQ(grown.reach(node, nodes).size(), nodes.size(), within, " of ", size);
    }
    CHECK_EQ(repair(grown.graph, one, grown.options, kPublish, {}).broken, 0u);
  }
}

TEST(repair_depends_on_the_set_of_neighbourhoods_alone) {
  std::vector<Neighbourhood> some = strewn(300, 16, 1000, 4);
  Grown first(Vectors::clustered(1000, 8)), second(Vectors::clustered(1000, 8));
  const auto grown = first.lists();
  CHECK(second.lists() == grown);
  const RepairCounts counts = repair(first.graph, some, first.options, kPublish, {});
  CHECK(first.lists() != grown);
  for (std::size_t i = 0; i < 20; ++i) some.push_back(Neighbourhood(some[i]));
  std::shuffle(some.begin(), some.end(), std::mt19937(1));
  second.options.threads = 4;
  CHECK_EQ(repair(second.graph, some, second.options, kPublish, {}).links, counts.links);
  CHECK_EQ(counts.neighbourhoods, 300u);
  CHECK(first.lists() == second.lists());
  // More was wanted than lists have room for: half of what was there stays, and no list has a link twice.
  for (Slot i = 0; i < 1000; ++i) {
    const std::vector<Slot> links = first.links(i);
    const std::set<Slot> distinct(links.begin(), links.end());
    CHECK_EQ(distinct.size(), links.size());
    CHECK(!distinct.contains(i) && links.size() <= 2 * kM);
    const auto old = std::count_if(grown[i].begin(), grown[i].end(), [&](Slot to) { return distinct.contains(to); });
    CHECK(static_cast<std::size_t>(old) >= std::min<std::size_t>(grown[i].size(), kM), old);
  }
}

TEST(a_repair_that_was_stopped_has_changed_nothing) {
  struct Stop {};
  const Vectors vectors = Vectors::clustered(1500, 32), queries = Vectors::clustered(200, 32, DType::f32, 9);
  for (const Layout layout : {Layout::plain, Layout::fused}) {
    HnswParams params = params_of(32);
    params.layout = layout;
    HnswIndex index(params);
    add(index, vectors, ids_from(0, 1500));
    const auto before = sections_of(index);
    for (const std::size_t when : {150u, 201u, 330u}) {  // while neighbours are found, and while lists are written
      const auto stop = [&](std::size_t done, std::size_t) {
        if (done > when) throw Stop{};
      };
      CHECK_THROWS(Stop, (index.repair(queries.block(), 20, 2, stop), 0));
      CHECK(sections_of(index) == before, when);
    }
    CHECK_THROWS(ValueError, (index.repair(queries.block(), 1, 2, {}), 0));
    CHECK_THROWS(ValueError, (index.repair(queries.block(), 65, 2, {}), 0));
    CHECK_THROWS(ValueError, (index.repair(Vectors::clustered(3, 31).block(), 20, 2, {}), 0));
    CHECK(sections_of(index) == before);
    CHECK(index.repair(queries.block(), 20, 2, {}).links > 0);
    CHECK(sections_of(index) != before);
    CHECK_EQ(index.unreachable(), 0u);
  }
}
