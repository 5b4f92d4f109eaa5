/// Scores of rows for one query or several. Included by kernels.inl.h, whose rules hold here.

/// A Term is what one dimension adds to the value: types Q and X of the elements, an accumulator Acc over `lanes`
/// dimensions at once, zero, step (`lanes` elements of a row of n), tail (elements i..n, fewer than `lanes`), and
/// merge, which makes four Accs one Lanes::Vec; Lanes has sum of one and, perhaps, sum4 of four. `exact` says that the
/// order of the sum does not matter, and `in_blocks` that it is exact up to kExactDim elements only.
template <Op op, class RowElement>
struct FloatTerm {
  using Q = float;
  using X = RowElement;
  using Acc = Float::Vec;
  using Lanes = Float;
  static constexpr std::size_t lanes = Float::lanes;
  static constexpr bool exact = false, in_blocks = false;

  static Acc zero() { return Float::zero(); }
  static void add(Acc& acc, Float::Vec q, Float::Vec x) {
    if constexpr (op == Op::l2) {
      const Float::Vec d = Float::sub(q, x);
      acc = Float::fma(d, d, acc);
    } else {
      acc = Float::fma(q, x, acc);
    }
  }
  static void step(Acc& acc, const Q* q, const X* x, std::size_t) { add(acc, Float::load(q), Float::load(x)); }
  static void tail(Acc& acc, const Q* q, const X* x, std::size_t i, std::size_t n) {
    add(acc, Float::load_tail(q, i, n), Float::load_tail(x, i, n));
  }
  static Float::Vec merge(const Acc& a, const Acc& b, const Acc& c, const Acc& d) {
    return Float::add(Float::add(a, b), Float::add(c, d));
  }
};

/// The values of one row for `count` queries, each of which comes to the same bits whatever the others are. A query has
/// four accumulators: the additions of one depend on each other and take about four cycles each. Where several queries
/// have exact sums, they are one another's company, and one accumulator each is enough. Inlined by force: a row of 128
/// one-byte codes takes some twenty cycles, of which a call would be a good part.
template <class Term, std::size_t count, class Value>
__attribute__((always_inline)) inline void accumulate(const typename Term::Q* const (&q)[count],
                                                      const typename Term::X* x, std::size_t n,
                                                      Value (&values)[count]) {
  constexpr std::size_t L = Term::lanes, strands = Term::exact && count > 2 ? 1 : 4;
  typename Term::Acc acc[count][strands];
  for (auto& query : acc) {
    for (auto& strand : query) strand = Term::zero();
  }
  std::size_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    for (std::size_t s = 0; s < 4; ++s) {
      for (std::size_t t = 0; t < count; ++t) Term::step(acc[t][s % strands], q[t] + i + s * L, x + i + s * L, n);
    }
  }
  if (i + 2 * L <= n) {
    for (std::size_t s = 0; s < 2; ++s) {
      for (std::size_t t = 0; t < count; ++t) Term::step(acc[t][s % strands], q[t] + i + s * L, x + i + s * L, n);
    }
    i += 2 * L;
  }
  if (i + L <= n) {
    for (std::size_t t = 0; t < count; ++t) Term::step(acc[t][2 % strands], q[t] + i, x + i, n);
    i += L;
  }
  if (i < n) {
    for (std::size_t t = 0; t < count; ++t) Term::tail(acc[t][3 % strands], q[t], x, i, n);
  }
  typename Term::Lanes::Vec merged[count];
  for (std::size_t t = 0; t < count; ++t) {
    if constexpr (strands == 4) {
      merged[t] = Term::merge(acc[t][0], acc[t][1], acc[t][2], acc[t][3]);
    } else {
      merged[t] = Term::merge(acc[t][0], Term::zero(), Term::zero(), Term::zero());
    }
  }
  std::size_t t = 0;
  if constexpr (count % 4 == 0 && requires { &Term::Lanes::sum4; }) {
    for (; t < count; t += 4) Term::Lanes::sum4(merged + t, values + t);
  }
  for (; t < count; ++t) values[t] = static_cast<Value>(Term::Lanes::sum(merged[t]));
}

/// The largest block whose sum of 255^2 fits an int32.
constexpr std::size_t kExactDim = std::size_t{1} << 15;

template <class Term>
__attribute__((noinline)) std::int64_t accumulate_blocks(const typename Term::Q* q, const typename Term::X* x,
                                                         std::size_t n) {
  std::int64_t sum = 0, part[1];
  for (; n > 0; q += kExactDim, x += kExactDim) {
    const std::size_t some = n < kExactDim ? n : kExactDim;
    accumulate<Term, 1>({q}, x, some, part);
    sum += part[0];
    n -= some;
  }
  return sum;
}

