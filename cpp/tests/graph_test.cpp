/// Searching and making graphs: the pool, pruning, growing, mending. What they are kept in is in hierarchy_test.cpp.

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "codec/space.h"
#include "graph/beam_search.h"
#include "graph/connect.h"
#include "graph/grow.h"
#include "graph/hierarchy.h"
#include "graph/pool.h"
#include "graph/prune.h"
#include "graph/visited.h"
#include "tests/check.h"
#include "tests/index_fixture.h"

using namespace annlib;
using namespace annlib::test;

namespace {

const Grower::Publish kPublish = [](const std::function<void()>& write) { write(); };

std::vector<Slot> links_of(const Layer& layer, Slot slot) {
  return {layer.links(slot), layer.links(slot) + layer.degree(slot)};
}

/// A graph of one layer, and what its growing needs.
struct Plane {
  explicit Plane(const Vectors& vectors, Metric metric = Metric::l2, std::uint32_t m = 8)
      : table(table_of(vectors, metric)), space(table), graph(m) {
    graph.resize(table.slots());
    nodes.resize(table.slots());
    for (Slot i = 0; i < table.slots(); ++i) {
      graph.place(i, 0);
      nodes.set(i);
      order.push_back(i);
    }
    graph.set_entry(0);
    options.space = &space;
    options.ef_construction = 60;
  }
  void grow(int threads) {
    options.threads = threads;
    Grower(options, kPublish, {}).add(graph, graph.layer(0), order);
  }
  std::vector<Slot> nearest(const Vectors& queries, std::size_t i, std::size_t ef) {
    Scratch s;
    s.visited.reset(graph.slots());
    s.pool.reset(ef);
    const Scan scan = space.prepare(queries.query(i), s.query);
    enter(scan, graph.entry(), AcceptAll{}, s);
    beam_search(graph.layer(0), scan, s);
    std::vector<Slot> found;
    for (std::size_t j = 0; j < s.pool.size(); ++j) found.push_back(s.pool[j].slot());
    return found;
  }
  /// Lists are as they have to be, whoever made them.
  void check_lists() {
    const Layer layer = graph.layer(0);
    for (Slot i = 0; i < graph.slots(); ++i) {
      const auto links = links_of(layer, i);
      const std::set<Slot> distinct(links.begin(), links.end());
      CHECK_EQ(distinct.size(), links.size(), "slot ", i);
      CHECK(!distinct.contains(i), "slot ", i);
      CHECK(distinct.empty() || *distinct.rbegin() < graph.slots());
      const Slot* row = layer.links(i);
      CHECK(std::all_of(row + links.size(), row + layer.width, [](Slot s) { return s == kNoSlot; }), "slot ", i);
    }
  }

