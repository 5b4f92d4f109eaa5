#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/buffer.h"

namespace annlib {

/// How many bits of a word are set. Without an instruction for it, which not all processors have, std::popcount() is a
/// call.
inline std::size_t bit_count(std::uint64_t word) {
  word -= word >> 1 & 0x5555555555555555u;
  word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
  return ((word + (word >> 4)) & 0x0F0F0F0F0F0F0F0Fu) * 0x0101010101010101u >> 56;
}

/// One bit for each slot, in 64-bit words; bits beyond size() are zero. Not thread-safe.
class Bitset {
 public:
  Bitset() = default;
  explicit Bitset(std::size_t n) { resize(n); }
  Bitset(Array<std::uint64_t> words, std::size_t n) : words_(std::move(words)), size_(n) {}

  static std::size_t words_for(std::size_t n) { return (n + 63) / 64; }

  std::size_t size() const { return size_; }
  void resize(std::size_t n) {
    words_.resize(words_for(n));
    if (n < size_ && n % 64 != 0) words_[n / 64] &= ~(~std::uint64_t{0} << (n % 64));
    size_ = n;
  }
  bool test(std::size_t i) const { return (words_[i >> 6] >> (i & 63)) & 1; }
  void set(std::size_t i) { words_[i >> 6] |= std::uint64_t{1} << (i & 63); }
  void reset(std::size_t i) { words_[i >> 6] &= ~(std::uint64_t{1} << (i & 63)); }
  std::size_t count() const {
    std::size_t total = 0;
    for (const std::uint64_t word : words_) total += bit_count(word);
    return total;
  }
  const Array<std::uint64_t>& words() const { return words_; }
  Bitset copy() const {
    Bitset made(size_);
    for (std::size_t w = 0; w < words_.size(); ++w) made.words_[w] = words_[w];
    return made;
  }
  /// With one of the same size, as the next two.
  Bitset& operator&=(const Bitset& other) {
    return combine(other, [](std::uint64_t a, std::uint64_t b) { return a & b; });
  }
  Bitset& operator|=(const Bitset& other) {
    return combine(other, [](std::uint64_t a, std::uint64_t b) { return a | b; });
  }
  Bitset& operator-=(const Bitset& other) {
    return combine(other, [](std::uint64_t a, std::uint64_t b) { return a & ~b; });
  }
  /// Puts f(w, word) in the place of each word w that has a bit set.
  template <class F>
  void edit_words(F&& f) {
    for (std::size_t w = 0; w < words_.size(); ++w) {
      if (words_[w] != 0) words_[w] = f(w, words_[w]);
    }
  }

  /// The first set bit from `i` on, beginning again at 0 behind the last; there must be one.
  std::size_t next(std::size_t i) const {
    std::size_t w = i / 64;
    std::uint64_t word = words_[w] & (~std::uint64_t{0} << (i % 64));
    while (word == 0) {
      w = w + 1 < words_.size() ? w + 1 : 0;
      word = words_[w];
    }
    return w * 64 + static_cast<std::size_t>(std::countr_zero(word));
  }

  /// Calls f(i) for each set bit, ascending.
  template <class F>
  void for_each(F&& f) const {
    for (std::size_t w = 0; w < words_.size(); ++w) {
      for (std::uint64_t word = words_[w]; word != 0; word &= word - 1) {
        f(w * 64 + static_cast<std::size_t>(std::countr_zero(word)));
      }
    }
  }

 private:
  template <class Operation>
  Bitset& combine(const Bitset& other, Operation&& operation) {
    for (std::size_t w = 0; w < words_.size(); ++w) words_[w] = operation(words_[w], other.words_[w]);
    return *this;
  }

  Array<std::uint64_t> words_;
  std::size_t size_ = 0;
};

}  // namespace annlib
