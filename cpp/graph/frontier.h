#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "core/buffer.h"
#include "core/types.h"
#include "simd/simd.h"

namespace annlib {

/// Nodes that a walk over codes may expand next, by their estimates. A walk is offered many more nodes than it expands,
/// and to keep all of them sorted costs more than to look for the least one: they lie in chunks in no order, and of
/// each chunk the least is known.
class Frontier {
 public:
  void clear() {
    argmin_ = simd::kernels().argmin;
    size_ = 0;
    prune_at_ = kPruneFrom;
    open_chunk();
    best_ = 0;
  }
  bool empty() const { return nearest_estimate() == kNone; }

  /// Estimates are finite.
  void push(float estimate, Slot slot) {
    const std::size_t chunk = size_ / kChunk;
    estimates_[size_] = estimate;
    slots_[size_] = slot;
    if (estimate < least_[chunk]) {
      least_[chunk] = estimate;
      place_[chunk] = static_cast<std::uint32_t>(size_);
      if (estimate < least_[best_]) best_ = chunk;
    }
    if (++size_ % kChunk == 0) open_chunk();
  }

  /// The node of the least estimate, if there is one.
  Slot nearest() const { return slots_[place_[best_]]; }
  float nearest_estimate() const { return least_[best_]; }
  void remove_nearest() {
    estimates_[place_[best_]] = kNone;
    find_least(best_);
    best_ = argmin_(least_.data(), least_padded());
  }

  /// Forgets what is not below `bound`, now and then: the call costs next to nothing until enough has gathered.
  void prune(float bound) {
    if (size_ < prune_at_) return;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      const float estimate = estimates_[i];
      estimates_[kept] = estimate;
      slots_[kept] = slots_[i];
      kept += estimate < bound;
    }
    std::fill(estimates_.data() + kept, estimates_.data() + std::max(size_, kept), kNone);
    size_ = kept;
    prune_at_ = 2 * kept + kPruneFrom;
    for (std::size_t chunk = 0; chunk <= size_ / kChunk; ++chunk) find_least(chunk);
    std::fill(least_.data() + size_ / kChunk + 1, least_.data() + least_padded(), kNone);
    best_ = argmin_(least_.data(), least_padded());
  }

 private:
  static constexpr float kNone = std::numeric_limits<float>::infinity();
  static constexpr std::size_t kChunk = 64;
  static constexpr std::size_t kPadding = 16;  // what argmin looks at is a multiple of this
  static constexpr std::size_t kPruneFrom = 256;

  std::size_t least_padded() const { return (size_ / kChunk + kPadding) / kPadding * kPadding; }
  void find_least(std::size_t chunk) {
    const std::size_t at = chunk * kChunk + argmin_(estimates_.data() + chunk * kChunk, kChunk);
    place_[chunk] = static_cast<std::uint32_t>(at);
    least_[chunk] = estimates_[at];
  }
  // The chunk that the next node comes into, and as many empty ones behind it as argmin looks at.
  void open_chunk() {
    const std::size_t chunk = size_ / kChunk, padded = least_padded();
    if (padded > least_.size()) {
      estimates_.resize(2 * padded * kChunk);
      slots_.resize(2 * padded * kChunk);
      place_.resize(2 * padded);
      least_.resize(2 * padded);
    }
    std::fill_n(estimates_.data() + chunk * kChunk, kChunk, kNone);
    std::fill(least_.data() + chunk, least_.data() + padded, kNone);
    std::fill(place_.data() + chunk, place_.data() + padded, static_cast<std::uint32_t>(chunk * kChunk));
  }

  decltype(simd::Kernels::argmin) argmin_ = nullptr;
  Array<float> estimates_;  ///< of removed nodes kNone
  Array<Slot> slots_;
  Array<float> least_;          ///< of each chunk
  Array<std::uint32_t> place_;  ///< and where it is
  std::size_t size_ = 0, best_ = 0, prune_at_ = kPruneFrom;
};

}  // namespace annlib
