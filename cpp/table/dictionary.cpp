#include "table/dictionary.h"

#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/random.h"

namespace annlib {
namespace {

std::uint64_t hash_of(std::string_view text) {
  return hash_bytes(reinterpret_cast<const std::byte*>(text.data()), text.size());
}

}  // namespace

Dictionary::Code Dictionary::find(std::string_view wanted) const {
  return codes_.find(hash_of(wanted), [&](Code code) { return text(code) == wanted; });
}

void Dictionary::insert(Code code) {
  codes_.insert(code, [&](Code other) { return hash_of(text(other)); });
}

Dictionary::Code Dictionary::add(std::string_view added) {
  if (const Code known = find(added); known != kNone) return known;
  if (size() >= kMaxSlots) {
    throw ValueError("an attribute holds at most " + std::to_string(kMaxSlots) + " different values");
  }
  const std::size_t begin = texts_.size();
  ends_.reserve(size() + 1);
  texts_.resize(begin + added.size());
  if (!added.empty()) std::memcpy(texts_.data() + begin, added.data(), added.size());
  ends_.push_back(texts_.size());
  const auto code = static_cast<Code>(size() - 1);
  insert(code);
  return code;
}

Dictionary Dictionary::restore(Array<std::uint64_t> ends, Array<char> texts) {
  if (ends.size() > kMaxSlots) throw CorruptError("an attribute's dictionary is too long");
  std::uint64_t before = 0;
  for (const std::uint64_t end : ends) {
    if (end < before || end > texts.size()) throw CorruptError("the texts of an attribute do not ascend");
    before = end;
  }
  if (before != texts.size()) throw CorruptError("the texts of an attribute have a wrong length");
  Dictionary made;
  made.ends_ = std::move(ends);
  made.texts_ = std::move(texts);
  made.codes_.reserve(made.size(), [&](Code code) { return hash_of(made.text(code)); });
  for (std::size_t i = 0; i < made.size(); ++i) {
    const auto code = static_cast<Code>(i);
    if (made.find(made.text(code)) != kNone) throw CorruptError("a value stands twice in an attribute's dictionary");
    made.insert(code);
  }
  return made;
}

bool is_utf8(std::string_view bytes) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  for (std::size_t i = 0; i < bytes.size();) {
    const unsigned char first = at(i);
    if (first < 0x80) {
      ++i;
      continue;
    }
    const std::size_t more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4 || i + more >= bytes.size()) return false;
    std::uint32_t point = first & (0x3Fu >> more);
    for (std::size_t j = 1; j <= more; ++j) {
      if ((at(i + j) & 0xC0) != 0x80) return false;
      point = point << 6 | (at(i + j) & 0x3Fu);
    }
    constexpr std::uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    if (point < kLeast[more] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return false;
    i += more + 1;
  }
  return true;
}

}  // namespace annlib
