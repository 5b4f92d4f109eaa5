/// The ground that all rooms stand on, but for memory: sets, random numbers, threads, and the order of candidates.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/bitset.h"
#include "core/buffer.h"
#include "core/candidate.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/radix_sort.h"
#include "core/random.h"
#include "core/slot_hash.h"
#include "core/slot_set.h"
#include "tests/check.h"

using namespace annlib;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

}  // namespace

// Bitset

TEST(bitset_against_a_vector_of_bools) {
  std::mt19937 random(1);
  for (const std::size_t n : {0u, 1u, 63u, 64u, 65u, 1000u}) {
    Bitset bits(n);
    std::vector<bool> expected(n);
    for (std::size_t step = 0; step < 3 * n; ++step) {
      const std::size_t i = random() % n;
      const bool on = random() % 2;
      on ? bits.set(i) : bits.reset(i);
      expected[i] = on;
    }
    std::vector<std::size_t> wanted, found;
    for (std::size_t i = 0; i < n; ++i) {
      CHECK_EQ(bits.test(i), expected[i], n, " ", i);
      if (expected[i]) wanted.push_back(i);
    }
    bits.for_each([&](std::size_t i) { found.push_back(i); });
    CHECK(found == wanted);
    CHECK_EQ(bits.count(), wanted.size());
  }
}

TEST(bitset_finds_the_next_set_bit_and_begins_again) {
  Bitset bits(200);
  bits.set(3);
  bits.set(64);
  bits.set(199);
  CHECK_EQ(bits.next(0), 3u);
  CHECK_EQ(bits.next(3), 3u);
  CHECK_EQ(bits.next(4), 64u);
  CHECK_EQ(bits.next(65), 199u);
  bits.reset(199);
  CHECK_EQ(bits.next(199), 3u);
  bits.reset(3);
  CHECK_EQ(bits.next(65), 64u);  // the same word, before
}

TEST(bitset_has_nothing_beyond_its_size) {
  Bitset bits(100);
  for (std::size_t i = 0; i < 100; ++i) bits.set(i);
  bits.resize(70);
  CHECK_EQ(bits.count(), 70u);
  bits.resize(300);
  CHECK_EQ(bits.count(), 70u);
  CHECK(!bits.test(70) && !bits.test(299));
}

// Random numbers

TEST(random_numbers_are_those_of_splitmix64) {
  // The published generator's first outputs for the seed 1234567.
  const std::uint64_t expected[] = {6457827717110365317ull, 3203168211198807973ull, 9817491932198370423ull,
                                    4593380528125082431ull, 16408922859458223821ull};
  for (std::uint64_t i = 0; i < std::size(expected); ++i) {
    CHECK_EQ(mix64(1234567 + (i + 1) * 0x9E3779B97F4A7C15ull), expected[i], i);
  }
}

TEST(random_numbers_are_what_they_were) {
  // Graphs depend on these: another value here is another graph for the same seed.
  CHECK_EQ(random64(0, 0, 0), 0x33FE8BD4F9C57863ull);
  CHECK_EQ(random64(1, 2, 3), 0x57B834B23CDC9D17ull);
  CHECK_EQ(random64(~0ull, 2, 1ull << 62), 0x290BB993431F975Full);
}

