/// The kernels of codes that lie beside a node's list (codec/neighbour_codes.h). Included by kernels.inl.h, whose rules
/// hold here; besides, a set defines
///
///   Lookup::sums(codes, tables, n, out)  for a block's 32 neighbours the sums of their entries in n <= 256 tables
///   Lookup::bits(words, numbers)         test_bits for the first `Lookup::tested` numbers

/// So many entries of at most 255 fit the 16 bits in which Lookup::sums() adds.
constexpr std::size_t kTablesAtOnce = 256;

std::uint32_t scan_block(const BlockQuery& query, const std::byte* block, float base, float lean, float bound,
                         float* out) {
  constexpr std::size_t kVectors = kBlockRows / Float::lanes;
  Float::Vec sums[kVectors];
  for (auto& sum : sums) sum = Float::zero();
  const auto* codes = reinterpret_cast<const std::uint8_t*>(block + kBlockFactorBytes);
  for (std::size_t first = 0; first < query.count; first += kTablesAtOnce) {
    const std::size_t n = query.count - first < kTablesAtOnce ? query.count - first : kTablesAtOnce;
    alignas(64) std::uint16_t part[kBlockRows];
    Lookup::sums(codes + first * kBlockRows / 2, query.tables + first * 16, n, part);
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[v] = Float::add(sums[v], Float::load_whole(part + v * Float::lanes));
    }
  }
  const auto* add = reinterpret_cast<const float*>(block);
  const auto* times = add + kBlockRows;
  std::uint32_t below = 0;
  for (std::size_t v = 0; v < kVectors; ++v) {
    const std::size_t i = v * Float::lanes;
    const Float::Vec t = Float::fma(sums[v], Float::broadcast(query.scale), Float::broadcast(query.offset));
    const Float::Vec score = Float::fma(
        Float::load(times + i), t, Float::fma(Float::load(add + i), Float::broadcast(lean), Float::broadcast(base)));
    Float::store(out + i, score);
    below |= Float::below(score, Float::broadcast(bound)) << i;
  }
  return below;
}

std::uint32_t test_bits(const std::uint64_t* words, const std::uint32_t* numbers) {
  std::uint32_t set = 0;
  for (std::size_t i = 0; i < kBlockRows; i += Lookup::tested) set |= Lookup::bits(words, numbers + i) << i;
  return set;
}

SignSums sign_codes(const float* r, const float* c, std::size_t n, std::uint8_t* codes) {
  Float::Vec magnitude = Float::zero(), other = Float::zero();
  for (std::size_t i = 0; i < n; i += Float::lanes) {
    const Float::Vec v = Float::load(r + i);
    magnitude = Float::add(magnitude, Float::abs(v));
    other = Float::add(other, Float::with_sign_of(Float::load(c + i), v));
    const std::uint32_t negative = Float::below(v, Float::zero());
    for (std::size_t j = 0; j < Float::lanes; j += 4) {
      codes[(i + j) / 4] = static_cast<std::uint8_t>(~(negative >> j) & 15);
    }
  }
  return {Float::sum(magnitude), Float::sum(other)};
}

/// The 16 bytes of a table. (A loop over them would be unrolled into its entries rather than made a vector.)
using Table16 = std::uint8_t __attribute__((vector_size(16)));

/// The codes that have bit b, as a mask.
constexpr Table16 kCodesWith[4] = {{0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255},
                                   {0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255},
                                   {0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255},
                                   {0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255}};

std::int32_t sign_tables(const std::int8_t* levels, std::size_t n, std::uint8_t* tables) {
  std::int32_t below = 0;
  for (std::size_t i = 0; i < n; i += 4) {
    std::int32_t negative = 0;
    for (std::size_t b = 0; b < 4; ++b) negative += levels[i + b] < 0 ? levels[i + b] : 0;
    below += negative;
    // Sums wrap around a byte and come out right.
    Table16 table = Table16{} + static_cast<std::uint8_t>(-negative);
    for (std::size_t b = 0; b < 4; ++b) table += kCodesWith[b] & (Table16{} + static_cast<std::uint8_t>(levels[i + b]));
    __builtin_memcpy(tables + 4 * i, &table, sizeof table);
  }
  return below;
}
