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
  static float sum(Vec v) { return _mm512_reduce_add_ps(v); }
  template <std::size_t h>
  static Vec exchange(Vec v) {
    constexpr int pairs = h == 1 || h == 4 ? 0xB1 : 0x4E;
    return h < 4 ? _mm512_permute_ps(v, pairs) : _mm512_shuffle_f32x4(v, v, pairs);
  }

  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void store(std::uint16_t* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(std::int8_t* p, Vec v) { store_low_bytes(p, v); }
  static void store(std::uint8_t* p, Vec v) { store_low_bytes(p, v); }

 private:
  static Vec widen_half(__m256i v) { return _mm512_cvtph_ps(v); }
  static Vec widen_i8(__m128i v) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v)); }
  static Vec widen_u8(__m128i v) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(v)); }
  static void store_low_bytes(void* p, Vec v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
  }
};