template <class Term, std::size_t count>
__attribute__((always_inline)) inline void row_values(const typename Term::Q* const (&q)[count],
                                                      const typename Term::X* x, std::size_t dim,
                                                      float (&values)[count]) {
  if constexpr (Term::in_blocks) {
    if (dim > kExactDim) {
      for (std::size_t t = 0; t < count; ++t) values[t] = static_cast<float>(accumulate_blocks<Term>(q[t], x, dim));
      return;
    }
  }
  accumulate<Term, count>(q, x, dim, values);
}

template <class Term>
__attribute__((always_inline)) inline float row_value(const typename Term::Q* q, const typename Term::X* x,
                                                      std::size_t dim) {
  float value[1];
  row_values<Term, 1>({q}, x, dim, value);
  return value[0];
}

template <Tail tail>
__attribute__((always_inline)) inline float score_of(float v, const Query& query, const Rows& rows, std::size_t index) {
  const std::byte* stored = rows.tails + index * rows.tail_stride;
  if constexpr (tail == Tail::affine || tail == Tail::halves) {
    float t[Float::lanes];
    if constexpr (tail == Tail::halves) {
      Float::store(t, Float::load_first(reinterpret_cast<const std::uint16_t*>(stored), 2));
    } else {
      __builtin_memcpy(t, stored, 2 * sizeof *t);
    }
    return query.a + query.d * (t[0] + t[1] * (query.b * v + query.c));
  }
  float t = 0.0f;
  if constexpr (tail != Tail::none) __builtin_memcpy(&t, stored, sizeof t);
  if constexpr (tail == Tail::times) return query.a + query.b * (v * t);
  if constexpr (tail == Tail::plus) return query.a + query.b * v + t;
  return query.a + query.b * v;
}

/// out[t] = the score of a row for queries[t].
template <class Term, Tail tail, std::size_t count>
__attribute__((always_inline)) inline void score_row(const Query (&queries)[count], const Rows& rows, std::size_t index,
                                                     float (&out)[count]) {
  const auto* row = reinterpret_cast<const typename Term::X*>(rows.data + index * rows.stride);
  const typename Term::Q* q[count];
  for (std::size_t t = 0; t < count; ++t) q[t] = static_cast<const typename Term::Q*>(queries[t].data);
  row_values<Term, count>(q, row, rows.dim, out);
  for (std::size_t t = 0; t < count; ++t) out[t] = score_of<tail>(out[t], queries[t], rows, index);
}

constexpr std::size_t kCacheLine = 64;

inline void prefetch_row(const Rows& rows, std::size_t index) {
  const std::byte* row = rows.data + index * rows.stride;
  const std::size_t before = reinterpret_cast<std::uintptr_t>(row) % kCacheLine;
  for (std::size_t at = 0; at < before + rows.prefetch_bytes; at += kCacheLine) __builtin_prefetch(row - before + at);
}

/// How many rows are asked for ahead of their use. Measured on random rows of a matrix far larger than the caches:
/// rows of one or two lines gain up to eight ahead; from 512 bytes on, one core's memory bandwidth is the limit.
inline std::size_t lookahead(std::size_t prefetch_bytes) {
  constexpr std::size_t kMostRows = 8, kMostBytes = 4096;
  if (prefetch_bytes == 0) return 0;
  const std::size_t rows = kMostBytes / prefetch_bytes;
  return rows < 1 ? 1 : rows > kMostRows ? kMostRows : rows;
}

/// The scores of `count` queries for rows ids[0..n), those for row i from out + i * stride on.
template <class Term, Tail tail, std::size_t count>
inline void score_tile(const Query* queries_ref, const Rows& rows_ref, const std::uint32_t* ids, std::size_t n,
                       float* out, std::size_t stride, std::size_t ahead) {
  Query queries[count];  // copies, which a store to `out` cannot change
  for (std::size_t t = 0; t < count; ++t) queries[t] = queries_ref[t];
  const Rows rows = rows_ref;
  std::size_t asked = 0;
  for (; asked < ahead && asked < n; ++asked) prefetch_row(rows, ids[asked]);
  for (std::size_t i = 0; i < n; ++i) {
    if (ahead > 0 && asked < n) prefetch_row(rows, ids[asked++]);
    float scores[count];
    score_row<Term, tail, count>(queries, rows, ids[i], scores);
    for (std::size_t t = 0; t < count; ++t) out[i * stride + t] = scores[t];
  }
}