TEST(random_ranges) {
  CHECK_EQ(to_unit(~0ull), 1.0);
  CHECK(to_unit(0) > 0);
  CHECK_EQ(to_below(~0ull, 10), 9u);
  CHECK_EQ(to_below(0, 10), 0u);
  std::vector<int> counts(10);
  double sum = 0;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    ++counts[to_below(random64(5, 1, i), 10)];
    sum += to_unit(random64(5, 2, i));
  }
  for (const int count : counts) CHECK_NEAR(count, 10'000, 500);
  CHECK_NEAR(sum / 100'000, 0.5, 0.005);
}

// Threads

TEST(parallel_for_visits_everything_once) {
  for (const std::size_t n : {0u, 1u, 2u, 7u, 1000u}) {
    for (const std::size_t grain : {0u, 1u, 3u, 5000u}) {
      for (const int threads : {0, 1, 2, 3, 8}) {
        std::vector<std::atomic<int>> visits(n);
        std::atomic<bool> good{true};
        parallel_for(n, grain, threads, [&](std::size_t begin, std::size_t end, int worker) {
          good = good && begin < end && worker >= 0 && worker < (threads > 0 ? threads : num_threads());
          for (std::size_t i = begin; i < end; ++i) ++visits[i];
        });
        CHECK(good);
        CHECK(std::ranges::all_of(visits, [](const auto& v) { return v == 1; }), n, " ", grain, " ", threads);
      }
    }
  }
}

TEST(parallel_for_rethrows_and_goes_on) {
  for (int round = 0; round < 50; ++round) {
    for (const int threads : {1, 2, 4}) {
      std::atomic<int> running{0};
      const auto body = [&](std::size_t begin, std::size_t end, int) {
        ++running;
        const bool unlucky = begin <= 40 && 40 < end;
        --running;
        if (unlucky) throw std::runtime_error("the 40th");
      };
      CHECK_THROWS(std::runtime_error, parallel_for(100, 1, threads, body));
      CHECK_EQ(running.load(), 0);
    }
  }
}

TEST(parallel_for_nests) {
  std::atomic<int> total{0};
  parallel_for(8, 1, 4, [&](std::size_t, std::size_t, int) {
    parallel_for(8, 1, 4, [&](std::size_t begin, std::size_t end, int) {
      parallel_for(end - begin, 1, 2, [&](std::size_t a, std::size_t b, int) { total += static_cast<int>(b - a); });
    });
  });
  CHECK_EQ(total.load(), 64);
}

TEST(parallel_for_has_many_callers) {
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 6; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        parallel_for(20, 2, 3,
                     [&](std::size_t begin, std::size_t end, int) { total += static_cast<int>(end - begin); });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQ(total.load(), 6 * 100 * 20);
}

TEST(parallel_for_works_in_a_forked_child) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {  // so that forks come while the pool's locks are in use
    while (!stop) parallel_for(4, 1, 2, [](std::size_t, std::size_t, int) {});
  });
  int failures = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // a hang is a failure too
      std::atomic<int> total{0};
      parallel_for(100, 1, 4, [&](std::size_t begin, std::size_t end, int) { total += static_cast<int>(end - begin); });
      ::_exit(total == 100 ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    failures += status != 0;
  }
  stop = true;
  busy.join();
  CHECK_EQ(failures, 0);
}

TEST(number_of_threads) {
  const int usual = num_threads();
  CHECK(usual >= 1);
  set_num_threads(3);
  CHECK_EQ(num_threads(), 3);
  CHECK_THROWS(ValueError, set_num_threads(-1));
  CHECK_EQ(num_threads(), 3);
  set_num_threads(0);
  CHECK_EQ(num_threads(), usual);
}

// SlotHash

TEST(slot_hash_against_a_map) {
  std::mt19937 random(2);
  // From a hash that spreads well to one that puts all into one run, at the end of the table.
  const std::uint64_t masks[] = {~0ull, 7, 0};
  for (const std::uint64_t mask : masks) {
    std::vector<std::uint64_t> keys(2000);
    for (auto& key : keys) key = random() % 500;
    const auto hash_of = [&](std::uint64_t key) { return mask == 0 ? ~0ull : mix64(key) & mask; };
    const auto hash = [&](Slot slot) { return hash_of(keys[slot]); };
    SlotHash set;
    std::map<std::uint64_t, Slot> expected;
    for (int step = 0; step < (mask == 0 ? 3000 : 20'000); ++step) {
      const auto slot = static_cast<Slot>(random() % keys.size());
      const std::uint64_t key = keys[slot];
      const auto known = expected.find(key);
      const Slot found = set.find(hash_of(key), [&](Slot other) { return keys[other] == key; });
      CHECK_EQ(found, known == expected.end() ? kNoSlot : known->second, step);
      if (known == expected.end()) {
        set.insert(slot, hash);
        expected[key] = slot;
      } else if (random() % 3 == 0) {
        set.replace(known->second, slot, hash_of(key));
        known->second = slot;
      } else {
        set.erase(known->second, hash);
        expected.erase(known);
      }
      CHECK_EQ(set.size(), expected.size());
    }
    CHECK(set.sound(keys.size()));
    CHECK(!set.sound(expected.rbegin()->second));  // one of them is as large
    Array<Slot> cells(set.cells().size());
    std::copy_n(set.cells().data(), cells.size(), cells.data());
    set = SlotHash(std::move(cells));
    CHECK_EQ(set.size(), expected.size());
    set.reserve(5000, hash);
    for (const auto& item : expected) {
      CHECK_EQ(set.find(hash_of(item.first), [&](Slot other) { return keys[other] == item.first; }), item.second);
    }
  }
}

TEST(slot_hash_that_is_not_sound) {
  const auto sound = [](std::vector<Slot> cells) {
    Array<Slot> array(cells.size());
    std::copy(cells.begin(), cells.end(), array.data());
    return SlotHash(std::move(array)).sound(10);
  };
  std::vector<Slot> cells(16, kNoSlot);
  CHECK(sound({}) && sound(cells));
  CHECK(!sound(std::vector<Slot>(15, kNoSlot)));
  CHECK(!sound(std::vector<Slot>(4, kNoSlot)));
  cells[3] = 9;
  CHECK(sound(cells));
  cells[3] = 10;
  CHECK(!sound(cells));
  CHECK(!sound(std::vector<Slot>(16, 1)));  // a search for another would go round for ever
}

// Candidates

TEST(candidates_sort_by_distance_then_slot) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float ascending[] = {-kInf, -3e38f, -1.0f, -1e-45f, 0.0f, 1e-45f, 0.5f, 1.0f, 3e38f, kInf, nan};
  for (std::size_t i = 0; i + 1 < std::size(ascending); ++i) {
    CHECK(Candidate(ascending[i], 9) < Candidate(ascending[i + 1], 3), i);
    CHECK(Candidate(ascending[i], 3) < Candidate(ascending[i], 9), i);
    CHECK_EQ(Candidate(ascending[i], 3).distance(), ascending[i]);
    CHECK(Candidate(ascending[i], 0x3FFFFFFF) < Candidate::beyond(ascending[i]));
    CHECK(Candidate::beyond(ascending[i]) < Candidate(ascending[i + 1], 0));
    CHECK(Candidate(ascending[i], 0x3FFFFFFF) < Candidate::last());
  }
  // What an x86 machine makes of inf - inf has its sign bit set.
  CHECK(Candidate(kInf, 9) < Candidate(std::copysign(nan, -1.0f), 3));
  CHECK(std::isnan(Candidate(std::copysign(nan, -1.0f), 3).distance()));
  CHECK(Candidate(-0.0f, 1) == Candidate(0.0f, 1));
}

