/// The kernels of neighbour codes, of every set that this machine has, against the scalar reference.

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "simd/simd.h"
#include "tests/check.h"
#include "tests/guarded.h"

using namespace annlib::simd;
using annlib::test::Guarded;

namespace {

const Kernels& reference() { return *kernels_for(Isa::scalar); }

}  // namespace

TEST(scan_block_agrees_with_reference) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const Kernels* set : available_kernels()) {
    for (const std::size_t tables : {4, 8, 12, 32, 96, 252, 256, 260, 512, 1028}) {
      for (const bool largest : {false, true}) {
        Guarded<std::byte> block(block_bytes(tables));
        Guarded<std::uint8_t> entries(tables * 16);
        for (std::byte& b : block) b = static_cast<std::byte>(random());
        for (std::uint8_t& e : entries) e = largest ? 255 : static_cast<std::uint8_t>(random());
        float factors[2 * kBlockRows];
        for (float& f : factors) f = normal(random);
        factors[3] = std::numeric_limits<float>::quiet_NaN();
        std::memcpy(block.data(), factors, sizeof factors);
        const BlockQuery query{entries.data(), tables, 0.01f, -3.0f};
        float found[kBlockRows], expected[kBlockRows];
        const std::uint32_t below = set->scan_block(query, block.data(), 2.0f, 0.7f, 1.0f, found);
        reference().scan_block(query, block.data(), 2.0f, 0.7f, 1.0f, expected);
        for (std::size_t i = 0; i < kBlockRows; ++i) {
          CHECK_EQ((below >> i & 1) != 0, found[i] < 1.0f, set->name, " ", i);
          if (i == 3) continue;
          CHECK_NEAR(found[i], expected[i], 1e-5 * (1 + std::fabs(expected[i])), set->name, " tables ", tables);
        }
        // With unit factors the sums themselves come out, exactly.
        for (std::size_t i = 0; i < kBlockRows; ++i) factors[i] = 0, factors[kBlockRows + i] = 1;
        std::memcpy(block.data(), factors, sizeof factors);
        const BlockQuery sums{entries.data(), tables, 1.0f, 0.0f};
        set->scan_block(sums, block.data(), 0.0f, 1.0f, 0.0f, found);
        reference().scan_block(sums, block.data(), 0.0f, 1.0f, 0.0f, expected);
        for (std::size_t i = 0; i < kBlockRows; ++i) CHECK_EQ(found[i], expected[i], set->name, " tables ", tables);
      }
    }
  }
}

TEST(test_bits_agrees_with_reference) {
  std::mt19937 random(5);
  for (const Kernels* set : available_kernels()) {
    for (std::size_t words = 1; words <= 40; words += words < 4 ? 1 : 12) {
      Guarded<std::uint64_t> bits(words);
      for (std::uint64_t& word : bits) word = std::uint64_t{random()} << 32 | random();
      Guarded<std::uint32_t> numbers(kBlockRows);
      for (std::uint32_t& n : numbers)
        n = random() % 5 == 0 ? ~0u : static_cast<std::uint32_t>(random() % (64 * words));
      const std::uint32_t found = set->test_bits(bits.data(), numbers.data());
      CHECK_EQ(found, reference().test_bits(bits.data(), numbers.data()), set->name, " words ", words);
      for (std::size_t i = 0; i < kBlockRows; ++i) {
        const bool expected = numbers[i] != ~0u && (bits[numbers[i] / 64] >> numbers[i] % 64 & 1) != 0;
        CHECK_EQ((found >> i & 1) != 0, expected, set->name, " words ", words, " at ", i);
      }
    }
  }
}

TEST(sign_codes_agree_with_reference) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 16; n <= 1040; n += n < 160 ? 16 : 176) {
      Guarded<float> r(n), c(n);
      for (std::size_t i = 0; i < n; ++i) r[i] = i % 7 == 3 ? 0.0f : normal(random), c[i] = normal(random);
      Guarded<std::uint8_t> found(n / 4), expected(n / 4);
      const SignSums sums = set->sign_codes(r.data(), c.data(), n, found.data());
      const SignSums known = reference().sign_codes(r.data(), c.data(), n, expected.data());
      for (std::size_t i = 0; i < n / 4; ++i) CHECK_EQ(found[i], expected[i], set->name, " n ", n, " at ", i);
      CHECK_NEAR(sums.magnitude, known.magnitude, 1e-5 * known.magnitude, set->name, " n ", n);
      CHECK_NEAR(sums.other, known.other, 1e-5 * known.magnitude, set->name, " n ", n);
    }
  }
}

TEST(sign_tables_agree_with_reference) {
  std::mt19937 random(4);
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 4; n <= 1040; n += n < 160 ? 4 : 176) {
      Guarded<std::int8_t> levels(n);
      for (std::int8_t& level : levels) level = static_cast<std::int8_t>(static_cast<int>(random() % 127) - 63);
      for (std::size_t i = 0; i < 4; ++i) levels[i] = -63;
      Guarded<std::uint8_t> found(4 * n), expected(4 * n);
      const std::int32_t below = set->sign_tables(levels.data(), n, found.data());
      CHECK_EQ(below, reference().sign_tables(levels.data(), n, expected.data()), set->name, " n ", n);
      for (std::size_t i = 0; i < 4 * n; ++i) CHECK_EQ(found[i], expected[i], set->name, " n ", n, " at ", i);
    }
  }
}

TEST(within_are_the_values_not_beyond_their_limits) {
  const float kNan = std::numeric_limits<float>::quiet_NaN();
  std::mt19937 random(4);
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 0; n <= 70; ++n) {
      Guarded<float> x(n), limits(n);
      Guarded<std::uint32_t> found(n);
      std::vector<std::uint32_t> expected(n);
      for (int round = 0; round < 20; ++round) {
        // Few values, so that many are equal; now and then a NaN on either side.
        for (float& v : x) v = random() % 16 == 0 ? kNan : static_cast<float>(random() % 4);
        for (float& v : limits) v = random() % 16 == 0 ? kNan : static_cast<float>(random() % 4);
        const std::size_t count = set->within(x.data(), limits.data(), n, found.data());
        CHECK_EQ(count, reference().within(x.data(), limits.data(), n, expected.data()), set->name, " n ", n);
        for (std::size_t i = 0; i < count; ++i) CHECK_EQ(found[i], expected[i], set->name, " n ", n, " at ", i);
      }
    }
  }
}

TEST(argmin_is_the_first_of_the_least) {
  std::mt19937 random(3);
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 16; n <= 160; n += 16) {
      Guarded<float> x(n);
      for (int round = 0; round < 50; ++round) {
        // Few values, so that there are many least ones; now and then none but infinities.
        for (float& v : x) {
          v = round % 10 == 9 ? std::numeric_limits<float>::infinity() : static_cast<float>(random() % 8);
        }
        CHECK_EQ(set->argmin(x.data(), n), reference().argmin(x.data(), n), set->name, " n ", n);
      }
    }
  }
}
