#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/buffer.h"

namespace annlib {

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
    for (std::uint64_t word : words_) total += static_cast<std::size_t>(std::popcount(word));
    return total;
  }
  const Array<std::uint64_t>& words() const { return words_; }

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
  Array<std::uint64_t> words_;
  std::size_t size_ = 0;
};

}  // namespace annlib
