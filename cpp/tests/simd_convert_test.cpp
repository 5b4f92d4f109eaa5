/// Conversions, quantisers, searches and checksums of every set, against the scalar reference and known answers.

#include <algorithm>
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

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::uint16_t to_half(float value) {
  std::uint16_t half = 0;
  reference().float_to_half(&value, 1, &half);
  return half;
}

float from_half(std::uint16_t half) {
  float value = 0;
  reference().half_to_float(&half, 1, &value);
  return value;
}

/// Floats at and around every rounding decision of float_to_half, and some of every kind besides.
std::vector<float> half_borders() {
  std::vector<float> values = {0.0f, -0.0f, kInf, -kInf, kNan, -kNan, 1e-45f, 3e-39f, 0x1p-25f, 0x1.8p-25f, 3e38f};
  for (std::uint32_t half = 0; half < 0x7c00; ++half) {
    const float low = from_half(static_cast<std::uint16_t>(half));
    const float high = half + 1 < 0x7c00 ? from_half(static_cast<std::uint16_t>(half + 1)) : 65536.0f;
    const float middle = (low + high) / 2;
    for (const float value : {low, std::nextafterf(middle, low), middle, std::nextafterf(middle, high)}) {
      values.push_back(value);
      values.push_back(-value);
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 100000; ++i) values.push_back(from_bits(static_cast<std::uint32_t>(random())));
  return values;
}

std::vector<float> random_floats(std::size_t n, float largest, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-largest, largest);
  std::vector<float> values(n);
  for (float& value : values) value = uniform(random);
  return values;
}

}  // namespace

TEST(reference_half_known_values) {
  const std::pair<std::uint16_t, float> exact[] = {
      {0x0000, 0.0f},         {0x3c00, 1.0f},     {0xc000, -2.0f},    {0x3555, 0.33325195f}, {0x0001, 0x1p-24f},
      {0x03ff, 0x1.ff8p-15f}, {0x0400, 0x1p-14f}, {0x7bff, 65504.0f}, {0x7c00, kInf},        {0xfc00, -kInf}};
  for (const auto& [half, value] : exact) {
    CHECK_EQ(from_half(half), value);
    CHECK_EQ(to_half(value), half);
  }
  CHECK_EQ(bits_of(from_half(0x8000)), bits_of(-0.0f));
  CHECK_EQ(to_half(65519.996f), 0x7bff);
  CHECK_EQ(to_half(65520.0f), 0x7c00);
  CHECK_EQ(to_half(0x1p-25f), 0x0000);
  CHECK_EQ(to_half(0x1.000002p-25f), 0x0001);
  for (std::uint32_t half = 0; half < 0x7c00; ++half) {
    const auto low = static_cast<std::uint16_t>(half);
    CHECK_EQ(to_half(from_half(low)), low);
    if (half + 1 == 0x7c00) break;
    const float a = from_half(low), b = from_half(static_cast<std::uint16_t>(half + 1)), middle = (a + b) / 2;
    CHECK(a < b, "half ", half);
    CHECK_EQ(to_half(std::nextafterf(middle, a)), half);
    CHECK_EQ(to_half(middle), half + (half & 1), "tie to even");
    CHECK_EQ(to_half(std::nextafterf(middle, b)), half + 1);
  }
}

TEST(half_to_float_all_values) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  std::vector<float> expected(halves.size()), actual(halves.size());
  reference().half_to_float(halves.data(), halves.size(), expected.data());
  for (const Kernels* set : available_kernels()) {
    set->half_to_float(halves.data(), halves.size(), actual.data());
    for (std::size_t i = 0; i < halves.size(); ++i) {
      CHECK_EQ(bits_of(actual[i]), bits_of(expected[i]), set->name, " half ", i);
    }
  }
}

TEST(float_to_half_at_every_border) {
  const std::vector<float> values = half_borders();
  std::vector<std::uint16_t> expected(values.size()), actual(values.size());
  reference().float_to_half(values.data(), values.size(), expected.data());
  for (const Kernels* set : available_kernels()) {
    set->float_to_half(values.data(), values.size(), actual.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      CHECK_EQ(actual[i], expected[i], set->name, " float bits ", bits_of(values[i]));
    }
  }
}

