#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/types.h"

namespace annlib {

/// A slot and its distance in one word that sorts as (distance, slot), with two flags for the search pool: whether it
/// passes the filter and whether it was expanded. Ties are broken by slot, and a NaN (which only a hostile file can
/// bring about) sorts last instead of breaking the order.
class Candidate {
 public:
  Candidate() = default;
  Candidate(float distance, Slot slot, bool passes = true)
      : word_(std::uint64_t{ordered(distance)} << 32 | std::uint64_t{slot} << 2 | std::uint64_t{passes} << 1) {}

  float distance() const {
    auto bits = static_cast<std::uint32_t>(word_ >> 32);
    bits = bits & 0x80000000u ? bits ^ 0x80000000u : ~bits;
    float distance;
    std::memcpy(&distance, &bits, sizeof(bits));
    return distance;
  }
  Slot slot() const { return static_cast<Slot>(word_) >> 2; }
  bool passes() const { return word_ & 2; }
  bool expanded() const { return word_ & 1; }
  void set_expanded() { word_ |= 1; }
  friend auto operator<=>(Candidate, Candidate) = default;

  /// Everything at this distance or nearer is below it.
  static Candidate beyond(float distance) {
    Candidate c;
    c.word_ = std::uint64_t{ordered(distance)} << 32 | 0xFFFFFFFFu;
    return c;
  }
  /// Nothing is above it.
  static Candidate last() {
    Candidate c;
    c.word_ = ~std::uint64_t{0};
    return c;
  }

 private:
  static std::uint32_t ordered(float distance) {
    distance += 0.0f;                              // one zero, not two
    if (distance != distance) return 0xFFC00000u;  // of a NaN the sign says nothing
    std::uint32_t bits;                            // by memcpy: g++ 10 has no std::bit_cast
    std::memcpy(&bits, &distance, sizeof(bits));
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  }
  std::uint64_t word_ = 0;
};

/// The k nearest of a stream, in amortised constant time a candidate whatever k is.
class TopK {
 public:
  void reset(std::size_t k) {
    k_ = k;
    items_.clear();
    bound_ = k == 0 ? Candidate() : Candidate::last();
  }
  void push(Candidate c) {
    if (!(c < bound_)) return;
    items_.push_back(c);
    if (items_.size() >= 2 * k_ + 64) shrink();
  }
  /// Whether k have come, so that bound() says something.
  bool full() const { return bound_ != Candidate::last(); }
  /// No candidate that is not below it can still enter; exact after shrink().
  Candidate bound() const { return bound_; }
  void shrink() {
    if (items_.size() < k_ || k_ == 0) return;
    const auto kth = items_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(items_.begin(), kth, items_.end());
    bound_ = *kth;
    items_.resize(k_);
  }
  /// The result, nearest first; valid until the next reset().
  const std::vector<Candidate>& sorted() {
    shrink();
    std::sort(items_.begin(), items_.end());
    return items_;
  }

 private:
  std::vector<Candidate> items_;
  std::size_t k_ = 0;
  Candidate bound_;
};

}  // namespace annlib
