#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/bitset.h"
#include "core/buffer.h"
#include "core/types.h"
#include "table/dictionary.h"

namespace annlib {

/// What an attribute holds. Numbers are part of the file format.
enum class AttributeType : std::uint8_t {
  boolean = 0,
  integer = 1,
  real = 2,
  date = 3,      ///< days since 1970-01-01
  datetime = 4,  ///< microseconds since 1970-01-01
  string = 5,
  strings = 6,  ///< a list of strings
  integers = 7  ///< a list of integers
};
inline constexpr std::size_t kAttributeTypes = 8;

/// As users read it: "int", "list of strings".
const char* name_of(AttributeType type);
constexpr bool is_list(AttributeType type) { return type >= AttributeType::strings; }
constexpr bool has_dictionary(AttributeType type) { return type >= AttributeType::string; }

/// 64-bit keys in the order of the numbers; both zeros have one.
constexpr std::uint64_t key_of(std::int64_t value) {
  return static_cast<std::uint64_t>(value) ^ (std::uint64_t{1} << 63);
}
constexpr std::uint64_t key_of(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value + 0.0);
  return bits >> 63 != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}

/// Values of one attribute, a row an item, on their way in or out.
struct AttributeRows {
  AttributeType type = AttributeType::integer;
  std::vector<std::uint8_t> present;   ///< for each row; 0: null
  std::vector<std::int64_t> integers;  ///< of bool, int, date and datetime a row each; of lists of ints the elements
  std::vector<double> reals;           ///< of float
  std::vector<std::int64_t> lists;     ///< of lists where each row's elements begin, and the end
  std::vector<std::int64_t> texts;     ///< of strings where each row's or element's text begins, and the end
  std::string text;                    ///< UTF-8

  std::size_t count() const { return present.size(); }
};

/// One attribute: for each slot a value of the column's type, or null. Strings and the elements of lists are codes of a
/// dictionary (integers in lists as their 8 bytes). Not thread-safe.
class Column {
 public:
  /// All null.
  Column(AttributeType type, std::size_t slots);
  /// ValueError unless the arrays fit together and floats are no NaN.
  explicit Column(const AttributeRows& rows);

  AttributeType type() const { return type_; }
  std::size_t slots() const { return present_.size(); }
  bool present(Slot slot) const { return present_.test(slot); }
  const Bitset& present_bits() const { return present_; }
  /// Changes whenever a value does.
  std::uint64_t version() const { return version_; }

  /// The value's place in the order of values, of types without a dictionary. What is null has the key of 0.
  std::uint64_t key(Slot slot) const {
    switch (type_) {
      case AttributeType::boolean:
        return key_of(std::int64_t{cell<std::uint8_t>(slot)});
      case AttributeType::real:
        return key_of(cell<double>(slot));
      default:
        return key_of(cell<std::int64_t>(slot));
    }
  }
  /// Of a string that is present.
  Dictionary::Code code(Slot slot) const { return cell<Dictionary::Code>(slot); }
  /// Of a list; empty where it is null.
  std::span<const Dictionary::Code> list(Slot slot) const {
    const Range range = cell<Range>(slot);
    return {elements_.data() + range.begin, range.length};
  }
  const Dictionary& dictionary() const { return dictionary_; }
  AttributeRows gather(std::span<const Slot> slots) const;

  void resize(std::size_t slots);
  void clear(Slot slot);
  /// Gives the slot `to` the value of `from`.
  void copy(Slot from, Slot to) noexcept;
  void touch();
  /// Drops texts and lists that no slot has any more, once they may be as many as those that some slot has.
  void tidy();

  std::size_t memory_bytes() const;

  /// The arrays behind it, for storage.
  struct Parts {
    AttributeType type;
    Array<std::byte> cells;
    Array<std::uint64_t> present;
    Array<Dictionary::Code> elements;
    Array<std::uint64_t> ends;
    Array<char> texts;
  };
  static std::size_t cell_bytes(AttributeType type);
  const Array<std::byte>& cells() const { return cells_; }
  const Array<Dictionary::Code>& elements() const { return elements_; }
  /// From a file, which may be hostile: CorruptError unless all fits together.
  static Column restore(Parts parts, std::size_t slots);

 private:
  friend class ColumnCopy;
  struct Range {
    std::uint32_t begin, length;
  };
  template <class T>
  const T& cell(Slot slot) const {
    return reinterpret_cast<const T*>(cells_.data())[slot];
  }
  template <class T>
  void put(Slot slot, T value) {
    reinterpret_cast<T*>(cells_.data())[slot] = value;
    present_.set(slot);
  }
  Range append(std::size_t count);
  std::size_t held() const { return elements_.size() + dictionary_.size(); }

  AttributeType type_;
  Array<std::byte> cells_;
  Bitset present_;
  Dictionary dictionary_;
  Array<Dictionary::Code> elements_;  // of all lists, and of some that are no more
  std::size_t tidied_ = 0;            // held() when nothing of it was in vain
  std::uint64_t version_;
};

/// Copies values between columns of the same type, or from int to float.
class ColumnCopy {
 public:
  ColumnCopy(Column& to, const Column& from) : to_(to), from_(from) {}
  void operator()(Slot from, Slot to);

 private:
  Dictionary::Code translate(Dictionary::Code code);

  Column& to_;
  const Column& from_;
  std::vector<Dictionary::Code> codes_;  // of `to`, by those of `from`, as far as they have been met
};

/// Whether values of one type can be kept in a column of another.
constexpr bool fits(AttributeType value, AttributeType column) {
  return value == column || (value == AttributeType::integer && column == AttributeType::real);
}

}  // namespace annlib
