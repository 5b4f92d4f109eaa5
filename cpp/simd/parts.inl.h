/// Scores of rows in parts: row by row, or many rows at once. Included by score.inl.h, whose rules hold here.
///
/// A row of few bits is shorter than a vector, and of its parts none fills one, so that a row by itself is mostly sums
/// across lanes. In Columns (columns.inl.h) each lane takes a row of its own.

/// No Term itself.
struct PartsTerm {
  using Q = Parts;
  using X = std::uint8_t;
};

template <>
inline void row_values<PartsTerm, 1>(const Parts* const (&q)[1], const std::uint8_t* row, std::size_t,
                                     float (&values)[1]) {
  float sum = 0.0f;
  for (const Part* p = q[0]->part; p < q[0]->part + q[0]->count; ++p) {
    const std::uint8_t* x = row + p->offset;
    const float value = p->bits == 8 ? row_value<IntegerTerm<Op::dot, std::int8_t, std::uint8_t>>(p->query, x, p->bytes)
                        : p->bits == 4 ? row_value<PackedTerm<4>>(p->query, x, p->bytes)
                        : p->bits == 2 ? row_value<PackedTerm<2>>(p->query, x, p->bytes)
                                       : row_value<PackedTerm<1>>(p->query, x, p->bytes);
    sum += p->scale * value;
  }
  values[0] = sum;
}

/// Words of a row that are held as columns at a time.
constexpr std::size_t kPanel = 64;

template <unsigned bits>
__attribute__((always_inline)) inline Columns::Vec add_columns(Columns::Vec acc, const Part& part,
                                                               const Columns::Vec* words, std::size_t first,
                                                               std::size_t last) {
  if (first >= last) return acc;
  const std::int32_t* query = part.columns + (first - part.first_column) * (8 / bits);
  for (std::size_t w = first; w < last; ++w, query += 8 / bits) {
    acc = Columns::add<bits>(acc, words[w % kPanel], query);
  }
  return acc;
}

/// values[r] = what row_values gives for the row at rows[r], to the bit: the sums of parts are exact, and are added up
/// in the same order.
inline void column_values(const Parts& parts, const std::uint8_t* const* rows, std::size_t row_bytes, float* values) {
  Columns::Vec acc[Parts::kMost], words[kPanel];
  for (std::size_t p = 0; p < parts.count; ++p) acc[p] = Columns::zero();
  const std::size_t count = column_count(row_bytes);
  for (std::size_t begin = 0; begin < count; begin += kPanel) {
    const std::size_t end = begin + kPanel < count ? begin + kPanel : count;
    for (std::size_t w = begin; w < end; w += 4) Columns::transpose(rows, column_byte(w, row_bytes), words + w - begin);
    for (std::size_t p = 0; p < parts.count; ++p) {
      const Part& part = parts.part[p];
      const std::size_t first = part.first_column > begin ? part.first_column : begin;
      const std::size_t last = part.last_column < end ? part.last_column : end;
      acc[p] = part.bits == 8   ? add_columns<8>(acc[p], part, words, first, last)
               : part.bits == 4 ? add_columns<4>(acc[p], part, words, first, last)
               : part.bits == 2 ? add_columns<2>(acc[p], part, words, first, last)
                                : add_columns<1>(acc[p], part, words, first, last);
    }
  }
  Float::Vec sum = Float::zero();
  for (std::size_t p = 0; p < parts.count; ++p) {
    sum = Float::add(sum, Float::mul(Float::broadcast(parts.part[p].scale), Columns::floats(acc[p])));
  }
  Float::store(values, sum);
}

/// values[r] becomes the score of row indices[r], as score_of has it.
template <Tail tail>
inline void column_scores(const Query& query, const Rows& rows, const std::uint32_t* indices, float* values) {
  constexpr std::size_t R = Columns::rows;
  if constexpr (tail == Tail::halves) {
    std::uint32_t both[R];
    std::uint16_t first[R], second[R];
    for (std::size_t r = 0; r < R; ++r) __builtin_memcpy(both + r, rows.tails + indices[r] * rows.tail_stride, 4);
    for (std::size_t r = 0; r < R; ++r) {
      first[r] = static_cast<std::uint16_t>(both[r]);
      second[r] = static_cast<std::uint16_t>(both[r] >> 16);
    }
    const Float::Vec product = Float::mul(Float::broadcast(query.b), Float::load(values));
    const Float::Vec inner = Float::mul(Float::load(second), Float::add(product, Float::broadcast(query.c)));
    const Float::Vec outer = Float::mul(Float::broadcast(query.d), Float::add(Float::load(first), inner));
    Float::store(values, Float::add(Float::broadcast(query.a), outer));
  } else {
    for (std::size_t r = 0; r < R; ++r) values[r] = score_of<tail>(values[r], query, rows, indices[r]);
  }
}

/// out[i * stride] = the score of row index(i).
template <Tail tail, class Index>
inline void score_parts(const Query& query_ref, const Rows& rows_ref, std::size_t n, float* out, std::size_t stride,
                        Index&& index) {
  const Query query = query_ref;  // copies, which a store to `out` cannot change
  const Rows rows = rows_ref;
  const std::size_t ahead = lookahead(rows.prefetch_bytes);
  std::size_t i = 0, asked = 0;
  constexpr std::size_t R = Columns::rows, kLeast = R / 4;
  const auto& parts = *static_cast<const Parts*>(query.data);
  while (parts.in_columns && n - i >= kLeast) {
    const std::size_t some = n - i < R ? n - i : R;
    for (; ahead > 0 && asked < n && asked < i + 2 * R; ++asked) prefetch_row(rows, index(asked));
    std::uint32_t indices[R];
    const std::uint8_t* at[R];
    float values[R];
    for (std::size_t r = 0; r < R; ++r) {
      indices[r] = static_cast<std::uint32_t>(index(r < some ? i + r : i));
      at[r] = reinterpret_cast<const std::uint8_t*>(rows.data + indices[r] * rows.stride);
    }
    column_values(parts, at, rows.dim, values);
    column_scores<tail>(query, rows, indices, values);
    for (std::size_t r = 0; r < some; ++r) out[(i + r) * stride] = values[r];
    i += some;
  }
  for (; i < n; ++i) {
    for (; ahead > 0 && asked < n && asked <= i + ahead; ++asked) prefetch_row(rows, index(asked));
    const Query queries[1] = {query};
    float score[1];
    score_row<PartsTerm, tail, 1>(queries, rows, index(i), score);
    out[i * stride] = score[0];
  }
}

template <Tail tail>
void score_parts_ids(const Query& query, const Rows& rows, const std::uint32_t* ids, std::size_t n, float* out) {
  score_parts<tail>(query, rows, n, out, 1, [ids](std::size_t i) { return ids[i]; });
}

template <Tail tail>
void score_parts_range(const Query& query, const Rows& rows, std::size_t first, std::size_t n, float* out) {
  score_parts<tail>(query, rows, n, out, 1, [first](std::size_t i) { return first + i; });
}

template <Tail tail>
void score_parts_block(const Query* queries, std::size_t count, const Rows& rows, const std::uint32_t* ids,
                       std::size_t n, float* out) {
  for (std::size_t t = 0; t < count; ++t) {
    score_parts<tail>(queries[t], rows, n, out + t, count, [ids](std::size_t i) { return ids[i]; });
  }
}
