/// The reference: every kernel in plain C++. The other sets are tested against it.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "simd/isa.h"

namespace annlib::simd {
namespace {

/// std::bit_cast, which the library of gcc 10 lacks.
template <class To, class From>
To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

float half_to_float_one(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
  const std::uint32_t exponent = half >> 10 & 0x1f;
  const std::uint32_t fraction = half & 0x3ff;
  if (exponent == 0) return std::copysign(static_cast<float>(fraction) * 0x1p-24f, bit_cast<float>(sign));
  if (exponent < 0x1f) return bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const std::uint32_t quiet = fraction != 0 ? 0x400000 : 0;  // as the instructions do
  return bit_cast<float>(sign | 0x7f800000 | quiet | fraction << 13);
}

std::uint16_t float_to_half_one(float value) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  std::uint32_t half = 0;
  if (magnitude > 0x7f800000) {  // NaN: quiet, with what fits of the payload
    half = 0x7e00 | (magnitude >> 13 & 0x3ff);
  } else if (magnitude >= 0x47800000) {  // 2^16 and above
    half = 0x7c00;
  } else if (magnitude >= 0x38800000) {  // 2^-14: normal halves; a carry out of the fraction raises the exponent
    const std::uint32_t to_even = magnitude >> 13 & 1;
    half = (magnitude - (112u << 23) + 0xfff + to_even) >> 13;
  } else {  // subnormal halves count in units of 2^-24
    half = static_cast<std::uint32_t>(std::nearbyint(bit_cast<float>(magnitude) * 0x1p24f));
  }
  return static_cast<std::uint16_t>(sign | half);
}

struct Half {
  std::uint16_t bits;
  operator float() const { return half_to_float_one(bits); }
};

/// Element i of an array of any alignment.
template <class T>
T element(const void* array, std::size_t i) {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(array) + i * sizeof(T), sizeof(T));
  return value;
}

/// A byte of a packed row.
template <unsigned width>
struct Fields {
  static constexpr unsigned bits = width, count = 8 / width, mask = (1u << width) - 1;
};

/// Integer pairs sum in 64-bit integers, float pairs in double.
template <Op op, class Q, class X>
float row_value(const void* query, const void* row, std::size_t dim) {
  using Sum = std::conditional_t<std::is_integral_v<Q>, std::int64_t, double>;
  Sum sum = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    if constexpr (requires { X::count; }) {
      for (std::size_t field = 0; field < X::count; ++field) {
        const unsigned x = element<std::uint8_t>(row, i) >> field * X::bits & X::mask;
        sum += element<Q>(query, field * dim + i) * static_cast<int>(x);
      }
    } else {
      const Sum q = element<Q>(query, i);
      const Sum x = static_cast<Sum>(element<X>(row, i));
      sum += op == Op::l2 ? (q - x) * (q - x) : q * x;
    }
  }
  return static_cast<float>(sum);
}

template <>
float row_value<Op::dot, Parts, std::uint8_t>(const void* query, const void* row, std::size_t) {
  const auto* parts = static_cast<const Parts*>(query);
  float sum = 0.0f;
  for (const Part* p = parts->part; p < parts->part + parts->count; ++p) {
    const std::byte* bytes = static_cast<const std::byte*>(row) + p->offset;
    const auto value = p->bits == 8   ? row_value<Op::dot, std::int8_t, Fields<8>>
                       : p->bits == 4 ? row_value<Op::dot, std::int8_t, Fields<4>>
                       : p->bits == 2 ? row_value<Op::dot, std::int8_t, Fields<2>>
                                      : row_value<Op::dot, std::int8_t, Fields<1>>;
    sum += p->scale * value(p->query, bytes, p->bytes);
  }
  return sum;
}

template <Op op, class Q, class X, Tail tail>
float score_row(const Query& query, const Rows& rows, std::size_t index) {
  const std::byte* row = rows.data + index * rows.stride;
  const float v = row_value<op, Q, X>(query.data, row, rows.dim);
  const std::byte* t = rows.tails + index * rows.tail_stride;
  if constexpr (tail == Tail::times) return query.a + query.b * (v * element<float>(t, 0));
  if constexpr (tail == Tail::plus) return query.a + query.b * v + element<float>(t, 0);
  if constexpr (tail == Tail::affine) {
    return query.a + query.d * (element<float>(t, 0) + element<float>(t, 1) * (query.b * v + query.c));
  }
  if constexpr (tail == Tail::halves) {
    return query.a + query.d * (element<Half>(t, 0) + element<Half>(t, 1) * (query.b * v + query.c));
  }
  return query.a + query.b * v;
}

template <Op op, class Q, class X, Tail tail>
void score_ids(const Query& query, const Rows& rows, const std::uint32_t* ids, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = score_row<op, Q, X, tail>(query, rows, ids[i]);
}