TEST(candidates_carry_slot_and_flags) {
  for (const Slot slot : {0u, 1u, 12345u, static_cast<Slot>(kMaxSlots - 1)}) {
    for (const bool passes : {false, true}) {
      Candidate c(-2.5f, slot, passes);
      CHECK_EQ(c.slot(), slot);
      CHECK_EQ(c.passes(), passes);
      CHECK(!c.expanded());
      c.set_expanded();
      CHECK(c.expanded());
      CHECK_EQ(c.slot(), slot);
      CHECK_EQ(c.passes(), passes);
      CHECK_EQ(c.distance(), -2.5f);
    }
  }
}

TEST(top_k_against_a_sort) {
  std::mt19937 random(3);
  TopK top;
  for (const std::size_t k : {0u, 1u, 2u, 10u, 100u, 1000u}) {
    for (const std::size_t n : {0u, 1u, 50u, 99u, 3000u}) {
      std::vector<Candidate> all;
      top.reset(k);
      for (std::size_t i = 0; i < n; ++i) {
        all.emplace_back(static_cast<float>(random() % 50), static_cast<Slot>(i));
        top.push(all.back());
        if (i % 97 == 0 && i >= k && k > 0) {
          top.shrink();
          std::vector<Candidate> so_far(all);
          std::sort(so_far.begin(), so_far.end());
          CHECK(top.bound() == so_far[k - 1]);
        }
      }
      std::sort(all.begin(), all.end());
      all.resize(std::min(k, n));
      CHECK(top.sorted() == all, k, " ", n);
    }
  }
}

// SlotSet

TEST(slot_set_is_the_same_as_a_list_and_as_a_bitmap) {
  constexpr std::size_t kSize = 1000;
  const std::vector<Slot> slots{3, 63, 64, 700, 999};
  Bitset bits(kSize), scratch;
  for (const Slot slot : slots) bits.set(slot);
  const SlotSet list(slots, kSize), bitmap(bits.copy());
  for (const SlotSet* set : {&list, &bitmap}) {
    CHECK_EQ(set->size(), kSize);
    CHECK_EQ(set->count(), slots.size());
    std::vector<Slot> seen;
    set->for_each([&](std::size_t slot) { seen.push_back(static_cast<Slot>(slot)); });
    CHECK(seen == slots);
    CHECK_EQ(set->next(0), 3u);
    CHECK_EQ(set->next(64), 64u);
    CHECK_EQ(set->next(65), 700u);
    const MarkedSlots marked(*set, scratch);
    for (Slot slot = 0; slot < kSize; ++slot) {
      CHECK_EQ(set->contains(slot), bits.test(slot));
      CHECK_EQ(marked.bits().test(slot), bits.test(slot));
    }
  }
  CHECK_EQ(scratch.count(), 0u);
  CHECK_EQ(SlotSet({5, 6}, kSize).next(7), 5u);
}

// radix_sort

TEST(radix_sort_sorts_and_keeps_equal_ones_in_order) {
  std::vector<std::pair<std::uint64_t, Slot>> items;
  for (Slot i = 0; i < 5000; ++i) items.emplace_back(random64(0, 1, i) >> (i % 4 * 16) & ~std::uint64_t{0xF00}, i);
  for (Slot i = 0; i < 100; ++i) items.emplace_back(7, 10'000 - i);
  auto expected = items;
  const auto before = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::stable_sort(expected.begin(), expected.end(), before);
  radix_sort(items, [](const auto& item) { return item.first; });
  CHECK(items == expected);
}
