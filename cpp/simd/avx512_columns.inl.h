/// Columns of both AVX-512 sets, all but the products. Included after avx512_float.inl.h.

struct WideColumns {
  using Vec = __m512i;
  static constexpr std::size_t rows = 16;

  static Vec zero() { return _mm512_setzero_si512(); }
  static Float::Vec floats(Vec v) { return _mm512_cvtepi32_ps(v); }
  static void transpose(const std::uint8_t* const* row, std::size_t at, Vec* words) {
    const Vec a = every_fourth(row, at), b = every_fourth(row + 1, at);
    const Vec c = every_fourth(row + 2, at), d = every_fourth(row + 3, at);
    const Vec ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    const Vec ab_high = _mm512_unpackhi_epi32(a, b), cd_high = _mm512_unpackhi_epi32(c, d);
    words[0] = _mm512_unpacklo_epi64(ab, cd);
    words[1] = _mm512_unpackhi_epi64(ab, cd);
    words[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
    words[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
  }
  /// Shifted in 16-bit lanes, for there are no others: what comes over from the neighbouring byte is masked away.
  template <unsigned bits>
  static Vec field(Vec bytes, unsigned shift) {
    return _mm512_and_si512(_mm512_srli_epi16(bytes, shift), _mm512_set1_epi8(static_cast<char>((1 << bits) - 1)));
  }

 private:
  /// 16 bytes of each of the rows 0, 4, 8 and 12 from here.
  static Vec every_fourth(const std::uint8_t* const* row, std::size_t at) {
    const auto load = [at](const std::uint8_t* from) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at));
    };
    Vec v = _mm512_castsi128_si512(load(row[0]));
    v = _mm512_inserti32x4(v, load(row[4]), 1);
    v = _mm512_inserti32x4(v, load(row[8]), 2);
    return _mm512_inserti32x4(v, load(row[12]), 3);
  }
};
