#if defined(__x86_64__)

#if !defined(__clang__)  // gcc's own AVX-512 header trips this (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <type_traits>

#include "simd/isa.h"

ANNLIB_TARGET_BEGIN("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,sse4.2")

namespace annlib::simd {
namespace {

#include "simd/avx512_float.inl.h"
#include "simd/crc32c_x86.inl.h"

constexpr std::size_t kTile = 4;

struct Int32 {
  using Vec = __m512i;
  static std::int32_t sum(Vec v) { return _mm512_reduce_add_epi32(v); }
  /// The sums of four vectors, as floats: the lanes of all four are folded together.
  static void sum4(const Vec* v, float* out) {
    const Vec ab = fold_pairs(v[0], v[1]), cd = fold_pairs(v[2], v[3]);
    const Vec lanes = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    const __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _mm_storeu_ps(out, _mm_cvtepi32_ps(sums));
  }

 private:
  static Vec fold_pairs(Vec a, Vec b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  }
};

/// vpdpbusd adds products of unsigned with signed bytes to int32 lanes. Pairs of equal signedness shift one side by
/// 128, which is a flip of its top bit, and take the shift back out with a second sum of the other side:
///   u8_u8 dot: sum x*q = sum x*(q - 128) + 128 * sum x
///   i8_i8 dot: sum x*q = sum (x + 128)*q - 128 * sum q
///   l2:        with d = |q - x|, sum d*d = sum d*(d - 128) + 128 * sum d
template <Op op, class QueryElement, class RowElement>
struct IntegerTerm {
  using Q = QueryElement;
  using X = RowElement;
  struct Acc {
    __m512i products;
    __m512i shifted;  ///< sum of what the shift of 128 multiplies
  };
  using Lanes = Int32;
  static constexpr std::size_t lanes = 64;
  static constexpr bool exact = true, in_blocks = true;
  static constexpr bool same_sign = std::is_same_v<Q, X>;
  static constexpr bool is_signed = std::is_same_v<X, std::int8_t>;

  static Acc zero() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
  static void step(Acc& acc, const Q* q, const X* x, std::size_t) {
    add(acc, _mm512_loadu_si512(q), _mm512_loadu_si512(x));
  }
  static void tail(Acc& acc, const Q* q, const X* x, std::size_t i, std::size_t n) {
    const __mmask64 first = (std::uint64_t{1} << (n - i)) - 1;
    add(acc, _mm512_maskz_loadu_epi8(first, q + i), _mm512_maskz_loadu_epi8(first, x + i));
  }
  static __m512i merge(const Acc& a, const Acc& b, const Acc& c, const Acc& d) {
    const __m512i products =
        _mm512_add_epi32(_mm512_add_epi32(a.products, b.products), _mm512_add_epi32(c.products, d.products));
    if constexpr (!same_sign) return products;
    const __m512i shifted = _mm512_slli_epi32(
        _mm512_add_epi32(_mm512_add_epi32(a.shifted, b.shifted), _mm512_add_epi32(c.shifted, d.shifted)), 7);
    constexpr bool subtract = op == Op::dot && is_signed;
    return subtract ? _mm512_sub_epi32(products, shifted) : _mm512_add_epi32(products, shifted);
  }

 private:
  static void add(Acc& acc, __m512i q, __m512i x) {
    const __m512i one = _mm512_set1_epi8(1);
    if constexpr (!same_sign) {
      acc.products = _mm512_dpbusd_epi32(acc.products, x, q);
    } else if constexpr (op == Op::l2) {
      const __m512i d = is_signed ? _mm512_sub_epi8(_mm512_max_epi8(q, x), _mm512_min_epi8(q, x))
                                  : _mm512_sub_epi8(_mm512_max_epu8(q, x), _mm512_min_epu8(q, x));
      acc.products = _mm512_dpbusd_epi32(acc.products, d, shift(d));
      acc.shifted = _mm512_dpbusd_epi32(acc.shifted, d, one);
    } else if constexpr (is_signed) {
      acc.products = _mm512_dpbusd_epi32(acc.products, shift(x), q);
      acc.shifted = _mm512_dpbusd_epi32(acc.shifted, one, q);
    } else {
      acc.products = _mm512_dpbusd_epi32(acc.products, x, shift(q));
      acc.shifted = _mm512_dpbusd_epi32(acc.shifted, x, one);
    }
  }
  static __m512i shift(__m512i v) { return _mm512_xor_si512(v, _mm512_set1_epi8(-128)); }
};

template <unsigned bits>
struct PackedTerm {
  using Q = std::int8_t;
  using X = std::uint8_t;
  using Acc = __m512i;
  using Lanes = Int32;
  static constexpr std::size_t lanes = 64;
  static constexpr bool exact = true, in_blocks = false;

  static Acc zero() { return _mm512_setzero_si512(); }
  static void step(Acc& acc, const Q* q, const X* x, std::size_t n) {
    const __m512i bytes = _mm512_loadu_si512(x);
    for (unsigned shift = 0; shift < 8; shift += bits, q += n) {
      acc = _mm512_dpbusd_epi32(acc, field(bytes, shift), _mm512_loadu_si512(q));
    }
  }
  static void tail(Acc& acc, const Q* q, const X* x, std::size_t i, std::size_t n) {
    const __mmask64 first = (std::uint64_t{1} << (n - i)) - 1;
    const __m512i bytes = _mm512_maskz_loadu_epi8(first, x + i);
    for (unsigned shift = 0; shift < 8; shift += bits, q += n) {
      acc = _mm512_dpbusd_epi32(acc, field(bytes, shift), _mm512_maskz_loadu_epi8(first, q + i));
    }
  }
  static __m512i merge(const Acc& a, const Acc& b, const Acc& c, const Acc& d) {
    return _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
  }

 private:
  /// Shifted in 16-bit lanes, for there are no others: what comes over from the neighbouring byte is masked away.
  static __m512i field(__m512i bytes, unsigned shift) {
    return _mm512_and_si512(_mm512_srli_epi16(bytes, shift), _mm512_set1_epi8((1 << bits) - 1));
  }
};

#include "simd/avx512_words.inl.h"

struct Words : WideWords {
  static constexpr bool whole_bytes = true;
  static Vec add_products(Vec acc, Vec fields, std::int32_t query) {
    return _mm512_dpbusd_epi32(acc, fields, _mm512_set1_epi32(query));
  }
};

#include "simd/columns.inl.h"
#include "simd/kernels.inl.h"

}  // namespace
}  // namespace annlib::simd

ANNLIB_TARGET_END

namespace annlib::simd {
constinit const Kernels kAvx512VnniKernels = make_kernels(Isa::avx512vnni, "avx512vnni");
}  // namespace annlib::simd

#endif