TEST(conversions_and_sums_of_all_lengths) {
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 0; n <= 130; ++n) {
      const std::vector<float> values = random_floats(n, 3.0f, static_cast<unsigned>(n));
      Guarded<float> in(n), back(n);
      std::copy(values.begin(), values.end(), in.begin());
      Guarded<std::uint16_t> halves(n);
      set->float_to_half(in.data(), n, halves.data());
      set->half_to_float(halves.data(), n, back.data());
      double norm2 = 0;
      float largest = 0;
      for (std::size_t i = 0; i < n; ++i) {
        CHECK_EQ(halves[i], to_half(in[i]), set->name, " n ", n, " i ", i);
        CHECK_EQ(back[i], from_half(halves[i]), set->name, " n ", n, " i ", i);
        norm2 += double{in[i]} * in[i];
        largest = std::max(largest, std::fabs(in[i]));
      }
      CHECK_NEAR(set->norm2(in.data(), n), norm2, 1e-6 * norm2, set->name, " n ", n);
      CHECK_EQ(set->max_abs(in.data(), n), largest, set->name, " n ", n);
    }
  }
}

TEST(max_abs_finds_every_position) {
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 1; n <= 70; ++n) {
      for (std::size_t at = 0; at < n; ++at) {
        Guarded<float> in(n);
        std::fill(in.begin(), in.end(), 0.5f);
        in[at] = -2.0f;
        CHECK_EQ(set->max_abs(in.data(), n), 2.0f, set->name, " n ", n, " at ", at);
      }
    }
  }
}

TEST(quantisers_agree_with_reference) {
  const float special[] = {0.5f,   1.5f,  2.5f, -0.5f, -1.5f, 126.5f, 127.5f, -127.5f,     -128.0f,
                           255.5f, 1e30f, kInf, -kInf, kNan,  -0.0f,  254.5f, 0.49999997f, -3e38f};
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 0; n <= 130; ++n) {
      for (const float scale : {1.0f, 0.37f, 1e10f}) {
        const std::vector<float> values = random_floats(n, 300.0f, static_cast<unsigned>(n));
        Guarded<float> in(n), offset(n), inv_step(n);
        for (std::size_t i = 0; i < n; ++i) {
          in[i] = i % 3 == 1 ? special[(i + n) % std::size(special)] : values[i];
          offset[i] = i % 2 == 0 ? 0.0f : values[n - 1 - i];
          inv_step[i] = scale;
        }
        Guarded<std::int8_t> codes(n), expected_codes(n);
        const std::int32_t sum = set->quantize_i8(in.data(), n, scale, codes.data());
        CHECK_EQ(sum, reference().quantize_i8(in.data(), n, scale, expected_codes.data()), set->name, " n ", n);
        Guarded<std::uint8_t> bytes(n), expected_bytes(n);
        set->quantize_u8(in.data(), offset.data(), inv_step.data(), n, bytes.data());
        reference().quantize_u8(in.data(), offset.data(), inv_step.data(), n, expected_bytes.data());
        for (std::size_t i = 0; i < n; ++i) {
          CHECK_EQ(codes[i], expected_codes[i], set->name, " n ", n, " value ", in[i] * scale);
          CHECK_EQ(bytes[i], expected_bytes[i], set->name, " n ", n, " value ", (in[i] - offset[i]) * scale);
        }
      }
    }
  }
}

TEST(affine_agrees_with_reference_to_the_bit) {
  std::mt19937 random(9);
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 0; n <= 130; ++n) {
      Guarded<std::uint8_t> in(n);
      Guarded<float> times(n), add(n), out(n), expected(n);
      const std::vector<float> factors = random_floats(2 * n, 3.0f, static_cast<unsigned>(n));
      for (std::size_t i = 0; i < n; ++i) {
        in[i] = static_cast<std::uint8_t>(random() % 256);
        times[i] = factors[2 * i];
        add[i] = factors[2 * i + 1];
      }
      set->affine_u8(in.data(), times.data(), add.data(), n, out.data());
      reference().affine_u8(in.data(), times.data(), add.data(), n, expected.data());
      for (std::size_t i = 0; i < n; ++i) {
        CHECK_EQ(bits_of(out[i]), bits_of(expected[i]), set->name, " n ", n, " at ", i);
        CHECK(std::fabs(out[i] - (static_cast<float>(in[i]) * times[i] + add[i])) < 1e-3f);
      }
    }
  }
}

TEST(reference_quantisers_known_values) {
  const float in[] = {-1000, -127.5f, -2.5f, -0.5f, 0.5f, 1.5f, 126.5f, 127.5f, 300};
  const std::int8_t signed_codes[] = {-127, -127, -2, 0, 0, 2, 126, 127, 127};
  const std::uint8_t unsigned_codes[] = {0, 0, 0, 2, 2, 4, 128, 130, 255};
  constexpr std::size_t n = std::size(in);
  std::int8_t codes[n];
  CHECK_EQ(reference().quantize_i8(in, n, 1.0f, codes), 126);
  CHECK(std::memcmp(codes, signed_codes, n) == 0);
  float offset[n], inv_step[n];
  std::fill_n(offset, n, -2.0f);
  std::fill_n(inv_step, n, 1.0f);
  std::uint8_t bytes[n];
  reference().quantize_u8(in, offset, inv_step, n, bytes);
  for (std::size_t i = 0; i < n; ++i) CHECK_EQ(bytes[i], unsigned_codes[i], "i ", i);
}

