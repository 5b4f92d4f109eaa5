#if defined(__x86_64__)

#include <immintrin.h>

#include "simd/isa.h"

ANNLIB_TARGET_BEGIN("avx2,fma,f16c,sse4.2")

namespace annlib::simd {
namespace {

#include "simd/crc32c_x86.inl.h"

constexpr std::size_t kTile = 2;
#include "simd/overlap.inl.h"

/// Read from offset k, a vector of lanes of which the last k are ones.
alignas(32) constexpr std::int32_t kOnes32[16] = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
alignas(32) constexpr std::int16_t kOnes16[32] = {0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
                                                  -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m128i load64(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }

struct Float {
  using Vec = __m256;
  static constexpr std::size_t lanes = 8;

  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec broadcast(float v) { return _mm256_set1_ps(v); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static Vec load(const std::uint16_t* p) { return _mm256_cvtph_ps(load128(p)); }
  static Vec load(const std::int8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load64(p))); }
  static Vec load(const std::uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load64(p))); }
  static Vec keep_last(Vec v, std::size_t k) { return _mm256_and_ps(v, _mm256_castsi256_ps(load256(kOnes32 + k))); }
  template <class T>
  static Vec load_first(const T* p, std::size_t count) {
    return load_copied<Float>(p, count);
  }
  // Few go through a register: a wide load would wait for the copy.
  static Vec load_first(const std::uint16_t* p, std::size_t count) {
    if (count > 4) return load_copied<Float>(p, count);
    std::int64_t few = 0;
    __builtin_memcpy(&few, p, count * sizeof(*p));
    return _mm256_cvtph_ps(_mm_cvtsi64_si128(few));
  }
  template <class T>
  static Vec load_tail(const T* p, std::size_t i, std::size_t n) {
    return load_overlapping<Float>(p, i, n);
  }

  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  static float sum(Vec v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  template <std::size_t h>
  static Vec exchange(Vec v) {
    return h == 4 ? _mm256_permute2f128_ps(v, v, 1) : _mm256_permute_ps(v, h == 1 ? 0xB1 : 0x4E);
  }

  static Vec load_whole(const std::uint16_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(load128(p))); }
  static std::uint32_t below(Vec a, Vec b) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)));
  }
  static Vec with_sign_of(Vec a, Vec b) { return _mm256_xor_ps(a, _mm256_and_ps(b, _mm256_set1_ps(-0.0f))); }

  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  static void store(std::uint16_t* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(std::int8_t* p, Vec v) {
    const __m128i words = round_to_words(v);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
  static void store(std::uint8_t* p, Vec v) {
    const __m128i words = round_to_words(v);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  }
  static __m128i round_to_words(Vec v) {
    const __m256i whole = _mm256_cvtps_epi32(v);
    return _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  }
};

struct Int16 {
  using Vec = __m256i;
  using Acc = __m256i;
  static constexpr std::size_t lanes = 16;

  static Vec load(const std::int8_t* p) { return _mm256_cvtepi8_epi16(load128(p)); }
  static Vec load(const std::uint8_t* p) { return _mm256_cvtepu8_epi16(load128(p)); }
  static Vec keep_last(Vec v, std::size_t k) { return _mm256_and_si256(v, load256(kOnes16 + k)); }
  template <class T>
  static Vec load_tail(const T* p, std::size_t i, std::size_t n) {
    return load_overlapping<Int16>(p, i, n);
  }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_epi16(a, b); }
  static Vec field(Vec v, unsigned shift, std::int16_t mask) {
    return _mm256_and_si256(_mm256_srli_epi16(v, static_cast<int>(shift)), _mm256_set1_epi16(mask));
  }

  static Acc zero() { return _mm256_setzero_si256(); }
  static Acc add_products(Acc acc, Vec a, Vec b) { return add(acc, _mm256_madd_epi16(a, b)); }
  static Acc add(Acc a, Acc b) { return _mm256_add_epi32(a, b); }
  static std::int32_t sum(Acc v) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
  }
};

