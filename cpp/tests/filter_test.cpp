/// Sets of intervals, dictionaries, and expressions evaluated by scans and by sorted columns.

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "filter/evaluate.h"
#include "filter/filter_cache.h"
#include "tests/check.h"
#include "tests/index_fixture.h"

using namespace annlib;
using namespace annlib::test;

namespace {

using Interval = IntervalSet::Interval;

std::vector<std::string> points() {
  std::vector<std::string> all{""};
  for (char a = 'a'; a <= 'h'; ++a) {
    all.push_back({a});
    all.push_back({a, '\0'});
    all.push_back({a, 'b'});
  }
  return all;
}

IntervalSet random_set(std::mt19937& random) {
  const auto all = points();
  std::vector<Interval> intervals;
  for (std::size_t n = random() % 4; n > 0; --n) {
    const std::string& end = all[random() % all.size()];
    intervals.push_back({all[random() % all.size()], random() % 5 == 0 ? std::nullopt : std::optional(end)});
  }
  return IntervalSet(std::move(intervals));
}

Expression leaf(const std::string& column, IntervalSet values, bool null = false) {
  Expression made{Expression::Kind::value};
  made.column = column;
  made.values = std::move(values);
  made.null = null;
  return made;
}

/// Of every so many slots, one.
Expression every(std::size_t n, std::size_t slots) {
  Bitset some(slots);
  for (std::size_t i = 0; i < slots; i += n) some.set(i);
  Expression made{Expression::Kind::items};
  made.hash = std::to_string(n);
  made.slots = std::make_shared<const SlotSet>(std::move(some));
  return made;
}

constexpr std::size_t kRows = 3000;

/// Ints from 0 to 99 (every eleventh null), strings "0" to "9", and lists of these.
Table attributed_table(const Vectors& vectors) {
  Table table = table_of(vectors, Metric::l2);
  AttributeRows ints, strings, lists;
  strings.type = AttributeType::string;
  lists.type = AttributeType::strings;
  strings.texts.push_back(0);
  lists.texts.push_back(0);
  lists.lists.push_back(0);
  std::mt19937 random(5);
  for (std::size_t i = 0; i < kRows; ++i) {
    ints.present.push_back(i % 11 != 0);
    ints.integers.push_back(static_cast<std::int64_t>(random() % 100));
    strings.present.push_back(1);
    strings.text += static_cast<char>('0' + random() % 10);
    strings.texts.push_back(static_cast<std::int64_t>(strings.text.size()));
    lists.present.push_back(1);
    for (std::size_t j = random() % 4; j > 0; --j) {
      lists.text += static_cast<char>('0' + random() % 10);
      lists.texts.push_back(static_cast<std::int64_t>(lists.text.size()));
    }
    lists.lists.push_back(static_cast<std::int64_t>(lists.text.size()));
  }
  table.columns().put("i", Column(ints));
  table.columns().put("s", Column(strings));
  table.columns().put("t", Column(lists));
  table.touch();
  return table;
}

IntervalSet keys(std::int64_t first, std::int64_t last) {
  return IntervalSet({{bytes_of_key(key_of(first)), bytes_of_key(key_of(last))}});
}

IntervalSet digits(char first, char last) { return IntervalSet({{{first}, std::string{last}}}); }

Bitset bits_of(const SlotSet& slots) {
  Bitset bits(slots.size());
  slots.for_each([&](std::size_t slot) { bits.set(slot); });
  CHECK_EQ(bits.count(), slots.count());
  return bits;
}

bool same(const Bitset& a, const Bitset& b) {
  return a.size() == b.size() && std::memcmp(a.words().data(), b.words().data(), a.words().bytes().size()) == 0;
}

}  // namespace

TEST(filter_interval_sets_are_sets) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    const IntervalSet a = random_set(random), b = random_set(random);
    for (const std::string& x : points()) {
      CHECK_EQ(a.complement().contains(x), !a.contains(x));
      CHECK_EQ(a.unite(b).contains(x), a.contains(x) || b.contains(x));
      CHECK_EQ(a.intersect(b).contains(x), a.contains(x) && b.contains(x));
    }
    CHECK(a.complement().complement().intervals() == a.intervals());
    CHECK(a.unite(b).intervals() == b.unite(a).intervals());
    CHECK(a.intersect(b).complement().intervals() == a.complement().unite(b.complement()).intervals());
  }
  CHECK(IntervalSet::all().everything() && IntervalSet::all().complement().empty());
}

