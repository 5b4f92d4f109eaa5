#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/types.h"
#include "table/vectors.h"

namespace annlib {

/// Finds the type that rows can be kept in without any loss: one of 8 bits if it holds all of them, else their own.
class NarrowType {
 public:
  NarrowType(DType own, std::uint32_t dim) : own_(own), dim_(dim) { fits_.fill(!is_integer(own)); }

  void see(RowView row) {
    for (std::size_t i = 0; i < kTypes.size(); ++i) fits_[i] = fits_[i] && holds(kTypes[i], row, dim_);
    any_ = true;
  }
  /// Whether no row to come can change the answer.
  bool known() const {
    return std::none_of(fits_.begin(), fits_.end(), [](bool fits) { return fits; });
  }
  /// Without any row, their own.
  DType type() const {
    const auto found = std::find(fits_.begin(), fits_.end(), true);
    return any_ && found != fits_.end() ? kTypes[static_cast<std::size_t>(found - fits_.begin())] : own_;
  }

 private:
  static constexpr std::array kTypes{DType::u8, DType::i8};

  DType own_;
  std::uint32_t dim_;
  std::array<bool, kTypes.size()> fits_;
  bool any_ = false;
};

}  // namespace annlib
