#pragma once

#include <cstdint>
#include <span>

#include "core/bitset.h"
#include "table/table.h"

namespace annlib {

/// The slots of the items under `ids`; those that are not there match nothing.
Bitset slots_of_ids(const Table& table, std::span<const std::int64_t> ids);
/// The slots of the live items, by order of arrival, for which `rows` has no 0. ValueError unless there are as many.
Bitset slots_of_mask(const Table& table, std::span<const std::uint8_t> rows);

}  // namespace annlib
