/// What graphs are kept in: layers, and equal vectors.

#include "graph/hierarchy.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "graph/twins.h"
#include "tests/check.h"

using namespace annlib;

// Layers

TEST(hierarchy_keeps_rows_apart) {
  Hierarchy graph(4);
  graph.resize(6);
  graph.place(2, 3);
  graph.place(4, 1);
  graph.set_entry(2);
  CHECK_EQ(graph.top(), 3);
  std::set<const Slot*> rows;
  for (int level = 1; level <= 3; ++level) rows.insert(graph.layer(level).links(2));
  rows.insert(graph.layer(1).links(4));
  CHECK_EQ(rows.size(), 4u);
  graph.layer(1).links(4)[0] = 2;
  graph.clear(4);
  CHECK_EQ(graph.layer(1).degree(4), 0u);
  const Slot* old = graph.layer(1).links(4);
  graph.place(4, 0);
  graph.place(4, 0);
  CHECK_EQ(graph.level(4), 0);
  graph.place(2, 2);  // fits the rows that it has
  CHECK(old != graph.layer(1).links(2));
}

TEST(hierarchy_takes_no_hostile_parts) {
  constexpr std::uint32_t kM = 2;
  const auto parts = [] {
    Hierarchy::Parts p;
    p.base.resize(3 * 2 * kM, kNoSlot);
    p.at.resize(3, kNoSlot);
    p.level.resize(3);
    p.upper.resize(3 * kM, kNoSlot);
    p.level[0] = 2;
    p.at[0] = 0;
    p.level[1] = 1;
    p.at[1] = 2;
    p.base[0] = 1;
    p.upper[0] = 1;
    p.entry = 0;
    return p;
  };
  Bitset nodes(3);
  for (Slot i = 0; i < 3; ++i) nodes.set(i);
  Hierarchy(kM).restore(parts(), nodes);
  const std::map<const char*, void (*)(Hierarchy::Parts&)> faults{
      {"short base", [](Hierarchy::Parts& p) { p.base.resize(5); }},
      {"short at", [](Hierarchy::Parts& p) { p.at.resize(2); }},
      {"half a row", [](Hierarchy::Parts& p) { p.upper.resize(5); }},
      {"level too high", [](Hierarchy::Parts& p) { p.level[2] = 16; }},
      {"rows outside", [](Hierarchy::Parts& p) { p.at[1] = 3; }},
      {"rows far outside", [](Hierarchy::Parts& p) { p.at[1] = kNoSlot; }},
      {"rows of another", [](Hierarchy::Parts& p) { p.at[1] = 1; }},
      {"entry outside", [](Hierarchy::Parts& p) { p.entry = 3; }},
      {"link outside", [](Hierarchy::Parts& p) { p.base[0] = 3; }},
      {"link up", [](Hierarchy::Parts& p) { p.upper[0] = 2; }},
      {"link up to a lower one", [](Hierarchy::Parts& p) { p.upper[kM] = 1; }},
  };
  for (const auto& [name, fault] : faults) {
    Hierarchy::Parts p = parts();
    fault(p);
    CHECK_THROWS(CorruptError, Hierarchy(kM).restore(std::move(p), nodes));
  }
}

TEST(hierarchy_takes_no_links_of_other_slots) {
  constexpr std::uint32_t kM = 2;
  for (const bool from : {true, false}) {
    Hierarchy::Parts p;
    p.base.resize(2 * 2 * kM, kNoSlot);
    p.at.resize(2, kNoSlot);
    p.level.resize(2);
    p.entry = 0;
    p.base[from ? 2 * kM : 0] = from ? 0 : 1;
    Bitset nodes(2);
    nodes.set(0);
    CHECK_THROWS(CorruptError, Hierarchy(kM).restore(std::move(p), nodes));
  }
}

// Twins

TEST(twins_against_a_map) {
  std::mt19937 random(9);
  Twins twins;
  std::map<Slot, Slot> leader_of;  // by twin
  const auto check = [&] {
    std::vector<std::pair<Slot, Slot>> expected;
    std::map<Slot, std::set<Slot>> groups;
    for (const auto& [twin, leader] : leader_of) {
      expected.emplace_back(leader, twin);
      groups[leader].insert(twin);
    }
    std::sort(expected.begin(), expected.end());
    CHECK(twins.pairs() == expected);
    CHECK_EQ(twins.count(), leader_of.size());
    CHECK_EQ(twins.empty(), leader_of.empty());
    for (Slot slot = 0; slot < 400; ++slot) {
      CHECK_EQ(twins.is_twin(slot), leader_of.contains(slot));
      CHECK_EQ(twins.leads(slot), groups.contains(slot));
      const auto group = twins.of(slot);
      CHECK(std::set<Slot>(group.begin(), group.end()) == groups[slot]);
      CHECK_EQ(group.size(), groups[slot].size());
    }
  };
  for (int step = 0; step < 3000; ++step) {
    const auto twin = static_cast<Slot>(100 + random() % 200);
    if (leader_of.contains(twin)) {
      twins.remove(twin);
      leader_of.erase(twin);
    } else {
      const auto leader = static_cast<Slot>(random() % 20);
      twins.add(leader, twin);
      leader_of[twin] = leader;
    }
    if (step % 100 == 0) check();
  }
}
