#include "table/column.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/version.h"

namespace annlib {
namespace {

constexpr const char* kNames[kAttributeTypes] = {"bool",     "int",    "float",           "date",
                                                 "datetime", "string", "list of strings", "list of ints"};

// Where rows begin: n + 1 numbers that ascend from 0 to `end`.
void require_offsets(const std::vector<std::int64_t>& offsets, std::size_t n, std::size_t end) {
  bool good = offsets.size() == n + 1 && offsets.front() == 0 && offsets.back() == static_cast<std::int64_t>(end);
  for (std::size_t i = 0; good && i < n; ++i) good = offsets[i] <= offsets[i + 1];
  if (!good) throw ValueError("the offsets of an attribute's values do not fit them");
}

std::string_view bytes_of(const std::int64_t& value) { return {reinterpret_cast<const char*>(&value), sizeof(value)}; }

std::int64_t integer_in(std::string_view bytes) {
  std::int64_t value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

}  // namespace

const char* name_of(AttributeType type) { return kNames[static_cast<std::size_t>(type)]; }

std::size_t Column::cell_bytes(AttributeType type) {
  if (type == AttributeType::boolean) return 1;
  return type == AttributeType::string ? sizeof(Dictionary::Code) : 8;
}

Column::Column(AttributeType type, std::size_t slots) : type_(type), version_(next_version()) { resize(slots); }

Column::Column(const AttributeRows& rows) : Column(rows.type, rows.count()) {
  const std::size_t n = rows.count();
  const bool lists = is_list(type_), texts = type_ == AttributeType::string || type_ == AttributeType::strings;
  if (lists) {
    require_offsets(rows.lists, n, type_ == AttributeType::strings ? rows.texts.size() - 1 : rows.integers.size());
  } else if (!texts && (type_ == AttributeType::real ? rows.reals.size() : rows.integers.size()) != n) {
    throw ValueError("an attribute's values and nulls differ in length");
  }
  if (texts) require_offsets(rows.texts, lists ? static_cast<std::size_t>(rows.lists.back()) : n, rows.text.size());
  const auto code = [&](std::size_t i) {
    if (!texts) return dictionary_.add(bytes_of(rows.integers[i]));
    const auto begin = static_cast<std::size_t>(rows.texts[i]);
    const std::string_view text(rows.text.data() + begin, static_cast<std::size_t>(rows.texts[i + 1]) - begin);
    if (!is_utf8(text)) throw ValueError("a string is not UTF-8");
    return dictionary_.add(text);
  };
  for (std::size_t i = 0; i < n; ++i) {
    if (rows.present[i] == 0) continue;
    const auto slot = static_cast<Slot>(i);
    if (lists) {
      const Range range = append(static_cast<std::size_t>(rows.lists[i + 1] - rows.lists[i]));
      for (std::uint32_t j = 0; j < range.length; ++j) {
        elements_[range.begin + j] = code(static_cast<std::size_t>(rows.lists[i]) + j);
      }
      put(slot, range);
    } else if (texts) {
      put(slot, code(i));
    } else if (type_ == AttributeType::real) {
      if (std::isnan(rows.reals[i])) throw ValueError("NaN is no value: null is");
      put(slot, rows.reals[i]);
    } else if (type_ == AttributeType::boolean) {
      put(slot, static_cast<std::uint8_t>(rows.integers[i] != 0));
    } else {
      put(slot, rows.integers[i]);
    }
  }
}

AttributeRows Column::gather(std::span<const Slot> slots) const {
  AttributeRows rows;
  rows.type = type_;
  const bool texts = type_ == AttributeType::string || type_ == AttributeType::strings;
  if (texts) rows.texts.push_back(0);
  if (is_list(type_)) rows.lists.push_back(0);
  const auto take = [&](Dictionary::Code code) {
    const std::string_view value = dictionary_.text(code);
    if (!texts) return rows.integers.push_back(integer_in(value));
    rows.text += value;
    rows.texts.push_back(static_cast<std::int64_t>(rows.text.size()));
  };
  for (const Slot slot : slots) {
    rows.present.push_back(present(slot));
    if (is_list(type_)) {
      for (const Dictionary::Code code : list(slot)) take(code);
      rows.lists.push_back(static_cast<std::int64_t>(texts ? rows.texts.size() - 1 : rows.integers.size()));
    } else if (texts) {
      if (present(slot)) {
        take(code(slot));
      } else {
        rows.texts.push_back(rows.texts.back());
      }
    } else if (type_ == AttributeType::real) {
      rows.reals.push_back(cell<double>(slot));
    } else {
      rows.integers.push_back(type_ == AttributeType::boolean ? cell<std::uint8_t>(slot) : cell<std::int64_t>(slot));
    }
  }
  return rows;
}

void Column::resize(std::size_t slots) {
  cells_.resize(slots * cell_bytes(type_));
  present_.resize(slots);
}

void Column::clear(Slot slot) {
  std::memset(cells_.data() + slot * cell_bytes(type_), 0, cell_bytes(type_));
  present_.reset(slot);
}

void Column::copy(Slot from, Slot to) noexcept {
  std::memcpy(cells_.data() + to * cell_bytes(type_), cells_.data() + from * cell_bytes(type_), cell_bytes(type_));
  present(from) ? present_.set(to) : present_.reset(to);
}

void Column::touch() { version_ = next_version(); }

void Column::tidy() {
  constexpr std::size_t kNotWorthIt = 1024;
  if (held() <= 2 * tidied_ + kNotWorthIt) return;
  Column made(type_, slots());
  ColumnCopy copy(made, *this);
  for (std::size_t slot = 0; slot < slots(); ++slot) copy(static_cast<Slot>(slot), static_cast<Slot>(slot));
  made.tidied_ = made.held();
  *this = std::move(made);
}

Column::Range Column::append(std::size_t count) {
  const std::size_t begin = elements_.size();
  if (begin + count > 0xFFFFFFFFu) throw ValueError("the lists of an attribute hold at most 2**32 - 1 elements");
  elements_.resize(begin + count);
  return {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(count)};
}

std::size_t Column::memory_bytes() const {
  return cells_.bytes().size() + present_.words().bytes().size() + elements_.bytes().size() +
         dictionary_.memory_bytes();
}

Column Column::restore(Parts parts, std::size_t slots) {
  if (parts.cells.size() != slots * cell_bytes(parts.type) || parts.present.size() != Bitset::words_for(slots)) {
    throw CorruptError("an attribute and the vectors differ in length");
  }
  if (slots % 64 != 0 && parts.present[slots / 64] >> (slots % 64) != 0) {
    throw CorruptError("an attribute has a value beyond the last row");
  }
  Column made(parts.type, 0);
  made.cells_ = std::move(parts.cells);
  made.present_ = Bitset(std::move(parts.present), slots);
  made.elements_ = std::move(parts.elements);
  made.dictionary_ = Dictionary::restore(std::move(parts.ends), std::move(parts.texts));
  const std::size_t codes = made.dictionary_.size();
  for (std::size_t i = 0; i < codes; ++i) {
    const std::string_view value = made.dictionary_.text(static_cast<Dictionary::Code>(i));
    if (made.type_ == AttributeType::integers ? value.size() != sizeof(std::int64_t) : !is_utf8(value)) {
      throw CorruptError("a value in an attribute's dictionary is none of its type");
    }
  }
  for (const Dictionary::Code code : made.elements_) {
    if (code >= codes) throw CorruptError("an element of a list is not in its attribute's dictionary");
  }
  for (std::size_t i = 0; i < slots; ++i) {
    const auto slot = static_cast<Slot>(i);
    bool good = true;
    if (!made.present(slot)) {
      const std::byte* cell = made.cells_.data() + i * cell_bytes(made.type_);
      for (std::size_t j = 0; j < cell_bytes(made.type_); ++j) good &= cell[j] == std::byte{0};
    } else if (is_list(made.type_)) {
      const Range range = made.cell<Range>(slot);
      good = std::uint64_t{range.begin} + range.length <= made.elements_.size();
    } else if (made.type_ == AttributeType::string) {
      good = made.code(slot) < codes;
    } else if (made.type_ == AttributeType::boolean) {
      good = made.cell<std::uint8_t>(slot) <= 1;
    } else if (made.type_ == AttributeType::real) {
      good = !std::isnan(made.cell<double>(slot));
    }
    if (!good) throw CorruptError("row " + std::to_string(i) + " of an attribute has no value of its type");
  }
  made.tidied_ = made.held();
  return made;
}

Dictionary::Code ColumnCopy::translate(Dictionary::Code code) {
  if (codes_.size() <= code) codes_.resize(from_.dictionary_.size(), Dictionary::kNone);
  if (codes_[code] == Dictionary::kNone) codes_[code] = to_.dictionary_.add(from_.dictionary_.text(code));
  return codes_[code];
}

void ColumnCopy::operator()(Slot from, Slot to) {
  if (&from_ == &to_) return to_.copy(from, to);
  if (!from_.present(from)) return to_.clear(to);
  if (is_list(to_.type_)) {
    const auto list = from_.list(from);
    const Column::Range range = to_.append(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) to_.elements_[range.begin + i] = translate(list[i]);
    to_.put(to, range);
  } else if (to_.type_ == AttributeType::string) {
    to_.put(to, translate(from_.code(from)));
  } else if (from_.type_ == to_.type_) {
    const std::size_t bytes = Column::cell_bytes(to_.type_);
    std::memcpy(to_.cells_.data() + to * bytes, from_.cells_.data() + from * bytes, bytes);
    to_.present_.set(to);
  } else {
    to_.put(to, static_cast<double>(from_.cell<std::int64_t>(from)));
  }
}

}  // namespace annlib
