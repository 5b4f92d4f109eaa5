/// Which groups of filter indexes cover an expression.

#include "hnsw/filter_index.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/check.h"

using namespace annlib;

namespace {

using Interval = IntervalSet::Interval;
using Kind = Expression::Kind;

/// One with groups of these values and sizes.
std::unique_ptr<FilterIndex> index_of(std::vector<std::pair<Interval, std::size_t>> groups) {
  auto index = std::make_unique<FilterIndex>();
  std::size_t begin = 0;
  for (auto& [values, size] : groups) {
    index->groups.push_back({std::move(values), begin, begin + size});
    begin += size;
  }
  return index;
}

Expression values(const std::string& column, std::vector<Interval> intervals, bool null = false) {
  Expression leaf{Kind::value};
  leaf.column = column;
  leaf.null = null;
  leaf.values = IntervalSet(std::move(intervals));
  return leaf;
}

Interval one(const std::string& text) { return {text, successor(text)}; }

/// By label b (30), c (20); by day the windows up to 50 (100), from 25 to 75 (90), from 50 on (100), and the inner
/// ones up to 25 (40) and from 25 to 50 (45).
FilterIndexes specimen() {
  FilterIndexes indexes;
  indexes.emplace("label", index_of({{one("b"), 30}, {one("c"), 20}}));
  indexes.emplace(
      "day",
      index_of(
          {{{"", "50"}, 100}, {{"", "25"}, 40}, {{"25", "50"}, 45}, {{"25", "75"}, 90}, {{"50", std::nullopt}, 100}}));
  return indexes;
}

std::size_t members(const std::optional<FilterCover>& cover) { return cover ? cover->members : 0; }

}  // namespace

TEST(filter_index_the_smallest_group_that_holds_a_range) {
  const FilterIndexes indexes = specimen();
  const auto day = [&](const std::string& begin, const std::optional<std::string>& end) {
    return members(find_cover(values("day", {{begin, end}}), indexes));
  };
  CHECK(day("30", "40") == 45 && day("25", "50") == 45 && day("", "25") == 40 && day("", "10") == 40);
  CHECK(day("20", "30") == 100 && day("40", "60") == 90);
  CHECK(day("60", std::nullopt) == 100);
  // Where none holds it all, one behind the other.
  CHECK(day("", std::nullopt) == 200);
  CHECK(day("30", "80") == 190);
}

TEST(filter_index_labels_are_covered_where_all_are) {
  const FilterIndexes indexes = specimen();
  CHECK(members(find_cover(values("label", {one("b")}), indexes)) == 30);
  CHECK(members(find_cover(values("label", {one("b"), one("c")}), indexes)) == 50);
  CHECK(!find_cover(values("label", {one("b"), one("d")}), indexes));
  CHECK(!find_cover(values("label", {{"b", "c"}}), indexes));  // between them there are others
  CHECK(!find_cover(values("label", {one("b")}, true), indexes));
  CHECK(!find_cover(values("year", {one("b")}), indexes));
  Expression element = values("label", {one("b")});
  element.kind = Kind::element;
  CHECK(members(find_cover(element, indexes)) == 30);
  element.negated = true;
  CHECK(!find_cover(element, indexes));
}

TEST(filter_index_conjunctions_and_disjunctions) {
  const FilterIndexes indexes = specimen();
  const Expression b = values("label", {one("b")}), c = values("label", {one("c")}), rare = values("label", {one("x")});
  const Expression early = values("day", {{"", "10"}});
  CHECK(members(find_cover(all_of({b, early}), indexes)) == 30);
  CHECK(members(find_cover(all_of({rare, early}), indexes)) == 40);
  CHECK(members(find_cover(any_of({b, early}), indexes)) == 70);
  CHECK(!find_cover(any_of({rare, early}), indexes));
  // A group that both sides need is walked once.
  const auto cover = find_cover(any_of({all_of({b, early}), all_of({b, values("day", {{"60", "70"}})}), c}), indexes);
  CHECK(cover && cover->parts.size() == 2 && cover->members == 50);
  // Listed items are not covered, and do not keep what they are joined with from it.
  const Expression items{Kind::items};
  CHECK(members(find_cover(all_of({items, b}), indexes)) == 30);
  CHECK(!find_cover(items, indexes) && !find_cover(any_of({items, b}), indexes));
  CHECK(!find_cover({Kind::everything}, indexes) && !find_cover({Kind::nothing}, indexes));
}