TEST(fht_agrees_with_reference_to_the_bit) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const Kernels* set : available_kernels()) {
    for (std::size_t log2n = 0; log2n <= 13; ++log2n) {
      const std::size_t n = std::size_t{1} << log2n;
      Guarded<float> x(n), expected(n);
      for (std::size_t i = 0; i < n; ++i) x[i] = expected[i] = normal(random);
      set->fht(x.data(), log2n);
      reference().fht(expected.data(), log2n);
      for (std::size_t i = 0; i < n; ++i) CHECK_EQ(bits_of(x[i]), bits_of(expected[i]), set->name, " n ", n, " at ", i);
    }
  }
}

TEST(reference_fht_is_the_hadamard_matrix) {
  for (std::size_t row = 0; row < 32; ++row) {
    float x[32] = {};
    x[row] = 1.0f;
    reference().fht(x, 5);
    for (std::size_t column = 0; column < 32; ++column) {
      CHECK_EQ(x[column], std::popcount(row & column) % 2 == 0 ? 1.0f : -1.0f, row, " ", column);
    }
  }
}

TEST(nonfinite_is_found_at_every_position) {
  for (const Kernels* set : available_kernels()) {
    for (const std::size_t n : {0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200, 300, 513}) {
      Guarded<float> in(n);
      Guarded<std::uint16_t> halves(n);
      std::fill(in.begin(), in.end(), -std::numeric_limits<float>::max());
      std::fill(halves.begin(), halves.end(), std::uint16_t{0xfbff});
      CHECK_EQ(set->first_nonfinite(in.data(), n), n, set->name);
      CHECK_EQ(set->first_nonfinite_half(halves.data(), n), n, set->name);
      for (std::size_t at = n; at-- > 0;) {  // backwards: the later ones stay
        in[at] = at % 3 == 0 ? kInf : at % 3 == 1 ? -kInf : kNan;
        halves[at] = at % 3 == 0 ? 0x7c00 : at % 3 == 1 ? 0xfc00 : 0x7c01;
        CHECK_EQ(set->first_nonfinite(in.data(), n), at, set->name, " n ", n);
        CHECK_EQ(set->first_nonfinite_half(halves.data(), n), at, set->name, " n ", n);
      }
    }
  }
}

TEST(crc32c_known_answers) {  // RFC 3720, appendix B.4, and the usual check value
  std::uint8_t zeros[32] = {}, ones[32], up[32], down[32];
  std::memset(ones, 0xff, 32);
  for (std::uint8_t i = 0; i < 32; ++i) up[i] = i, down[31 - i] = i;
  for (const Kernels* set : available_kernels()) {
    CHECK_EQ(set->crc32c(0, "123456789", 9), 0xe3069283u, set->name);
    CHECK_EQ(set->crc32c(0, zeros, 32), 0x8a9136aau, set->name);
    CHECK_EQ(set->crc32c(0, ones, 32), 0x62a8ab43u, set->name);
    CHECK_EQ(set->crc32c(0, up, 32), 0x46dd794eu, set->name);
    CHECK_EQ(set->crc32c(0, down, 32), 0x113fdb5cu, set->name);
    CHECK_EQ(set->crc32c(0, nullptr, 0), 0u, set->name);
  }
}

TEST(crc32c_of_all_lengths_and_offsets) {
  Guarded<std::uint8_t> data(316);
  std::mt19937 random(3);
  for (std::uint8_t& byte : data) byte = static_cast<std::uint8_t>(random());
  for (const Kernels* set : available_kernels()) {
    for (std::size_t n = 0; n <= 300; ++n) {
      for (std::size_t offset = 0; offset < 16; ++offset) {
        const std::uint8_t* at = data.end() - n - offset;
        const std::uint32_t expected = reference().crc32c(0, at, n);
        CHECK_EQ(set->crc32c(0, at, n), expected, set->name, " n ", n, " offset ", offset);
        const std::size_t cut = n / 3;
        CHECK_EQ(set->crc32c(set->crc32c(0, at, cut), at + cut, n - cut), expected, set->name, " n ", n, " cut ", cut);
      }
    }
  }
}
