#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "codec/codec.h"
#include "core/types.h"
#include "table/columns.h"
#include "table/vectors.h"

namespace annlib {

/// Items to build an index from, wherever they lie.
struct RowSource {
  std::size_t count = 0;
  std::vector<Slot> kept;                             ///< the first of the items: slots of the table that was
  bool codes_alone = false;                           ///< what is built is to keep codes alone
  std::function<RowView(std::size_t)> row;            ///< without data where only the code is left
  const CodeSpace* codes = nullptr;                   ///< nullptr where all have rows
  std::function<const std::byte*(std::size_t)> code;  ///< by `codes`, if there is no row
  std::function<std::int64_t(std::size_t)> id;
  std::function<std::uint32_t(std::size_t)> arrival;
  /// Writes the attributes of item order[slot] for each slot of `to`.
  std::function<void(Columns& to, std::span<const std::size_t> order)> attributes;

  RowSource() = default;
  RowSource(const RowSource&) = delete;  // the functions refer to it
  RowSource& operator=(const RowSource&) = delete;
};

}  // namespace annlib
