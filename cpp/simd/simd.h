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

/// Element types as (query, row). `q8` is the signed 8-bit query of the int8 codec against unsigned codes.
/// In i8_i8 and u8_u8 the sums are exact integers for every dim up to 2^20.
enum class Pair : std::uint8_t { f32_f32, f32_f16, f32_i8, f32_u8, i8_i8, u8_u8, q8_u8 };

/// How the float `tail`, stored behind each row's elements, enters the result:
///   none:  a + b * v          times: a + b * (v * tail)        plus: a + b * v + tail
enum class Tail : std::uint8_t { none, times, plus };

/// A query as the kernels want it: `dim` elements of the pair's query type, and the two scalars of the formula.
struct Query {
  const void* data = nullptr;
  float a = 0.0f;
  float b = 1.0f;
};

/// A matrix of rows in memory. The tail of row i is the float at tails + i*tail_stride (any alignment): behind the
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

/// The value of a (query, row) pair is the same, to the bit, from both functions and at every position in a call:
/// builds are reproducible because of it.
struct Scorer {
  ScoreIds ids = nullptr;
  ScoreRange range = nullptr;
};

/// One instruction set's functions.
struct Kernels {
  Isa isa;
  const char* name;
  /// Every (op, pair, tail) is there, except l2 of q8_u8 (nullptrs).
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
  /// largest |in[i]|; 0 for n = 0
  float (*max_abs)(const float* in, std::size_t n);
  /// index of the first element that is NaN or infinite, or n
  std::size_t (*first_nonfinite)(const float* in, std::size_t n);
  std::size_t (*first_nonfinite_half)(const std::uint16_t* in, std::size_t n);
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
