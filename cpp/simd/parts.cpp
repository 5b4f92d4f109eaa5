#include <algorithm>
#include <cstring>

#include "simd/simd.h"

namespace annlib::simd {
namespace {

// 255 * 127 times as many fit an int32.
constexpr std::size_t kMostRowBytes = std::size_t{1} << 15;

}  // namespace

void arrange_columns(Parts& parts, std::size_t row_bytes, std::int32_t* memory) {
  parts.in_columns = row_bytes >= kColumnBytes && row_bytes <= kMostRowBytes;
  if (!parts.in_columns) return;
  const std::size_t whole = row_bytes / kColumnBytes * kColumnBytes;
  for (Part* part = parts.part; part < parts.part + parts.count; ++part) {
    const std::size_t fields = 8 / part->bits, begin = part->offset, end = begin + part->bytes;
    part->columns = memory;
    part->first_column = part->last_column = 0;
    for (std::uint32_t column = 0; column < column_count(row_bytes); ++column) {
      const std::size_t at = column_byte(column, row_bytes);
      // Its bytes of this part that are in no column before it.
      const std::size_t first = std::max({at, begin, 4 * std::size_t{column} >= whole ? whole : 0});
      const std::size_t last = std::min(at + 4, end);
      if (part->last_column == 0 && first >= last) continue;
      if (part->last_column == 0) part->first_column = column;
      for (std::size_t f = 0; f < fields; ++f, ++memory) {
        *memory = 0;
        if (first >= last) continue;
        std::memcpy(reinterpret_cast<std::byte*>(memory) + (first - at),
                    part->query + f * part->bytes + (first - begin), last - first);
      }
      if (first < last) part->last_column = column + 1;
    }
    memory = const_cast<std::int32_t*>(part->columns) + (part->last_column - part->first_column) * fields;
  }
}

}  // namespace annlib::simd
