#include "index/sections.h"

#include <cstring>

#include "core/error.h"

namespace annlib {

using storage::Container;
using storage::ElementType;
using storage::SectionInfo;
using storage::SectionList;

Buffer load_section(const std::shared_ptr<const Container>& file, const SectionInfo& section) {
  if (file->mapped()) return Buffer::view(file->view(section), file);
  return file->load(section);
}

void append_table(const Table& table, SectionList& sections) {
  const std::uint64_t n = table.slots();
  if (table.keeps_rows())
    sections.add("table.vectors", ElementType::u8, {n, table.stride()}, table.row_bytes().bytes());
  if (table.has_norms()) sections.add("table.norms", ElementType::f32, {n}, table.norms().bytes());
  sections.add("table.ids", ElementType::i64, {n}, table.ids().bytes());
  sections.add("table.arrival", ElementType::u32, {n}, table.arrivals().bytes());
  sections.add("table.alive", ElementType::u64, {Bitset::words_for(n)}, table.alive_bits().words().bytes());
  sections.add_copy("table.free", ElementType::u32, table.free_slots());
  append_columns(table.columns(), sections);
}

void restore_table(const std::shared_ptr<const Container>& file, Table& table) {
  Table::Parts parts;
  if (table.keeps_rows()) {
    const SectionInfo& vectors = file->require("table.vectors", ElementType::u8, 2);
    if (vectors.shape[1] != table.stride()) throw CorruptError("rows of vectors have a wrong length");
    parts.rows = Array<std::byte>(load_section(file, vectors));
  }
  if (table.has_norms()) {
    parts.norms = Array<float>(load_section(file, file->require("table.norms", ElementType::f32, 1)));
  }
  parts.ids = Array<std::int64_t>(load_section(file, file->require("table.ids", ElementType::i64, 1)));
  const SectionInfo& arrival = file->require("table.arrival", ElementType::u32, 1);
  if (file->find("table.by_id") != nullptr) {
    parts.arrival = Array<std::uint32_t>(file->map(arrival, true));
    parts.by_id = Array<Slot>(file->map(file->require("table.by_id", ElementType::u32, 1), true));
  } else {
    parts.arrival = Array<std::uint32_t>(load_section(file, arrival));
  }
  parts.alive = Array<std::uint64_t>(load_section(file, file->require("table.alive", ElementType::u64, 1)));
  parts.free = storage::read_vector<Slot>(*file, "table.free", ElementType::u32);
  table.restore(std::move(parts));
  restore_columns(file, table.columns());
}

void append_by_id(const Table& table, SectionList& sections) {
  sections.add("table.by_id", ElementType::u32, {table.by_id().size()}, table.by_id().bytes());
}

TablePlaces::TablePlaces(const Container& file)
    : arrivals(file.map(file.require("table.arrival", ElementType::u32, 1), false)),
      by_id(file.map(file.require("table.by_id", ElementType::u32, 1), false)) {}

void append_keep_vectors(bool keep, SectionList& sections) {
  if (!keep) sections.add_copy("table.keep", ElementType::u8, std::vector<std::uint8_t>{0});
}

bool read_keep_vectors(const Container& file) {
  if (file.find("table.keep") == nullptr) return true;
  const auto keep = storage::read_vector<std::uint8_t>(file, "table.keep", ElementType::u8);
  if (keep != std::vector<std::uint8_t>{0}) throw CorruptError("whether vectors are kept is not said");
  return false;
}

void append_stored_dtype(DType dtype, SectionList& sections) {
  sections.add_copy("table.dtype", ElementType::u8, std::vector<DType>{dtype});
}

std::optional<DType> read_stored_dtype(const Container& file) {
  if (file.find("table.dtype") == nullptr) return std::nullopt;
  const auto dtype = storage::read_vector<DType>(file, "table.dtype", ElementType::u8);
  if (dtype.size() != 1 || !is_integer(dtype[0])) throw CorruptError("the type of the rows is none of 8 bits");
  return dtype[0];
}

bool has_vectors(const Container& file) { return file.find("table.vectors") != nullptr; }

void append_codec_asked(const std::string& asked, SectionList& sections) {
  sections.add_copy("codec.asked", ElementType::u8, std::vector<char>(asked.begin(), asked.end()));
}

void append_codes(const CodeSpace& codes, SectionList& sections) {
  sections.add("codec.codes", ElementType::u8, {codes.codes().size() / codes.stride(), codes.stride()},
               codes.codes().bytes());
  std::vector<float> numbers = codes.codec().params();
  numbers.push_back(codes.error());
  sections.add_copy("codec.params", ElementType::f32, numbers);
  if (codes.exact()) sections.add_copy("codec.exact", ElementType::u8, std::vector<std::uint8_t>{1});
}

std::string read_codec_asked(const Container& file) {
  const auto asked = storage::read_vector<char>(file, "codec.asked", ElementType::u8);
  return {asked.begin(), asked.end()};
}

void restore_codes(const std::shared_ptr<const Container>& file, CodeSpace& codes) {
  const SectionInfo& stored = file->require("codec.codes", ElementType::u8, 2);
  if (stored.shape[1] != codes.stride()) throw CorruptError("the codes have a wrong length");
  auto numbers = storage::read_vector<float>(*file, "codec.params", ElementType::f32);
  if (numbers.empty()) throw CorruptError("the codec has no parameters");
  const float error = numbers.back();
  numbers.pop_back();
  codes.restore(Array<std::byte>(load_section(file, stored)), numbers, error, file->find("codec.exact") != nullptr);
}

void append_params(const StoredParams& params, SectionList& sections) {
  std::vector<std::uint64_t> numbers{params.dim, static_cast<std::uint64_t>(params.dtype),
                                     static_cast<std::uint64_t>(params.metric)};
  numbers.insert(numbers.end(), params.more.begin(), params.more.end());
  sections.add_copy("params", ElementType::u64, numbers);
}

StoredParams read_params(const Container& file, std::size_t more) {
  const auto numbers = storage::read_vector<std::uint64_t>(file, "params", ElementType::u64);
  if (numbers.size() != 3 + more || numbers[0] > 0xFFFFFFFFu || numbers[1] > 3 || numbers[2] > 2) {
    throw CorruptError("the parameters are out of range");
  }
  StoredParams params;
  params.dim = static_cast<std::uint32_t>(numbers[0]);
  params.dtype = static_cast<DType>(numbers[1]);
  params.metric = static_cast<Metric>(numbers[2]);
  params.more.assign(numbers.begin() + 3, numbers.end());
  return params;
}

}  // namespace annlib