/// Entries are added as pairs of bytes: the low sums take in the high ones times 256, which are counted apart as well
/// and taken out at the end.
struct Lookup {
  static void sums(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t n, std::uint16_t* out) {
    const __m256i low_half = _mm256_set1_epi8(15);
    __m256i first = _mm256_setzero_si256(), first_high = first, second = first, second_high = first;
    for (std::size_t i = 0; i < n * 16; i += 32) {
      const __m256i table = load256(tables + i), code = load256(codes + i);
      const __m256i a = _mm256_shuffle_epi8(table, _mm256_and_si256(code, low_half));
      const __m256i b = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(code, 4), low_half));
      first = _mm256_add_epi16(first, a);
      first_high = _mm256_add_epi16(first_high, _mm256_srli_epi16(a, 8));
      second = _mm256_add_epi16(second, b);
      second_high = _mm256_add_epi16(second_high, _mm256_srli_epi16(b, 8));
    }
    store(first, first_high, out);
    store(second, second_high, out + 16);
  }

  static constexpr std::size_t tested = 8;
  static std::uint32_t bits(const std::uint64_t* words, const std::uint32_t* numbers) {
    const __m256i n = load256(numbers), ones = _mm256_set1_epi32(-1);
    const __m256i real = _mm256_xor_si256(_mm256_cmpeq_epi32(n, ones), ones);
    const __m256i halves = _mm256_mask_i32gather_epi32(_mm256_setzero_si256(), reinterpret_cast<const int*>(words),
                                                       _mm256_srli_epi32(n, 5), real, 4);
    // The bit that is asked for comes to the top, where movemask looks.
    const __m256i top =
        _mm256_sllv_epi32(halves, _mm256_sub_epi32(_mm256_set1_epi32(31), _mm256_and_si256(n, _mm256_set1_epi32(31))));
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(top)));
  }

 private:
  static void store(__m256i low, __m256i high, std::uint16_t* out) {
    const __m128i even = add_halves(_mm256_sub_epi16(low, _mm256_slli_epi16(high, 8))), odd = add_halves(high);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(even, odd));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 8), _mm_unpackhi_epi16(even, odd));
  }
  static __m128i add_halves(__m256i v) {
    return _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  }
};

struct Words {
  using Vec = __m256i;
  static constexpr std::size_t rows = 8;
  static constexpr bool whole_bytes = false;

  static Vec zero() { return _mm256_setzero_si256(); }
  static Vec add(Vec a, Vec b) { return _mm256_add_epi32(a, b); }
  static Vec times16(Vec v) { return _mm256_slli_epi32(v, 4); }
  static Float::Vec floats(Vec v) { return _mm256_cvtepi32_ps(v); }
  static Vec every_fourth(const std::uint8_t* const* row, std::size_t at) {
    return _mm256_set_m128i(load128(row[4] + at), load128(row[0] + at));
  }
  static Vec low32(Vec a, Vec b) { return _mm256_unpacklo_epi32(a, b); }
  static Vec high32(Vec a, Vec b) { return _mm256_unpackhi_epi32(a, b); }
  static Vec low64(Vec a, Vec b) { return _mm256_unpacklo_epi64(a, b); }
  static Vec high64(Vec a, Vec b) { return _mm256_unpackhi_epi64(a, b); }
  template <unsigned bits>
  static Vec field(Vec bytes, unsigned shift) {
    return _mm256_and_si256(_mm256_srli_epi16(bytes, static_cast<int>(shift)),
                            _mm256_set1_epi8(static_cast<char>((1 << bits) - 1)));
  }
  /// A pair's sum of 15 * 127 each fits an int16.
  static Vec add_products(Vec acc, Vec fields, std::int32_t query) {
    const Vec pairs = _mm256_maddubs_epi16(fields, _mm256_set1_epi32(query));
    return add(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

#include "simd/columns.inl.h"
#include "simd/integer16.inl.h"
#include "simd/kernels.inl.h"

}  // namespace
}  // namespace annlib::simd

ANNLIB_TARGET_END

namespace annlib::simd {
constinit const Kernels kAvx2Kernels = make_kernels(Isa::avx2, "avx2");
}  // namespace annlib::simd

#endif
