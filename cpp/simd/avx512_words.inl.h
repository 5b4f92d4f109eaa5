/// The Words of columns.inl.h in both AVX-512 sets, all but the products.

struct WideWords {
  using Vec = __m512i;
  static constexpr std::size_t rows = 16;

  static Vec zero() { return _mm512_setzero_si512(); }
  static Vec add(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
  static Vec times16(Vec v) { return _mm512_slli_epi32(v, 4); }
  static Float::Vec floats(Vec v) { return _mm512_cvtepi32_ps(v); }
  static Vec every_fourth(const std::uint8_t* const* row, std::size_t at) {
    const auto load = [at](const std::uint8_t* from) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at));
    };
    Vec v = _mm512_castsi128_si512(load(row[0]));
    v = _mm512_inserti32x4(v, load(row[4]), 1);
    v = _mm512_inserti32x4(v, load(row[8]), 2);
    return _mm512_inserti32x4(v, load(row[12]), 3);
  }
  static Vec low32(Vec a, Vec b) { return _mm512_unpacklo_epi32(a, b); }
  static Vec high32(Vec a, Vec b) { return _mm512_unpackhi_epi32(a, b); }
  static Vec low64(Vec a, Vec b) { return _mm512_unpacklo_epi64(a, b); }
  static Vec high64(Vec a, Vec b) { return _mm512_unpackhi_epi64(a, b); }
  /// Shifted in 16-bit lanes, for there are no others: what comes over from the neighbouring byte is masked away.
  template <unsigned bits>
  static Vec field(Vec bytes, unsigned shift) {
    return _mm512_and_si512(_mm512_srli_epi16(bytes, shift), _mm512_set1_epi8(static_cast<char>((1 << bits) - 1)));
  }
};
