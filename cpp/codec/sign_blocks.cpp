#include "codec/sign_blocks.h"

namespace annlib {
namespace {

// Four entries of at most so much fill a byte.
constexpr float kQueryLevels = 63.0f;

float* factors_of(std::byte* block) { return reinterpret_cast<float*>(block); }
const float* factors_of(const std::byte* block) { return reinterpret_cast<const float*>(block); }
// Of a place, the byte of its first field and how far up in it.
std::size_t byte_of(std::uint32_t place) { return simd::kBlockFactorBytes + place % 16; }
int shift_of(std::uint32_t place) { return place < 16 ? 0 : 4; }

}  // namespace

simd::BlockQuery sign_query(const Rotation& rotation, const float* vector, float* rotated, QueryBuffer& buffer) {
  const simd::Kernels& k = simd::kernels();
  const std::uint32_t padded = rotation.padded();
  rotation.apply(vector, rotated);
  const float largest = k.max_abs(rotated, padded);
  auto* tables = buffer.need<std::uint8_t>(5 * std::size_t{padded});
  auto* levels = reinterpret_cast<std::int8_t*>(tables + 4 * std::size_t{padded});
  const std::int32_t total = k.quantize_i8(rotated, padded, largest > 0 ? kQueryLevels / largest : 0.0f, levels);
  // What a negative element adds where its bit is set is taken out everywhere: entries are never negative.
  const std::int32_t below = k.sign_tables(levels, padded, tables);
  // <s, Rq> = 2 (what set bits add) - (what all would add)
  const float step = largest / kQueryLevels;
  return {tables, padded / 4, 2.0f * step, step * static_cast<float>(2 * below - total)};
}

void store_sign_code(std::byte* block, std::uint32_t place, std::size_t tables, float add, float times,
                     const std::uint8_t* signs) {
  factors_of(block)[place] = add;
  factors_of(block)[simd::kBlockRows + place] = times;
  std::byte* fields = block + byte_of(place);
  for (std::size_t t = 0; t < tables; ++t) fields[16 * t] |= std::byte(signs[t] << shift_of(place));
}

void move_sign_code(const std::byte* from, std::uint32_t from_place, std::byte* to, std::uint32_t to_place,
                    std::size_t tables) {
  factors_of(to)[to_place] = factors_of(from)[from_place];
  factors_of(to)[simd::kBlockRows + to_place] = factors_of(from)[simd::kBlockRows + from_place];
  const std::byte* source = from + byte_of(from_place);
  std::byte* target = to + byte_of(to_place);
  const std::byte others = std::byte{15} << (4 - shift_of(to_place));
  for (std::size_t t = 0; t < tables; ++t) {
    const std::byte field = source[16 * t] >> shift_of(from_place) & std::byte{15};
    target[16 * t] = (target[16 * t] & others) | field << shift_of(to_place);
  }
}

void clear_sign_code(std::byte* block, std::uint32_t place, std::size_t tables) {
  factors_of(block)[place] = 0;
  factors_of(block)[simd::kBlockRows + place] = 0;
  std::byte* fields = block + byte_of(place);
  const std::byte others = std::byte{15} << (4 - shift_of(place));
  for (std::size_t t = 0; t < tables; ++t) fields[16 * t] &= others;
}

}  // namespace annlib