template <Op op, class Q, class X, Tail tail>
void score_range(const Query& query, const Rows& rows, std::size_t first, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = score_row<op, Q, X, tail>(query, rows, first + i);
}

template <Op op, class Q, class X, Tail tail>
void score_block(const Query* queries, std::size_t count, const Rows& rows, const std::uint32_t* ids, std::size_t n,
                 float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t q = 0; q < count; ++q) out[i * count + q] = score_row<op, Q, X, tail>(queries[q], rows, ids[i]);
  }
}

template <Op op, class Q, class X, Tail tail>
Scorer scorer_of() {
  return {score_ids<op, Q, X, tail>, score_range<op, Q, X, tail>, score_block<op, Q, X, tail>};
}

template <Op op, class Q, class X>
Scorer scorer_of(Tail tail) {
  switch (tail) {
    case Tail::none:
      return scorer_of<op, Q, X, Tail::none>();
    case Tail::times:
      return scorer_of<op, Q, X, Tail::times>();
    case Tail::plus:
      return scorer_of<op, Q, X, Tail::plus>();
    case Tail::affine:
      return scorer_of<op, Q, X, Tail::affine>();
    case Tail::halves:
      return scorer_of<op, Q, X, Tail::halves>();
  }
  return {};
}

template <Op op>
Scorer scorer_of(Pair pair, Tail tail) {
  switch (pair) {
    case Pair::f32_f32:
      return scorer_of<op, float, float>(tail);
    case Pair::f32_f16:
      return scorer_of<op, float, Half>(tail);
    case Pair::f32_i8:
      return scorer_of<op, float, std::int8_t>(tail);
    case Pair::f32_u8:
      return scorer_of<op, float, std::uint8_t>(tail);
    case Pair::i8_i8:
      return scorer_of<op, std::int8_t, std::int8_t>(tail);
    case Pair::u8_u8:
      return scorer_of<op, std::uint8_t, std::uint8_t>(tail);
    case Pair::q8_u8:
      if constexpr (op == Op::dot) return scorer_of<op, std::int8_t, std::uint8_t>(tail);
      break;
    case Pair::q8_u4:
      if constexpr (op == Op::dot) return scorer_of<op, std::int8_t, Fields<4>>(tail);
      break;
    case Pair::parts:
      if constexpr (op == Op::dot) return scorer_of<op, Parts, std::uint8_t>(tail);
      break;
  }
  return {};
}

Scorer scorer(Op op, Pair pair, Tail tail) {
  return op == Op::l2 ? scorer_of<Op::l2>(pair, tail) : scorer_of<Op::dot>(pair, tail);
}

void half_to_float(const std::uint16_t* in, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = half_to_float_one(in[i]);
}

void float_to_half(const float* in, std::size_t n, std::uint16_t* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = float_to_half_one(in[i]);
}

float norm2(const float* in, std::size_t n) { return row_value<Op::dot, float, float>(in, in, n); }

/// NaN becomes `low`, in every set.
float round_and_clamp(float value, float low, float high) {
  const float above = value > low ? value : low;
  return std::nearbyint(above < high ? above : high);
}

std::int32_t quantize_i8(const float* in, std::size_t n, float scale, std::int8_t* out) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = static_cast<std::int8_t>(round_and_clamp(in[i] * scale, -127.0f, 127.0f));
    sum += out[i];
  }
  return sum;
}

void quantize_u8(const float* in, const float* offset, const float* inv_step, std::size_t n, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = static_cast<std::uint8_t>(round_and_clamp((in[i] - offset[i]) * inv_step[i], 0.0f, 255.0f));
  }
}

void affine_u8(const std::uint8_t* in, const float* times, const float* add, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = std::fma(static_cast<float>(in[i]), times[i], add[i]);
}

float max_abs(const float* in, std::size_t n) {
  float largest = 0.0f;
  for (std::size_t i = 0; i < n; ++i) {
    if (std::fabs(in[i]) > largest) largest = std::fabs(in[i]);
  }
  return largest;
}

std::size_t argmin(const float* in, std::size_t n) {
  return static_cast<std::size_t>(std::min_element(in, in + n) - in);
}

std::size_t within(const float* in, const float* limits, std::size_t n, std::uint32_t* out) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!(in[i] > limits[i])) out[found++] = static_cast<std::uint32_t>(i);
  }
  return found;
}

std::size_t first_nonfinite(const float* in, std::size_t n) {
  std::size_t i = 0;
  while (i < n && std::isfinite(in[i])) ++i;
  return i;
}

std::size_t first_nonfinite_half(const std::uint16_t* in, std::size_t n) {
  std::size_t i = 0;
  while (i < n && (in[i] & 0x7c00) != 0x7c00) ++i;
  return i;
}

