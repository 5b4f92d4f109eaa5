#pragma once

#include <cstddef>
#include <cstdint>

namespace annlib {

/// Which function of two vectors is the distance. Smaller is nearer in all three:
/// l2 is the squared Euclidean distance, ip is the negated inner product, cosine is 1 - cos.
enum class Metric : std::uint8_t { l2 = 0, ip = 1, cosine = 2 };

/// Element type of stored vectors. Numbers are part of the file format.
enum class DType : std::uint8_t { f32 = 0, f16 = 1, i8 = 2, u8 = 3 };

constexpr std::size_t dtype_size(DType t) { return t == DType::f32 ? 4 : t == DType::f16 ? 2 : 1; }

constexpr bool is_integer(DType t) { return t == DType::i8 || t == DType::u8; }

/// Position of a vector in the index: a dense row number, reused after deletion.
using Slot = std::uint32_t;
constexpr Slot kNoSlot = 0xFFFFFFFFu;

/// A slot shares a 64-bit word with its distance and two flags in the search pool.
constexpr std::size_t kMaxSlots = std::size_t{1} << 30;

}  // namespace annlib
