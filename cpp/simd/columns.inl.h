/// The Columns of parts.inl.h, once for all sets that have a struct Words: a vector Vec of `rows` words of four bytes,
/// with zero, floats (of int32 lanes), every_fourth(row, at), which has 16 bytes of each of the rows 0, 4, 8 ... from
/// byte `at` on, a row to 128 bits; low32, high32, low64 and high64, which interleave the lower and upper halves of
/// each 128 bits of two vectors in units of so many bits; field<bits>(v, shift), the fields of each byte from a bit on;
/// add_products(acc, fields, query), which adds to each word its bytes' products with those of the query; add; and
/// times16. Where `whole_bytes` is false, add_products is for fields of four bits at most.

struct Columns {
  using Vec = Words::Vec;
  static constexpr std::size_t rows = Words::rows;

  static Vec zero() { return Words::zero(); }
  static Float::Vec floats(Vec v) { return Words::floats(v); }
  static void transpose(const std::uint8_t* const* row, std::size_t at, Vec* words) {
    const Vec a = Words::every_fourth(row, at), b = Words::every_fourth(row + 1, at);
    const Vec c = Words::every_fourth(row + 2, at), d = Words::every_fourth(row + 3, at);
    const Vec ab = Words::low32(a, b), cd = Words::low32(c, d), ab_high = Words::high32(a, b);
    const Vec cd_high = Words::high32(c, d);
    words[0] = Words::low64(ab, cd);
    words[1] = Words::high64(ab, cd);
    words[2] = Words::low64(ab_high, cd_high);
    words[3] = Words::high64(ab_high, cd_high);
  }
  /// Where whole bytes are too much for products, their halves are multiplied apart.
  template <unsigned bits>
  static Vec add(Vec acc, Vec words, const std::int32_t* query) {
    if constexpr (bits == 8 && Words::whole_bytes) return Words::add_products(acc, words, *query);
    if constexpr (bits == 8 && !Words::whole_bytes) {
      const Vec high = Words::add_products(zero(), Words::template field<4>(words, 4), *query);
      return Words::add(Words::add_products(acc, Words::template field<4>(words, 0), *query), Words::times16(high));
    }
    for (unsigned f = 0; f < 8 / bits; ++f) {
      acc = Words::add_products(acc, Words::template field<bits>(words, f * bits), query[f]);
    }
    return acc;
  }
};