TEST(filter_keys_are_in_the_order_of_numbers) {
  const double reals[] = {-std::numeric_limits<double>::infinity(), -1e300, -1, -1e-310, 0, 1e-310, 1, 1e300};
  for (std::size_t i = 0; i + 1 < std::size(reals); ++i) {
    CHECK(bytes_of_key(key_of(reals[i])) < bytes_of_key(key_of(reals[i + 1])));
  }
  CHECK_EQ(key_of(-0.0), key_of(0.0));
  for (const std::int64_t x : {INT64_MIN, std::int64_t{-1}, std::int64_t{0}, INT64_MAX - 1}) {
    CHECK(bytes_of_key(key_of(x)) < bytes_of_key(key_of(x + 1)));
    CHECK_EQ(key_of_bytes(bytes_of_key(key_of(x))), key_of(x));
  }
}

TEST(filter_utf8) {
  for (const char* good : {"", "a", "\xC3\xBC", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"}) {
    CHECK(is_utf8(good));
  }
  for (const char* bad : {"\x80", "\xC3", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF",
                          "\xE2\x82", "\xC3\x41"}) {
    CHECK(!is_utf8(bad));
  }
}

TEST(filter_scans_and_orders_agree) {
  const Vectors vectors = Vectors::clustered(kRows, 2);
  Table table = attributed_table(vectors);
  for (Slot slot = 0; slot < kRows; slot += 13) table.hide(slot);
  ColumnOrders orders;
  for (const auto& [name, column] : table.columns().all()) {
    orders.emplace(name, std::make_shared<const ColumnOrder>(column));
  }
  std::vector<Expression> leaves;
  for (const bool null : {false, true}) {
    for (const std::int64_t last : {10, 11, 20, 60, 99, 100, 200}) leaves.push_back(leaf("i", keys(10, last), null));
    leaves.push_back(leaf("i", keys(3, 9).unite(keys(20, 40)).unite(keys(70, 71)), null));
  }
  for (const char last : {'1', '2', '6', ':'}) leaves.push_back(leaf("s", digits('1', last)));
  for (const char one : {'0', '7', 'x'}) {
    leaves.push_back(leaf("t", IntervalSet({{{one}, successor({&one, 1})}})));
    leaves.back().kind = Expression::Kind::element;
  }
  for (const std::size_t n : {2, 7, 500}) leaves.push_back(every(n, kRows));
  for (std::size_t i = 0, n = leaves.size(); i < n; ++i) leaves.push_back(complement(leaves[i]));
  for (const Expression& a : leaves) {
    for (const Expression& b : leaves) {
      CHECK_EQ(any_of({a, b}).key(), complement(all_of({complement(a), complement(b)})).key());
      for (const Expression& both : {a, all_of({a, b}), any_of({a, b})}) {
        const Bitset scanned = bits_of(evaluate(both, table, {}));
        CHECK(same(scanned, bits_of(evaluate(both, table, orders))));
        Bitset others = table.alive_bits().copy();
        others -= scanned;
        CHECK(same(bits_of(evaluate(complement(both), table, orders)), others));
      }
    }
  }
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    const auto one = [&] { return leaves[random() % leaves.size()]; };
    const Expression deep = all_of({one(), any_of({one(), all_of({one(), one()}), one()})});
    const SlotSet ordered = evaluate(deep, table, orders);
    CHECK(same(bits_of(evaluate(deep, table, {})), bits_of(ordered)));
    // What was listed on the way takes no room.
    CHECK(ordered.memory_bytes() <= sizeof(SlotSet) + Bitset::words_for(kRows) * sizeof(std::uint64_t));
  }
}

