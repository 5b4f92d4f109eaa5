#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "index/sections.h"

namespace annlib {

using storage::Container;
using storage::ElementType;
using storage::SectionList;

namespace {

std::string section_of(std::size_t column, const char* part) {
  return "attribute." + std::to_string(column) + "." + part;
}

ElementType cell_element(AttributeType type) {
  switch (type) {
    case AttributeType::boolean:
      return ElementType::u8;
    case AttributeType::real:
      return ElementType::f64;
    case AttributeType::integer:
    case AttributeType::date:
    case AttributeType::datetime:
      return ElementType::i64;
    default:
      return ElementType::u32;
  }
}

}  // namespace

void append_columns(const Columns& columns, SectionList& sections) {
  if (columns.empty()) return;
  std::vector<std::uint8_t> types;
  std::vector<std::uint64_t> ends;
  std::vector<char> names;
  for (const auto& [name, column] : columns.all()) {
    types.push_back(static_cast<std::uint8_t>(column.type()));
    names.insert(names.end(), name.begin(), name.end());
    ends.push_back(names.size());
  }
  sections.add_copy("attributes.types", ElementType::u8, types);
  sections.add_copy("attributes.ends", ElementType::u64, ends);
  sections.add_copy("attributes.names", ElementType::u8, names);
  std::size_t i = 0;
  for (const auto& [name, column] : columns.all()) {
    const std::uint64_t n = column.slots();
    std::vector<std::uint64_t> shape{n};
    if (is_list(column.type())) shape.push_back(2);
    sections.add(section_of(i, "cells"), cell_element(column.type()), shape, column.cells().bytes());
    sections.add(section_of(i, "present"), ElementType::u64, {Bitset::words_for(n)},
                 column.present_bits().words().bytes());
    if (has_dictionary(column.type())) {
      const Dictionary& dictionary = column.dictionary();
      sections.add(section_of(i, "ends"), ElementType::u64, {dictionary.size()}, dictionary.ends().bytes());
      sections.add(section_of(i, "texts"), ElementType::u8, {dictionary.texts().size()}, dictionary.texts().bytes());
    }
    if (is_list(column.type())) {
      sections.add(section_of(i, "elements"), ElementType::u32, {column.elements().size()}, column.elements().bytes());
    }
    ++i;
  }
}

void restore_columns(const std::shared_ptr<const Container>& file, Columns& columns) {
  if (file->find("attributes.types") == nullptr) return;
  const auto types = storage::read_vector<std::uint8_t>(*file, "attributes.types", ElementType::u8);
  const auto ends = storage::read_vector<std::uint64_t>(*file, "attributes.ends", ElementType::u64);
  const auto names = storage::read_vector<char>(*file, "attributes.names", ElementType::u8);
  const std::size_t slots = columns.slots();
  if (types.empty() || types.size() != ends.size() || ends.back() != names.size()) {
    throw CorruptError("the attributes' names and types differ in number");
  }
  const auto load = [&](std::size_t i, const char* part, ElementType type, std::size_t rank) {
    return load_section(file, file->require(section_of(i, part), type, rank));
  };
  std::uint64_t begin = 0;
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (types[i] >= kAttributeTypes) throw CorruptError("an attribute has no type that there is");
    if (ends[i] <= begin || ends[i] > names.size()) throw CorruptError("the attributes' names do not ascend");
    const std::string name(names.data() + begin, ends[i] - begin);
    begin = ends[i];
    if (columns.find(name) != nullptr) throw CorruptError("an attribute stands twice");
    Column::Parts parts{static_cast<AttributeType>(types[i]), {}, {}, {}, {}, {}};
    const bool lists = is_list(parts.type);
    parts.cells = Array<std::byte>(load(i, "cells", cell_element(parts.type), lists ? 2 : 1));
    parts.present = Array<std::uint64_t>(load(i, "present", ElementType::u64, 1));
    if (has_dictionary(parts.type)) {
      parts.ends = Array<std::uint64_t>(load(i, "ends", ElementType::u64, 1));
      parts.texts = Array<char>(load(i, "texts", ElementType::u8, 1));
    }
    if (lists) parts.elements = Array<Dictionary::Code>(load(i, "elements", ElementType::u32, 1));
    try {
      columns.put(name, Column::restore(std::move(parts), slots));
    } catch (const ValueError& error) {
      throw CorruptError(error.what());
    } catch (const CorruptError& error) {
      throw CorruptError("attribute '" + name + "': " + error.what());
    }
  }
}

}  // namespace annlib
