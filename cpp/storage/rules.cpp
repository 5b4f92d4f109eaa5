#include "storage/rules.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "core/error.h"

namespace annlib::storage {

std::size_t element_size(ElementType type) {
  switch (type) {
    case ElementType::u8:
    case ElementType::i8:
      return 1;
    case ElementType::u16:
    case ElementType::f16:
      return 2;
    case ElementType::u32:
    case ElementType::f32:
      return 4;
    case ElementType::i64:
    case ElementType::u64:
    case ElementType::f64:
      return 8;
  }
  throw ValueError("there is no element type " + std::to_string(static_cast<int>(type)));
}

bool valid_label(std::string_view label, std::size_t field) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !label.empty() && label.size() < field && std::all_of(label.begin(), label.end(), allowed);
}

std::string label_rule(std::size_t field) { return "1 to " + std::to_string(field - 1) + " of a-z 0-9 . _ -"; }

std::optional<std::string> label_of(std::span<const char> field) {
  const auto end = std::find(field.begin(), field.end(), '\0');
  std::string label(field.begin(), end);
  const bool padded = std::all_of(end, field.end(), [](char c) { return c == '\0'; });
  if (!padded || !valid_label(label, field.size())) return std::nullopt;
  return label;
}

std::string quoted(std::string_view label) {
  std::string out(label);
  std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return "'" + out + "'";
}

bool all_zero(std::span<const std::uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; });
}

std::optional<std::uint64_t> array_bytes(ElementType type, std::span<const std::uint64_t> shape) {
  std::uint64_t product = element_size(type);
  bool empty = false;
  for (const std::uint64_t extent : shape) {
    empty |= extent == 0;
    if (__builtin_mul_overflow(product, std::max<std::uint64_t>(extent, 1), &product)) return std::nullopt;
  }
  if (product > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
  return empty ? 0 : product;
}

void check_sections(std::string_view kind, std::span<const SectionView> sections) {
  if (!valid_label(kind, kKindField)) {
    throw ValueError("kind " + quoted(kind) + " is not " + label_rule(kKindField));
  }
  if (sections.size() > kMaxSections) {
    throw ValueError(std::to_string(sections.size()) + " sections, at most " + std::to_string(kMaxSections) +
                     " fit into a container");
  }
  std::unordered_set<std::string_view> names;
  for (const SectionView& section : sections) {
    const std::string prefix = "section " + quoted(section.name) + ": ";
    if (!valid_label(section.name, kNameField)) {
      throw ValueError(prefix + "the name is not " + label_rule(kNameField));
    }
    if (!names.insert(section.name).second) throw ValueError(prefix + "the name is there twice");
    if (section.shape.empty() || section.shape.size() > kMaxRank) {
      throw ValueError(prefix + "has rank " + std::to_string(section.shape.size()) + ", expected 1 to 4");
    }
    const auto length = array_bytes(section.type, section.shape);
    if (length != section.bytes.size()) {
      throw ValueError(prefix + "has " + std::to_string(section.bytes.size()) + " bytes, its shape needs " +
                       (length ? std::to_string(*length) : "more than a file can hold"));
    }
  }
}

}  // namespace annlib::storage
