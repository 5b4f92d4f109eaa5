#if defined(__x86_64__)

#if !defined(__clang__)  // gcc's own AVX-512 header trips this (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "simd/isa.h"

ANNLIB_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,sse4.2")

namespace annlib::simd {
namespace {

#include "simd/avx512_float.inl.h"
#include "simd/crc32c_x86.inl.h"

constexpr std::size_t kTile = 4;

struct Int16 {
  using Vec = __m512i;
  using Acc = __m512i;
  static constexpr std::size_t lanes = 32;

  static Vec load(const std::int8_t* p) { return widen(load256(p), std::int8_t{}); }
  static Vec load(const std::uint8_t* p) { return widen(load256(p), std::uint8_t{}); }
  template <class T>
  static Vec load_tail(const T* p, std::size_t i, std::size_t n) {
    return widen(_mm256_maskz_loadu_epi8((1u << (n - i)) - 1, p + i), T{});
  }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_epi16(a, b); }
  static Vec field(Vec v, unsigned shift, std::int16_t mask) {
    return _mm512_and_si512(_mm512_srli_epi16(v, shift), _mm512_set1_epi16(mask));
  }

  static Acc zero() { return _mm512_setzero_si512(); }
  static Acc add_products(Acc acc, Vec a, Vec b) { return add(acc, _mm512_madd_epi16(a, b)); }
  static Acc add(Acc a, Acc b) { return _mm512_add_epi32(a, b); }
  static std::int32_t sum(Acc v) { return _mm512_reduce_add_epi32(v); }

 private:
  static __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Vec widen(__m256i v, std::int8_t) { return _mm512_cvtepi8_epi16(v); }
  static Vec widen(__m256i v, std::uint8_t) { return _mm512_cvtepu8_epi16(v); }
};

#include "simd/avx512_words.inl.h"

struct Words : WideWords {
  static constexpr bool whole_bytes = false;
  /// A pair's sum of 15 * 127 each fits an int16.
  static Vec add_products(Vec acc, Vec fields, std::int32_t query) {
    const Vec pairs = _mm512_maddubs_epi16(fields, _mm512_set1_epi32(query));
    return add(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
};

#include "simd/columns.inl.h"
#include "simd/integer16.inl.h"
#include "simd/kernels.inl.h"

}  // namespace
}  // namespace annlib::simd

ANNLIB_TARGET_END

namespace annlib::simd {
constinit const Kernels kAvx512Kernels = make_kernels(Isa::avx512, "avx512");
}  // namespace annlib::simd

#endif
