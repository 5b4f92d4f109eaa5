#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "storage/container.h"

/// What files of every kind ask of the names and shapes in them.
namespace annlib::storage {

inline constexpr std::size_t kKindField = 16;  ///< bytes of a kind, with at least one NUL
inline constexpr std::size_t kNameField = 48;  ///< bytes of a section's name, with at least one NUL
inline constexpr std::size_t kMaxSections = 4096;
inline constexpr std::size_t kMaxRank = 4;

/// Shorter than its field, not empty, and of allowed characters only.
bool valid_label(std::string_view label, std::size_t field);
std::string label_rule(std::size_t field);

/// The text of a field padded with NULs, or nothing where that is not what it holds.
std::optional<std::string> label_of(std::span<const char> field);

/// A label that may hold anything, as a message can show it.
std::string quoted(std::string_view label);

bool all_zero(std::span<const std::uint8_t> bytes);

/// Bytes of an array, unless a file cannot hold it. Empty extents count as one in the test for overflow, so that no
/// product of extents overflows.
std::optional<std::uint64_t> array_bytes(ElementType type, std::span<const std::uint64_t> shape);

/// Throws ValueError for what no file can hold.
void check_sections(std::string_view kind, std::span<const SectionView> sections);

}  // namespace annlib::storage
