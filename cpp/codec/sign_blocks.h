#pragma once

#include <cstddef>
#include <cstdint>

#include "codec/rotation.h"
#include "codec/space.h"
#include "simd/simd.h"

namespace annlib {

/// One rotation for all signs: that it is random serves data that was not made with it in mind.
constexpr std::uint64_t kSignRotationSeed = 0x5eed;

/// What one bit a dimension is compared with: tables of the rotated vector in 7 bits, for simd::ScanBlock. They lie in
/// the bytes of `buffer`; `rotated` is memory for rotation.padded() floats.
simd::BlockQuery sign_query(const Rotation& rotation, const float* vector, float* rotated, QueryBuffer& buffer);

/// Writes a code of `tables` fields of four signs, and its two factors, to a place of a block that is zero there.
void store_sign_code(std::byte* block, std::uint32_t place, std::size_t tables, float add, float times,
                     const std::uint8_t* signs);
/// Copies one, to a place that may hold another.
void move_sign_code(const std::byte* from, std::uint32_t from_place, std::byte* to, std::uint32_t to_place,
                    std::size_t tables);
/// Makes a place zero.
void clear_sign_code(std::byte* block, std::uint32_t place, std::size_t tables);

}  // namespace annlib
