/// The float vector of both AVX-512 sets. Included like kernels.inl.h.

struct Float {
  using Vec = __m512;
  static constexpr std::size_t lanes = 16;

  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec broadcast(float v) { return _mm512_set1_ps(v); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load(const std::uint16_t* p) {
    return widen_half(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vec load(const std::int8_t* p) { return widen_i8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static Vec load(const std::uint8_t* p) { return widen_u8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

  static __mmask16 first(std::size_t count) { return static_cast<__mmask16>((1u << count) - 1); }
  static Vec load_first(const float* p, std::size_t count) { return _mm512_maskz_loadu_ps(first(count), p); }
  static Vec load_first(const std::uint16_t* p, std::size_t count) {
    return widen_half(_mm256_maskz_loadu_epi16(first(count), p));
  }
  static Vec load_first(const std::int8_t* p, std::size_t count) {
    return widen_i8(_mm_maskz_loadu_epi8(first(count), p));
  }
  static Vec load_first(const std::uint8_t* p, std::size_t count) {
    return widen_u8(_mm_maskz_loadu_epi8(first(count), p));
  }
  template <class T>
  static Vec load_tail(const T* p, std::size_t i, std::size_t n) {
    return load_first(p + i, n - i);
  }

  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec abs(Vec a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  static float sum(Vec v) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  /// sum() of four vectors, by the same additions.
  static void sum4(const Vec* v, float* out) {
    const Vec four = fold4(v), two = add(four, exchange<2>(four)), one = add(two, exchange<1>(two));
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(first_of_each(), one)));
  }
  template <std::size_t h>
  static Vec exchange(Vec v) {
    constexpr int pairs = h == 1 || h == 4 ? 0xB1 : 0x4E;
    return h < 4 ? _mm512_permute_ps(v, pairs) : _mm512_shuffle_f32x4(v, v, pairs);
  }

  static Vec load_whole(const std::uint16_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
  static std::uint32_t below(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Vec with_sign_of(Vec a, Vec b) { return _mm512_xor_ps(a, _mm512_and_ps(b, _mm512_set1_ps(-0.0f))); }

  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void store(std::uint16_t* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(std::int8_t* p, Vec v) { store_low_bytes(p, v); }
  static void store(std::uint8_t* p, Vec v) { store_low_bytes(p, v); }

 private:
  static __m512i first_of_each() { return _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12); }
  static Vec fold2(Vec a, Vec b) { return add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE)); }
  /// The sums of lanes i, i + 4, i + 8 and i + 12 of each vector, as that one's four lanes in a row.
  static Vec fold4(const Vec* v) {
    const Vec ab = fold2(v[0], v[1]), cd = fold2(v[2], v[3]);
    return add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
  }
  static Vec widen_half(__m256i v) { return _mm512_cvtph_ps(v); }
  static Vec widen_i8(__m128i v) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v)); }
  static Vec widen_u8(__m128i v) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(v)); }
  static void store_low_bytes(void* p, Vec v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
  }
};

/// Entries are added as pairs of bytes: the low sums take in the high ones times 256, which are counted apart as well
/// and taken out at the end.
struct Lookup {
  static void sums(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t n, std::uint16_t* out) {
    const __m512i low_half = _mm512_set1_epi8(15);
    __m512i first = _mm512_setzero_si512(), first_high = first, second = first, second_high = first;
    for (std::size_t i = 0; i < n * 16; i += 64) {
      const __m512i table = _mm512_loadu_si512(tables + i), code = _mm512_loadu_si512(codes + i);
      const __m512i a = _mm512_shuffle_epi8(table, _mm512_and_si512(code, low_half));
      const __m512i b = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(code, 4), low_half));
      first = _mm512_add_epi16(first, a);
      first_high = _mm512_add_epi16(first_high, _mm512_srli_epi16(a, 8));
      second = _mm512_add_epi16(second, b);
      second_high = _mm512_add_epi16(second_high, _mm512_srli_epi16(b, 8));
    }
    store(first, first_high, out);
    store(second, second_high, out + 16);
  }

  static constexpr std::size_t tested = 16;
  static std::uint32_t bits(const std::uint64_t* words, const std::uint32_t* numbers) {
    const __m512i n = _mm512_loadu_si512(numbers);
    const __mmask16 real = _mm512_cmpneq_epi32_mask(n, _mm512_set1_epi32(-1));
    const __m512i halves = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), real, _mm512_srli_epi32(n, 5), words, 4);
    const __m512i bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(n, _mm512_set1_epi32(31)));
    return _mm512_test_epi32_mask(halves, bit);
  }

 private:
  static void store(__m512i low, __m512i high, std::uint16_t* out) {
    const __m128i even = add_quarters(_mm512_sub_epi16(low, _mm512_slli_epi16(high, 8))), odd = add_quarters(high);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(even, odd));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 8), _mm_unpackhi_epi16(even, odd));
  }
  static __m128i add_quarters(__m512i v) {
    const __m256i half = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }
};