  Table table;
  StoredSpace space;
  Hierarchy graph;
  Bitset nodes;
  std::vector<Slot> order;
  GrowOptions options;
};

/// Slots of a table by distance to one of them, itself left out.
std::vector<Candidate> neighbours(const Table& table, const Space& space, Slot slot) {
  QueryBuffer buffer;
  std::vector<float> distances(table.slots());
  space.prepare_row(slot, buffer).score_range(0, table.slots(), distances.data());
  std::vector<Candidate> all;
  for (Slot i = 0; i < table.slots(); ++i) {
    if (i != slot) all.emplace_back(distances[i], i);
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

// Pool

TEST(pool_keeps_what_its_definition_says) {
  std::mt19937 random(1);
  Pool pool;
  for (int round = 0; round < 400; ++round) {
    const std::size_t ef = 1 + random() % 12;
    const float radius = round % 3 == 0 ? static_cast<float>(random() % 40) : -std::numeric_limits<float>::infinity();
    const unsigned share = 1 + random() % 4;
    pool.reset(ef, radius);
    std::vector<Candidate> offered;
    std::set<Slot> expanded;
    // Kept is whatever has fewer than ef passing ones before it, or lies within the radius.
    const auto kept = [&] {
      std::vector<Candidate> sorted(offered), result;
      std::sort(sorted.begin(), sorted.end());
      std::size_t passing = 0;
      for (const Candidate c : sorted) {
        if (passing < ef || c.distance() <= radius) result.push_back(c);
        passing += c.passes();
      }
      return result;
    };
    for (Slot slot = 0; slot < 120; ++slot) {
      const Candidate c(static_cast<float>(random() % 60), slot, random() % share == 0);
      const bool admitted = pool.admits(Candidate(c.distance(), slot));
      offered.push_back(c);
      const auto expected = kept();
      const bool stays = std::any_of(expected.begin(), expected.end(), [&](Candidate k) { return k.slot() == slot; });
      // A candidate that does not pass may be admitted in vain: that is known only once it was looked at.
      CHECK(admitted || !stays);
      const auto open = [&](Candidate k) { return !expanded.contains(k.slot()); };
      if (admitted) {
        const bool next = pool.insert(c);
        const auto first = std::find_if(expected.begin(), expected.end(), open);
        if (stays) CHECK_EQ(next, first->slot() == slot, "round ", round);
      }
      CHECK_EQ(pool.size(), expected.size(), "round ", round);
      for (std::size_t i = 0; i < expected.size(); ++i) CHECK_EQ(pool[i].slot(), expected[i].slot(), "round ", round);
      const auto first = std::find_if(expected.begin(), expected.end(), open);
      CHECK_EQ(pool.has_next(), first != expected.end(), "round ", round);
      if (pool.has_next() && random() % 3 == 0) {
        CHECK_EQ(pool.peek().slot(), first->slot());
        CHECK_EQ(pool.pop().slot(), first->slot());
        expanded.insert(first->slot());
      }
    }
  }
}

TEST(visited_counts_its_searches) {
  Visited visited;
  for (int search = 0; search < 600; ++search) {
    visited.reset(10);
    CHECK(visited.insert(3));
    CHECK(!visited.insert(3));
    CHECK(visited.contains(3));
    CHECK(!visited.contains(static_cast<Slot>(4 + search % 5)), search);
    if (search % 7 == 0) visited.insert(static_cast<Slot>(4 + (search + 1) % 5));
  }
  visited.reset(1000);
  CHECK(visited.insert(999));
}

// Pruning

TEST(prune_is_the_relative_neighbourhood_rule) {
  PruneScratch scratch;
  for (const Metric metric : kMetrics) {
    const Vectors vectors = Vectors::clustered(300, 6, DType::f32, 4);
    const Table table = table_of(vectors, metric);
    const StoredSpace space(table);
    for (const Slot node : {0u, 17u, 299u}) {
      for (const std::size_t most : {1u, 4u, 16u, 400u}) {
        const std::vector<Candidate> all = neighbours(table, space, node);
        std::vector<Candidate> result = all;
        prune(space, most, result, scratch);

        CHECK(std::is_sorted(result.begin(), result.end()));
        CHECK_EQ(result.size(), std::min(most, all.size()));
        CHECK(result.front() == all.front());
        CHECK(std::includes(all.begin(), all.end(), result.begin(), result.end()));
        // Whoever was chosen by the rule is in, as far as there is room.
        std::vector<Candidate> chosen;
        QueryBuffer buffer;
        for (const Candidate c : all) {
          const Scan scan = space.prepare_row(c.slot(), buffer);
          const auto hides = [&](Candidate other) {
            const Slot slot = other.slot();
            float distance;
            scan.score(&slot, 1, &distance);
            return distance <= c.distance();
          };
          if (chosen.size() < most && std::none_of(chosen.begin(), chosen.end(), hides)) chosen.push_back(c);
        }
        // Rounding may tip a tie between the two directions of a distance; a near miss is no failure.
        std::size_t missing = 0;
        for (const Candidate c : chosen) missing += !std::binary_search(result.begin(), result.end(), c);
        CHECK(missing * 20 <= chosen.size(), "node ", node, " most ", most);
      }
    }
  }
}

TEST(prune_of_few_or_equal_candidates) {
  Vectors vectors(2, DType::f32);
  for (int i = 0; i < 30; ++i) vectors.add(std::vector<float>{1, 2}.data());
  vectors.add(std::vector<float>{5, 5}.data());
  const Table table = table_of(vectors, Metric::l2);
  const StoredSpace space(table);
  PruneScratch scratch;
  std::vector<Candidate> none, all = neighbours(table, space, 0);
  prune(space, 8, none, scratch);
  CHECK(none.empty());
  std::vector<Candidate> one(all.begin(), all.begin() + 1);
  prune(space, 8, one, scratch);
  CHECK_EQ(one.size(), 1u);
  prune(space, 8, all, scratch);
  CHECK_EQ(all.size(), 8u);
  CHECK_EQ(all.front().slot(), 1u);
}

// Growing

TEST(grow_is_the_same_for_every_number_of_threads) {
  const Vectors vectors = Vectors::clustered(1200, 12, DType::f32, 2);
  for (const Metric metric : kMetrics) {
    Plane one(vectors, metric);
    one.grow(1);
    one.check_lists();
    for (const int threads : {2, 3, 4}) {
      Plane other(vectors, metric);
      other.grow(threads);
      CHECK(std::ranges::equal(one.graph.base(), other.graph.base()), "threads ", threads);
    }
  }
}

TEST(grow_makes_a_graph_that_finds_what_is_near) {
  const Vectors vectors = Vectors::clustered(1500, 12, DType::f32, 2);
  const Vectors queries = Vectors::clustered(50, 12, DType::f32, 2);
  Plane plane(vectors);
  plane.grow(2);
  connect(plane.graph, plane.nodes, plane.space, 60, kPublish);
  CHECK_EQ(reachable(plane.graph).count(), vectors.count());
  std::size_t hits = 0;
  for (std::size_t q = 0; q < queries.count(); ++q) {
    std::vector<std::pair<double, Slot>> all;
    for (Slot i = 0; i < vectors.count(); ++i) {
      all.emplace_back(reference_distance(Metric::l2, queries.row(q), vectors.row(i)), i);
    }
    std::sort(all.begin(), all.end());
    const auto found = plane.nearest(queries, q, 50);
    for (std::size_t j = 0; j < 10; ++j) hits += std::count(found.begin(), found.end(), all[j].second) > 0;
    CHECK_EQ(plane.nearest(queries, q, 1500).size(), 1500u);
  }
  CHECK(hits >= 490, hits);
}

TEST(beam_search_stops_when_told) {
  struct FiveNodes {
    bool goes_on(std::size_t hops, std::size_t) const { return hops < 5; }
  };
  const Vectors vectors = Vectors::clustered(500, 4);
  Plane plane(vectors);
  plane.grow(1);
  Scratch s;
  s.visited.reset(500);
  s.pool.reset(500);
  const Scan scan = plane.space.prepare(vectors.query(7), s.query);
  enter(scan, 0, AcceptAll{}, s);
  const Layer layer = plane.graph.layer(0);
  const AcceptAll all;
  s.need(layer.width);
  CHECK(!beam_search(ScoreLinks<AcceptAll>(layer, scan, all), FiveNodes{}, s));
  CHECK_EQ(s.cost.hops, 5u);
}

TEST(grow_reports_progress_and_stops_when_told) {
  Plane plane(Vectors::clustered(600, 4));
  std::size_t done = 0;
  Grower counting(plane.options, kPublish, [&](std::size_t n) { done += n; });
  counting.add(plane.graph, plane.graph.layer(0), plane.order);
  CHECK_EQ(done, 600u);

  struct Stop {};
  Plane other(Vectors::clustered(600, 4));
  Grower stopping(other.options, kPublish, [](std::size_t) { throw Stop{}; });
  CHECK_THROWS(Stop, stopping.add(other.graph, other.graph.layer(0), other.order));
  other.check_lists();
}

TEST(bypass_leaves_no_link_to_the_dead) {
  const Vectors vectors = Vectors::clustered(1200, 8, DType::f32, 5);
  std::vector<Slot> first;
  for (const int threads : {1, 3}) {
    Plane plane(vectors);
    plane.grow(2);
    std::mt19937 random(3);
    std::set<Slot> dead;
    while (dead.size() < 300) dead.insert(static_cast<Slot>(1 + random() % 1199));
    std::vector<Slot> living;
    Bitset nodes(1200);
    for (Slot i = 0; i < 1200; ++i) {
      if (dead.contains(i)) continue;
      living.push_back(i);
      nodes.set(i);
    }
    plane.options.threads = threads;
    Grower(plane.options, kPublish, {}).bypass(plane.graph.layer(0), living, [&](Slot s) { return !dead.contains(s); });
    for (const Slot slot : living) {
      const auto links = links_of(plane.graph.layer(0), slot);
      CHECK(std::none_of(links.begin(), links.end(), [&](Slot to) { return dead.contains(to); }), "slot ", slot);
    }
    plane.check_lists();
    connect(plane.graph, nodes, plane.space, 60, kPublish);
    const Bitset seen = reachable(plane.graph);
    for (const Slot slot : living) CHECK(seen.test(slot), "slot ", slot);
    const std::vector<Slot> lists(plane.graph.base().begin(), plane.graph.base().end());
    if (first.empty()) first = lists;
    CHECK(lists == first);
  }
}

// Mending

TEST(connect_reaches_islands) {
  const Vectors vectors = Vectors::clustered(400, 6, DType::f32, 6);
  // How many links a node has within its island: some room, or none at all.
  for (const std::uint32_t degree : {1u, 5u, 16u}) {
    Plane plane(vectors);
    const Layer layer = plane.graph.layer(0);
    for (Slot i = 0; i < 400; ++i) {  // ten islands of forty, each a circle
      for (std::uint32_t j = 0; j < std::min(degree, layer.width); ++j) {
        layer.links(i)[j] = i / 40 * 40 + (i + 1 + j) % 40;
      }
    }
    CHECK_EQ(reachable(plane.graph).count(), 40u);
    const std::size_t mended = connect(plane.graph, plane.nodes, plane.space, 60, kPublish);
    CHECK(mended >= 9, mended);
    CHECK_EQ(reachable(plane.graph).count(), 400u, "degree ", degree);
    plane.check_lists();
    CHECK_EQ(connect(plane.graph, plane.nodes, plane.space, 60, kPublish), 0u);
  }
}

TEST(connect_reaches_nodes_without_links) {
  Plane plane(Vectors::clustered(300, 6));
  connect(plane.graph, plane.nodes, plane.space, 60, kPublish);
  CHECK_EQ(reachable(plane.graph).count(), 300u);
  plane.check_lists();
  Hierarchy empty(8);
  CHECK_EQ(connect(empty, Bitset(), plane.space, 60, kPublish), 0u);
  CHECK_EQ(reachable(empty).count(), 0u);
}

TEST(ensure_found_gives_a_link_to_what_no_walk_finds) {
  Plane plane(Vectors::clustered(100, 6));
  const Layer layer = plane.graph.layer(0);
  for (Slot i = 1; i < 100; ++i) layer.links(i)[0] = i - 1;  // all lead away from 99
  const std::vector<Slot> last{99};
  plane.graph.set_entry(0);
  Grower(plane.options, kPublish, {}).ensure_found(plane.graph, last);
  CHECK(links_of(layer, 0) == (std::vector<Slot>{99}));  // where the walk ended, having no way on
}