void fht(float* x, std::size_t log2n) {
  const std::size_t n = std::size_t{1} << log2n;
  for (std::size_t h = 1; h < n; h *= 2) {
    for (std::size_t i = 0; i < n; i += 2 * h) {
      for (std::size_t j = i; j < i + h; ++j) {
        const float a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
    }
  }
}

std::uint32_t scan_block(const BlockQuery& query, const std::byte* block, float base, float lean, float bound,
                         float* out) {
  const auto* codes = reinterpret_cast<const std::uint8_t*>(block + kBlockFactorBytes);
  std::uint32_t below = 0;
  for (std::size_t i = 0; i < kBlockRows; ++i) {
    std::uint32_t sum = 0;
    for (std::size_t t = 0; t < query.count; ++t) {
      sum += query.tables[t * 16 + (codes[t * 16 + i % 16] >> i / 16 * 4 & 15)];
    }
    const float value = query.scale * static_cast<float>(sum) + query.offset;
    out[i] = base + lean * element<float>(block, i) + element<float>(block, kBlockRows + i) * value;
    below |= std::uint32_t{out[i] < bound} << i;
  }
  return below;
}

std::uint32_t test_bits(const std::uint64_t* words, const std::uint32_t* numbers) {
  std::uint32_t set = 0;
  for (std::size_t i = 0; i < kBlockRows; ++i) {
    if (numbers[i] == ~0u) continue;
    set |= static_cast<std::uint32_t>(words[numbers[i] / 64] >> numbers[i] % 64 & 1) << i;
  }
  return set;
}

SignSums sign_codes(const float* r, const float* c, std::size_t n, std::uint8_t* codes) {
  double magnitude = 0, other = 0;
  std::fill_n(codes, n / 4, std::uint8_t{0});
  for (std::size_t i = 0; i < n; ++i) {
    magnitude += std::fabs(r[i]);
    other += std::signbit(r[i]) ? -c[i] : c[i];
    codes[i / 4] = static_cast<std::uint8_t>(codes[i / 4] | int{!(r[i] < 0)} << i % 4);
  }
  return {static_cast<float>(magnitude), static_cast<float>(other)};
}

std::int32_t sign_tables(const std::int8_t* levels, std::size_t n, std::uint8_t* tables) {
  std::int32_t below = 0;
  for (std::size_t i = 0; i < n; i += 4) {
    std::int32_t least = 0;
    for (std::size_t b = 0; b < 4; ++b) least += std::min<std::int32_t>(levels[i + b], 0);
    for (std::size_t code = 0; code < 16; ++code) {
      std::int32_t entry = -least;
      for (std::size_t b = 0; b < 4; ++b) entry += code >> b & 1 ? levels[i + b] : 0;
      tables[4 * i + code] = static_cast<std::uint8_t>(entry);
    }
    below += least;
  }
  return below;
}

/// Table k advances a byte by k more zero bytes, so that eight bytes are looked up at once ("slicing by 8":
/// Kounavis and Berry, "A systematic approach to building high performance software-based CRC generators", 2005).
constexpr std::array<std::array<std::uint32_t, 256>, 8> make_crc_tables() {
  constexpr std::uint32_t kReflectedPolynomial = 0x82f63b78;
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? kReflectedPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[k - 1][byte];
      tables[k][byte] = before >> 8 ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr auto kCrcTables = make_crc_tables();

std::uint32_t crc32c(std::uint32_t crc, const void* data, std::size_t n) {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  crc = ~crc;
  for (; n >= 8; n -= 8, bytes += 8) {
    std::uint32_t next = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      const std::uint32_t mixed_in = k < 4 ? crc >> 8 * k & 0xff : 0;
      next ^= kCrcTables[7 - k][bytes[k] ^ mixed_in];
    }
    crc = next;
  }
  for (; n > 0; --n, ++bytes) crc = crc >> 8 ^ kCrcTables[0][(crc ^ *bytes) & 0xff];
  return ~crc;
}

}  // namespace

constinit const Kernels kScalarKernels{
    .isa = Isa::scalar,
    .name = "scalar",
    .scorer = scorer,
    .half_to_float = half_to_float,
    .float_to_half = float_to_half,
    .norm2 = norm2,
    .quantize_i8 = quantize_i8,
    .quantize_u8 = quantize_u8,
    .affine_u8 = affine_u8,
    .max_abs = max_abs,
    .argmin = argmin,
    .within = within,
    .first_nonfinite = first_nonfinite,
    .first_nonfinite_half = first_nonfinite_half,
    .fht = fht,
    .scan_block = scan_block,
    .test_bits = test_bits,
    .sign_codes = sign_codes,
    .sign_tables = sign_tables,
    .crc32c = crc32c,
};

}  // namespace annlib::simd
