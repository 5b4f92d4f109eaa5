#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

/// Distance and scan kernels. One translation unit per instruction set; the machine is asked once, at the first
/// call of kernels(). This room knows rows of bytes and queries, no index. Everything here may be called from any
/// thread at any time.
namespace annlib::simd {

enum class Isa : std::uint8_t { scalar, neon, avx2, avx512, avx512vnni };

/// What a kernel accumulates over the dimensions: v = sum (q-x)^2, or v = sum q*x.
enum class Op : std::uint8_t { l2, dot };

/// Element types as (query, row). `q8` is a signed 8-bit query (no -128) against the unsigned codes of a codec.
/// An element of u4 rows is a byte of 2 fields: for rows of n bytes, field p of byte j, from the low bits up, is
/// dimension p * n + j, so the query has 2n elements, in the order of the dimensions. `parts` are rows of several
/// widths of fields; the query is a Parts, and the value a sum of products. Of integer pairs the sums are exact for
/// every dimension up to 2^20, those of each part for `parts`.
enum class Pair : std::uint8_t { f32_f32, f32_f16, f32_i8, f32_u8, i8_i8, u8_u8, q8_u8, q8_u4, parts };

/// A stretch of a row, `bytes` of them from `offset` on, of fields of 8, 4, 2 or 1 `bits` in the order of u4 rows, and
/// the query's elements for it, 8 / bits to the byte. It adds scale times the sum of products.
struct Part {
  const std::int8_t* query = nullptr;
  std::uint32_t offset = 0, bytes = 0, bits = 8;
  float scale = 0.0f;
  // from arrange_columns():
  const std::int32_t* columns = nullptr;
  std::uint32_t first_column = 0, last_column = 0;
};

/// Summed in their order. Parts may lie over each other in the row.
struct Parts {
  static constexpr std::size_t kMost = 5;
  Part part[kMost];
  std::uint32_t count = 0;
  bool in_columns = false;  ///< kernels may score many rows at once
};

/// Rows of so many bytes as columns of four bytes each, for kernels that score many rows at once: those of 16 bytes
/// after 16, of which the last begin before the end of those before them where the row is no multiple of 16.
constexpr std::size_t kColumnsAtOnce = 4, kColumnBytes = 4 * kColumnsAtOnce;
constexpr std::size_t column_count(std::size_t row_bytes) {
  return (row_bytes + kColumnBytes - 1) / kColumnBytes * kColumnsAtOnce;
}
/// Where a column lies in a row.
constexpr std::size_t column_byte(std::size_t column, std::size_t row_bytes) {
  const std::size_t first = column / kColumnsAtOnce * kColumnBytes, last = row_bytes - kColumnBytes;
  return (first < last ? first : last) + 4 * (column % kColumnsAtOnce);
}
/// Lays out the elements of the parts of a query for rows of so many bytes, none fewer than kColumnBytes, in `memory`
/// that has room for column_words(): of each column and field four elements, those of bytes that the column does not
/// have to itself being 0. Nothing, for rows so short or so long that their sums are not exact.
void arrange_columns(Parts& parts, std::size_t row_bytes, std::int32_t* memory);
/// At most, for parts of so many elements in all.
constexpr std::size_t column_words(std::size_t elements) { return elements / 4 + Parts::kMost * 8 * 6; }

/// How the floats t, stored behind each row's elements, enter the result; halves is affine with t in half precision:
///   none:  a + b * v      times: a + b * (v * t)      plus: a + b * v + t
///   affine, halves: a + d * (t[0] + t[1] * (b * v + c))
enum class Tail : std::uint8_t { none, times, plus, affine, halves };

/// A query as the kernels want it: elements of the pair's query type, and the scalars of the formula.
struct Query {
  const void* data = nullptr;
  float a = 0.0f;
  float b = 1.0f;
  float c = 0.0f;
  float d = 1.0f;
};

/// A matrix of rows in memory. The tail of row i are the numbers at tails + i*tail_stride (any alignment): behind the
/// row's elements, or in an array of its own where it would push longer rows off their cache lines.
struct Rows {
  const std::byte* data = nullptr;
  std::size_t stride = 0;  ///< bytes from one row to the next
  std::uint32_t dim = 0;   ///< elements in a row
  const std::byte* tails = nullptr;
  std::size_t tail_stride = 0;
  std::uint32_t prefetch_bytes = 0;  ///< how much of a row score_ids asks for ahead of its use
};

/// out[i] = score of row ids[i]; prefetches rows a few ids ahead.
using ScoreIds = void (*)(const Query&, const Rows&, const std::uint32_t* ids, std::size_t n, float* out);
/// out[i] = score of row first + i.
using ScoreRange = void (*)(const Query&, const Rows&, std::size_t first, std::size_t n, float* out);

/// out[i * count + q] = score of row ids[i] for queries[q]: what is loaded of a row serves several of `count` queries.
using ScoreBlock = void (*)(const Query* queries, std::size_t count, const Rows&, const std::uint32_t* ids,
                            std::size_t n, float* out);

/// The value of a (query, row) pair is the same, to the bit, from all of them and at every position in a call: builds
/// are reproducible because of it, and a query's results do not depend on those beside it.
struct Scorer {
  ScoreIds ids = nullptr;
  ScoreRange range = nullptr;
  ScoreBlock block = nullptr;
};

/// A query against blocks of 32 neighbours that have one bit a dimension (codec/neighbour_codes.h): for each group of
/// four dimensions a table of 16 entries, what the group adds for each of its 16 codes (André et al., "Cache locality
/// is not enough: high-performance nearest neighbor search with product quantization fast scan", VLDB 2015).
struct BlockQuery {
  const std::uint8_t* tables = nullptr;
  std::size_t count = 0;  ///< of tables; a multiple of 4
  float scale = 1.0f, offset = 0.0f;
};

/// A block in memory: 32 floats `add`, 32 floats `times`, and for each table 16 bytes, of which byte i holds the code
/// of neighbour i in its low half and that of neighbour 16 + i in its high half.
constexpr std::size_t kBlockRows = 32;
constexpr std::size_t kBlockFactorBytes = 2 * kBlockRows * sizeof(float);
constexpr std::size_t block_bytes(std::size_t tables) { return kBlockFactorBytes + tables * kBlockRows / 2; }

/// out[i] = base + lean * add[i] + times[i] * (scale * s + offset), s the sum of neighbour i's entries in all tables
/// (exact while count <= 2^16). Bit i of the result tells whether out[i] < bound, and is 0 for a NaN.
using ScanBlock = std::uint32_t (*)(const BlockQuery&, const std::byte* block, float base, float lean, float bound,
                                    float* out);

/// What a row of signs keeps of a vector r beside another one, c.
struct SignSums {
  float magnitude;  ///< sum of |r_i|
  float other;      ///< sum of sign(r_i) c_i
};

/// One instruction set's functions.
struct Kernels {
  Isa isa;
  const char* name;
  /// Every (op, pair, tail) is there, except l2 of q8 queries and of parts (nullptrs).
  Scorer (*scorer)(Op, Pair, Tail);
  /// Conversions between element types; float to half rounds to nearest even, overflow gives infinity.
  void (*half_to_float)(const std::uint16_t* in, std::size_t n, float* out);
  void (*float_to_half)(const float* in, std::size_t n, std::uint16_t* out);
  /// sum of squares of n floats
  float (*norm2)(const float* in, std::size_t n);
  /// out[i] = clamp(round_to_nearest_even(in[i] * scale), -127, 127); returns the sum of the outputs.
  std::int32_t (*quantize_i8)(const float* in, std::size_t n, float scale, std::int8_t* out);
  /// out[i] = clamp(round_to_nearest_even((in[i] - offset[i]) * inv_step[i]), 0, 255)
  void (*quantize_u8)(const float* in, const float* offset, const float* inv_step, std::size_t n, std::uint8_t* out);
  /// out[i] = in[i] * times[i] + add[i], rounded once: the same bits from every set.
  void (*affine_u8)(const std::uint8_t* in, const float* times, const float* add, std::size_t n, float* out);
  /// largest |in[i]|; 0 for n = 0
  float (*max_abs)(const float* in, std::size_t n);
  /// index of the first of the least elements; n is a positive multiple of 16, and none of them is NaN
  std::size_t (*argmin)(const float* in, std::size_t n);
  /// Writes the indices of values that do not lie beyond their limit, one that is NaN or whose limit is among them, and
  /// returns how many there are.
  std::size_t (*within)(const float* in, const float* limits, std::size_t n, std::uint32_t* out);
  /// index of the first element that is NaN or infinite, or n
  std::size_t (*first_nonfinite)(const float* in, std::size_t n);
  std::size_t (*first_nonfinite_half)(const std::uint16_t* in, std::size_t n);
  /// The Walsh-Hadamard transform of 2^log2n floats in place, in natural order and without a scale: applied twice it
  /// multiplies by 2^log2n. The same bits from every set.
  void (*fht)(float* x, std::size_t log2n);
  ScanBlock scan_block;
  /// Bit i tells whether bit numbers[i] of `words` is set, for i < kBlockRows; of the number ~0u none is.
  std::uint32_t (*test_bits)(const std::uint64_t* words, const std::uint32_t* numbers);
  /// The signs of r as codes of four dimensions each, bit k set where r[4i + k] is not negative; n is a multiple of 16.
  SignSums (*sign_codes)(const float* r, const float* c, std::size_t n, std::uint8_t* codes);
  /// The tables of a BlockQuery over n levels, a multiple of 4: entry j of table t is the sum of those of its four
  /// levels whose bits are set in j, plus what makes the least entry 0. Returns the sum of all levels below 0. No four
  /// levels may span more than 255.
  std::int32_t (*sign_tables)(const std::int8_t* levels, std::size_t n, std::uint8_t* tables);
  /// CRC-32C (Castagnoli) of n bytes, continued from `crc` (0 to begin).
  std::uint32_t (*crc32c)(std::uint32_t crc, const void* data, std::size_t n);
};

/// The best set that this machine has, or the one that ANNLIB_SIMD names (scalar, avx2, avx512, avx512vnni, neon).
/// A name that is unknown or that the machine lacks is a ValueError.
const Kernels& kernels();

/// A given set, or nullptr where this machine or this build lacks it.
const Kernels* kernels_for(Isa);

/// All sets that this machine can run, scalar first.
std::vector<const Kernels*> available_kernels();

}  // namespace annlib::simd