TEST(filter_normal_forms) {
  const Expression a = leaf("i", keys(0, 10)), b = leaf("i", keys(5, 20)), s = leaf("s", digits('1', '3'));
  CHECK_EQ(all_of({a, b}).key(), leaf("i", keys(5, 10)).key());
  CHECK_EQ(any_of({a, b}).key(), leaf("i", keys(0, 20)).key());
  CHECK_EQ(all_of({s, a, s}).key(), all_of({a, s}).key());
  CHECK_EQ(all_of({all_of({a, s}), b}).key(), all_of({leaf("i", keys(5, 10)), s}).key());
  CHECK_EQ(complement(any_of({a, s})).key(), all_of({complement(s), complement(a)}).key());
  const Expression third = every(3, 9), fourth = every(4, 9);
  CHECK_EQ(all_of({third, s, third}).key(), all_of({s, every(3, 9)}).key());
  CHECK(third.key() != fourth.key() && third.key() != complement(third).key());
  CHECK_EQ(complement(any_of({third, s})).key(), all_of({complement(s), complement(third)}).key());
  CHECK(all_of({a, complement(a), s}).kind == Expression::Kind::nothing);
  CHECK(any_of({s, a, complement(a)}).kind == Expression::Kind::everything);
}

TEST(filter_cache_follows_the_table_and_keeps_to_its_bytes) {
  const Vectors vectors = Vectors::clustered(kRows, 2);
  Table table = attributed_table(vectors);
  const auto at_most = [](std::int64_t value) {
    std::string encoded{5, 1};
    const auto put = [&](auto number) { encoded.append(reinterpret_cast<const char*>(&number), sizeof(number)); };
    put(std::int32_t{-1});
    put(std::uint32_t{1});
    encoded += 'i';
    put(std::uint32_t{1});
    encoded += '\1';
    put(value);
    return encoded;
  };
  FilterCache cache(4000);
  const Passing first = cache.evaluate(at_most(50), table);
  CHECK(cache.evaluate(at_most(50), table).slots == first.slots);
  const auto passing = static_cast<Slot>(first.slots->next(0));
  table.hide(passing);
  CHECK_EQ(cache.evaluate(at_most(50), table).count, first.count - 1);
  for (std::int64_t value = 0; value < 40; ++value) cache.evaluate(at_most(value), table);
  CHECK(cache.memory_bytes() < 4000 + cache.order_bytes("i") + 1);
  CHECK_THROWS(ValueError, cache.evaluate("\5", table));
  CHECK_THROWS(ValueError, cache.evaluate(at_most(3) + "x", table));
}

TEST(filter_cache_keeps_what_items_are_listed) {
  const Vectors vectors = Vectors::clustered(kRows, 2);
  Table table = attributed_table(vectors);
  const auto listed = [](char tag, char name, const std::string& bytes) {
    std::string encoded{tag};
    encoded.append(16, name);
    const auto length = static_cast<std::uint64_t>(bytes.size());
    encoded.append(reinterpret_cast<const char*>(&length), sizeof(length));
    return encoded + bytes;
  };
  std::string ids;
  for (const std::int64_t id : {3, 3, 5, 100'000}) ids.append(reinterpret_cast<const char*>(&id), sizeof(id));
  std::string mask(kRows, '\0');
  mask[5] = mask[8] = '\1';
  FilterCache cache(4000);
  const Passing first = cache.evaluate(listed(6, 'a', ids), table);
  CHECK(first.count == 2 && first.slots->contains(3) && first.slots->contains(5));
  CHECK(cache.evaluate(listed(6, 'a', ids), table).slots == first.slots);
  CHECK_EQ(cache.evaluate(listed(7, 'b', mask), table).count, 2);
  const std::string both = std::string{3, 2, 0, 0, 0} + listed(6, 'a', ids) + listed(7, 'b', mask);
  CHECK_EQ(cache.evaluate(both, table).count, 1);
  for (char name = 'c'; name < 'z'; ++name)
    CHECK_EQ(cache.evaluate(std::string{2} + listed(6, name, ids), table).count, kRows - 2);
  CHECK(cache.memory_bytes() <= 4000);
  table.hide(5);
  CHECK_EQ(cache.evaluate(listed(6, 'a', ids), table).count, 1);
  CHECK_THROWS(ValueError, cache.evaluate(listed(7, 'b', mask), table));
  CHECK_THROWS(ValueError, cache.evaluate(listed(6, 'x', ids + "x"), table));
  CHECK_THROWS(ValueError, cache.evaluate(listed(6, 'x', ids).substr(0, 20), table));
  CHECK_THROWS(ValueError, cache.evaluate(listed(6, 'x', ids).substr(0, 30), table));
}
