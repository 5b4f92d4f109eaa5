/// The kernel loops, once for all instruction sets. Each set's file includes this inside its own anonymous namespace
/// and target region (so there are no includes but of score.inl.h and block.inl.h, and no std:: functions here), after
/// it has defined
///
///   struct Float                  a vector of floats: Vec, lanes, zero, load(const T*) for T = float, uint16 (half),
///                                 int8, uint8; load_first(p, count) with zeros behind, 0 < count < lanes;
///                                 load_tail(p, i, n) elements i..n of p, n - i < lanes, the rest zeros;
///                                 broadcast, add, sub, mul, fma, abs, max, min (the second operand where the first
///                                 is NaN), sum, exchange<h> (lane i gets lane i ^ h), and store to float, half, int8,
///                                 uint8 (rounding to nearest even)
///   IntegerTerm<Op, Q, X>         a Term, see score.inl.h, whose int32 result is exact up to kExactDim elements
///   kTile                         how many queries with four accumulators of floats the registers have room for
///   Lookup                        see block.inl.h
///   PackedTerm<bits>              a Term of signed query bytes and packed rows, exact up to 2^20 dimensions
///   Columns                       see columns.inl.h
///   crc32c_byte, crc32c_word      one step of a CRC-32C over 1 or 8 bytes
///
/// None of the loads touches a byte outside the row: rows may end where a mapping ends.

#include "simd/score.inl.h"

/// out[i] = f(in[i], ...) for whole vectors, then once more for what is left, through a buffer.
template <class Out, class Function, class... In>
inline void map(Function f, std::size_t n, Out* out, const In*... in) {
  std::size_t i = 0;
  for (; i + Float::lanes <= n; i += Float::lanes) Float::store(out + i, f(Float::load(in + i)...));
  if (i < n) {
    Out rest[Float::lanes];
    Float::store(rest, f(Float::load_first(in + i, n - i)...));
    __builtin_memcpy(out + i, rest, (n - i) * sizeof(Out));
  }
}

/// Not a lambda: one without captures has a conversion to a function pointer, which gcc compiles for no target.
struct Same {
  Float::Vec operator()(Float::Vec v) const { return v; }
};

void half_to_float(const std::uint16_t* in, std::size_t n, float* out) { map(Same{}, n, out, in); }
void float_to_half(const float* in, std::size_t n, std::uint16_t* out) { map(Same{}, n, out, in); }

float norm2(const float* in, std::size_t n) { return row_value<FloatTerm<Op::dot, float>>(in, in, n); }

struct Clamp {
  float low, high;
  Float::Vec operator()(Float::Vec v) const {
    return Float::min(Float::max(v, Float::broadcast(low)), Float::broadcast(high));
  }
};

std::int32_t quantize_i8(const float* in, std::size_t n, float scale, std::int8_t* out) {
  const Clamp clamp{-127.0f, 127.0f};
  map([scale, clamp](Float::Vec v) { return clamp(Float::mul(v, Float::broadcast(scale))); }, n, out, in);
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += out[i];
  return sum;
}

void quantize_u8(const float* in, const float* offset, const float* inv_step, std::size_t n, std::uint8_t* out) {
  const Clamp clamp{0.0f, 255.0f};
  map([clamp](Float::Vec v, Float::Vec o, Float::Vec s) { return clamp(Float::mul(Float::sub(v, o), s)); }, n, out, in,
      offset, inv_step);
}

/// Not a lambda, like Same.
struct Fma {
  Float::Vec operator()(Float::Vec a, Float::Vec b, Float::Vec c) const { return Float::fma(a, b, c); }
};

void affine_u8(const std::uint8_t* in, const float* times, const float* add, std::size_t n, float* out) {
  map(Fma{}, n, out, in, times, add);
}

float max_abs(const float* in, std::size_t n) {
  Float::Vec largest = Float::zero();
  std::size_t i = 0;
  for (; i + Float::lanes <= n; i += Float::lanes) largest = Float::max(Float::abs(Float::load(in + i)), largest);
  if (i < n) largest = Float::max(Float::abs(Float::load_first(in + i, n - i)), largest);
  float lanes[Float::lanes];
  Float::store(lanes, largest);
  float result = 0.0f;
  for (const float lane : lanes) result = lane > result ? lane : result;
  return result;
}

std::size_t argmin(const float* in, std::size_t n) {
  Float::Vec least = Float::load(in);
  for (std::size_t i = Float::lanes; i < n; i += Float::lanes) least = Float::min(Float::load(in + i), least);
  float lanes[Float::lanes];
  Float::store(lanes, least);
  float result = lanes[0];
  for (const float lane : lanes) result = lane < result ? lane : result;
  const Float::Vec wanted = Float::broadcast(result);
  for (std::size_t i = 0;; i += Float::lanes) {
    const std::uint32_t greater = Float::below(wanted, Float::load(in + i));
    const std::uint32_t equal = ~greater & ((1u << Float::lanes) - 1);
    if (equal != 0) return i + static_cast<std::size_t>(__builtin_ctz(equal));
  }
}