template <class Term, Tail tail>
void score_ids(const Query& query, const Rows& rows, const std::uint32_t* ids, std::size_t n, float* out) {
  score_tile<Term, tail, 1>(&query, rows, ids, n, out, 1, lookahead(rows.prefetch_bytes));
}

/// How many queries are scored together: as many as have room for their accumulators in the registers.
template <class Term>
constexpr std::size_t kTileOf = Term::exact ? 2 * kTile : kTile;

/// By tiles of `many` queries, of which the last takes in some of the one before where they do not come out even: that
/// is less than rows once more for each of what would be left over. Of fewer than a tile's by smaller ones.
template <class Term, Tail tail, std::size_t many>
inline void score_tiles(const Query* queries, std::size_t count, const Rows& rows, const std::uint32_t* ids,
                        std::size_t n, float* out) {
  if constexpr (many > 1) {
    if (count < many) return score_tiles<Term, tail, (many > kTile ? kTile : 1)>(queries, count, rows, ids, n, out);
  }
  std::size_t ahead = lookahead(rows.prefetch_bytes);  // the first tile finds the rows in memory, the others in a cache
  for (std::size_t end = many;; end += many, ahead = 0) {
    const std::size_t t = (end < count ? end : count) - many;
    score_tile<Term, tail, many>(queries + t, rows, ids, n, out + t, count, ahead);
    if (end >= count) return;
  }
}

template <class Term, Tail tail>
void score_block(const Query* queries, std::size_t count, const Rows& rows, const std::uint32_t* ids, std::size_t n,
                 float* out) {
  if (count > 0) score_tiles<Term, tail, kTileOf<Term>>(queries, count, rows, ids, n, out);
}

template <class Term, Tail tail>
void score_range(const Query& query, const Rows& rows_ref, std::size_t first, std::size_t n, float* out) {
  const Query queries[1] = {query};
  const Rows rows = rows_ref;
  for (std::size_t i = 0; i < n; ++i) {
    float score[1];
    score_row<Term, tail, 1>(queries, rows, first + i, score);
    out[i] = score[0];
  }
}

#include "simd/parts.inl.h"

template <class Term, Tail tail>
struct ScorerOf {
  static constexpr Scorer scorer{score_ids<Term, tail>, score_range<Term, tail>, score_block<Term, tail>};
};
template <Tail tail>
struct ScorerOf<PartsTerm, tail> {
  static constexpr Scorer scorer{score_parts_ids<tail>, score_parts_range<tail>, score_parts_block<tail>};
};

template <class Term>
Scorer scorer_of(Tail tail) {
  switch (tail) {
    case Tail::none:
      return ScorerOf<Term, Tail::none>::scorer;
    case Tail::times:
      return ScorerOf<Term, Tail::times>::scorer;
    case Tail::plus:
      return ScorerOf<Term, Tail::plus>::scorer;
    case Tail::affine:
      return ScorerOf<Term, Tail::affine>::scorer;
    case Tail::halves:
      return ScorerOf<Term, Tail::halves>::scorer;
  }
  return {};
}

template <Op op>
Scorer scorer_of(Pair pair, Tail tail) {
  switch (pair) {
    case Pair::f32_f32:
      return scorer_of<FloatTerm<op, float>>(tail);
    case Pair::f32_f16:
      return scorer_of<FloatTerm<op, std::uint16_t>>(tail);
    case Pair::f32_i8:
      return scorer_of<FloatTerm<op, std::int8_t>>(tail);
    case Pair::f32_u8:
      return scorer_of<FloatTerm<op, std::uint8_t>>(tail);
    case Pair::i8_i8:
      return scorer_of<IntegerTerm<op, std::int8_t, std::int8_t>>(tail);
    case Pair::u8_u8:
      return scorer_of<IntegerTerm<op, std::uint8_t, std::uint8_t>>(tail);
    case Pair::q8_u8:
      if constexpr (op == Op::dot) return scorer_of<IntegerTerm<op, std::int8_t, std::uint8_t>>(tail);
      break;
    case Pair::q8_u4:
      if constexpr (op == Op::dot) return scorer_of<PackedTerm<4>>(tail);
      break;
    case Pair::parts:
      if constexpr (op == Op::dot) return scorer_of<PartsTerm>(tail);
      break;
  }
  return {};
}

Scorer scorer(Op op, Pair pair, Tail tail) {
  return op == Op::l2 ? scorer_of<Op::l2>(pair, tail) : scorer_of<Op::dot>(pair, tail);
}
