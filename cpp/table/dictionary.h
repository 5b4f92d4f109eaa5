#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/buffer.h"
#include "core/slot_hash.h"

namespace annlib {

/// Different texts, each with a code: 0, 1, 2 ... in the order in which they came. Not thread-safe.
class Dictionary {
 public:
  using Code = std::uint32_t;
  static constexpr Code kNone = kNoSlot;

  std::size_t size() const { return ends_.size(); }
  std::string_view text(Code code) const {
    const std::uint64_t begin = code == 0 ? 0 : ends_[code - 1];
    return {texts_.data() + begin, ends_[code] - begin};
  }
  /// kNone for a text that is not there.
  Code find(std::string_view text) const;
  /// The text's code, a new one if need be. ValueError beyond kMaxSlots texts.
  Code add(std::string_view text);

  std::size_t memory_bytes() const { return ends_.bytes().size() + texts_.bytes().size() + codes_.memory_bytes(); }

  /// The arrays behind it, for storage: where each text ends, and the texts.
  const Array<std::uint64_t>& ends() const { return ends_; }
  const Array<char>& texts() const { return texts_; }
  /// From a file, which may be hostile: CorruptError unless the ends ascend up to the length of the texts and no text
  /// stands twice.
  static Dictionary restore(Array<std::uint64_t> ends, Array<char> texts);

 private:
  void insert(Code code);

  Array<std::uint64_t> ends_;
  Array<char> texts_;
  SlotHash codes_;
};

/// Whether bytes are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view bytes);

}  // namespace annlib