std::size_t within(const float* in, const float* limits, std::size_t n, std::uint32_t* out) {
  std::size_t found = 0;
  const auto take = [&](std::uint32_t lanes, std::size_t i) {
    for (; lanes != 0; lanes &= lanes - 1) out[found++] = static_cast<std::uint32_t>(i) + __builtin_ctz(lanes);
  };
  constexpr std::uint32_t all = (1u << Float::lanes) - 1;
  std::size_t i = 0;
  for (; i + Float::lanes <= n; i += Float::lanes) {
    take(~Float::below(Float::load(limits + i), Float::load(in + i)) & all, i);
  }
  if (i < n) {
    const Float::Vec last = Float::load_first(limits + i, n - i);
    take(~Float::below(last, Float::load_first(in + i, n - i)) & ((1u << (n - i)) - 1), i);
  }
  return found;
}

/// Index of the first element that has every bit of `mask` (an exponent of all ones is infinity or NaN), or n. Blocks
/// are tested without branches, so that the compiler makes vectors of them; the block with a hit is then searched.
template <class Bits>
inline std::size_t first_with_bits(const void* in, std::size_t n, Bits mask) {
  constexpr std::size_t kBlock = 256 / sizeof(Bits);
  const auto* bytes = static_cast<const std::byte*>(in);
  const auto hit = [bytes, mask](std::size_t i) {
    Bits bits;
    __builtin_memcpy(&bits, bytes + i * sizeof bits, sizeof bits);
    return static_cast<Bits>((bits & mask) == mask);
  };
  std::size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    Bits any = 0;
    for (std::size_t j = 0; j < kBlock; ++j) any |= hit(i + j);
    if (any) break;
  }
  while (i < n && !hit(i)) ++i;
  return i;
}

std::size_t first_nonfinite(const float* in, std::size_t n) {
  return first_with_bits<std::uint32_t>(in, n, 0x7f800000);
}

std::size_t first_nonfinite_half(const std::uint16_t* in, std::size_t n) {
  return first_with_bits<std::uint16_t>(in, n, 0x7c00);
}

/// For h = 1, 2, 4, 8: +1 in the lower lane of each pair (i, i + h), -1 in the upper one.
alignas(64) constexpr float kButterflySigns[4][16] = {{1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
                                                      {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
                                                      {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
                                                      {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1}};

/// All levels of the transform that stay within a vector. The product is exact, so the fma rounds as a sum does.
template <std::size_t level = 0>
inline Float::Vec butterflies_within(Float::Vec v) {
  constexpr std::size_t h = std::size_t{1} << level;
  if constexpr (h < Float::lanes) {
    return butterflies_within<level + 1>(Float::fma(v, Float::load(kButterflySigns[level]), Float::exchange<h>(v)));
  } else {
    return v;
  }
}

void fht(float* x, std::size_t log2n) {
  constexpr std::size_t L = Float::lanes;
  const std::size_t n = std::size_t{1} << log2n;
  if (n < L) return kScalarKernels.fht(x, log2n);
  for (std::size_t i = 0; i < n; i += L) Float::store(x + i, butterflies_within(Float::load(x + i)));
  std::size_t h = L;
  for (; 4 * h <= n; h *= 4) {  // two levels a pass, so that memory is read and written half as often
    for (float* block = x; block < x + n; block += 4 * h) {
      for (float* p = block; p < block + h; p += L) {
        const Float::Vec a = Float::load(p), b = Float::load(p + h);
        const Float::Vec c = Float::load(p + 2 * h), d = Float::load(p + 3 * h);
        const Float::Vec ab = Float::add(a, b), a_b = Float::sub(a, b), cd = Float::add(c, d), c_d = Float::sub(c, d);
        Float::store(p, Float::add(ab, cd));
        Float::store(p + h, Float::add(a_b, c_d));
        Float::store(p + 2 * h, Float::sub(ab, cd));
        Float::store(p + 3 * h, Float::sub(a_b, c_d));
      }
    }
  }
  if (h == n) return;
  for (std::size_t i = 0; i < h; i += L) {
    const Float::Vec a = Float::load(x + i), b = Float::load(x + i + h);
    Float::store(x + i, Float::add(a, b));
    Float::store(x + i + h, Float::sub(a, b));
  }
}

std::uint32_t crc32c(std::uint32_t crc, const void* data, std::size_t n) {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  crc = ~crc;
  for (; n >= sizeof(std::uint64_t); n -= sizeof(std::uint64_t), bytes += sizeof(std::uint64_t)) {
    std::uint64_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    crc = crc32c_word(crc, word);
  }
  for (; n > 0; --n, ++bytes) crc = crc32c_byte(crc, *bytes);
  return ~crc;
}

#include "simd/block.inl.h"

constexpr Kernels make_kernels(Isa isa, const char* name) {
  return {.isa = isa,
          .name = name,
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
          .crc32c = crc32c};
}
