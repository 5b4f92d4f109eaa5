#pragma once

#include <cstddef>
#include <limits>

#include "core/buffer.h"
#include "core/types.h"
#include "simd/simd.h"

namespace annlib {

/// Nodes that a walk over codes may expand next, in no order: a walk is offered many more nodes than it expands, and
/// keeping all of them sorted costs more than looking for the least of a few hundred estimates, 16 at a time.
class Frontier {
 public:
  void clear() { size_ = nearest_ = 0; }
  bool empty() const { return size_ == 0; }

  void push(float estimate, Slot slot) {
    if (size_ + kPadding > slots_.size()) grow();
    estimates_[size_] = estimate;
    slots_[size_] = slot;
    if (size_ == 0 || estimate < estimates_[nearest_]) nearest_ = size_;
    ++size_;
  }

  /// The node of the least estimate, if there is one.
  Slot nearest() const { return slots_[nearest_]; }
  float nearest_estimate() const { return estimates_[nearest_]; }
  void remove_nearest() {
    --size_;
    estimates_[nearest_] = estimates_[size_];
    slots_[nearest_] = slots_[size_];
    const std::size_t padded = (size_ + kPadding - 1) / kPadding * kPadding;
    for (std::size_t i = size_; i < padded; ++i) estimates_[i] = std::numeric_limits<float>::infinity();
    nearest_ = size_ == 0 ? 0 : simd::kernels().argmin(estimates_.data(), padded);
  }

  /// Forgets what is not below `bound`, now and then: the call costs next to nothing until enough has gathered.
  void prune(float bound) {
    if (size_ < prune_at_) return;
    std::size_t kept = 0, nearest = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      estimates_[kept] = estimates_[i];
      slots_[kept] = slots_[i];
      if (i == nearest_) nearest = kept;
      kept += estimates_[i] < bound;
    }
    size_ = kept;
    nearest_ = nearest;
    prune_at_ = 2 * kept + kPruneFrom;
  }

 private:
  static constexpr std::size_t kPadding = 16;  // lanes of the widest vectors
  static constexpr std::size_t kPruneFrom = 128;

  void grow() {
    const std::size_t room = 2 * slots_.size() + 1024;
    estimates_.resize(room);
    slots_.resize(room);
  }

  Array<float> estimates_;
  Array<Slot> slots_;
  std::size_t size_ = 0, nearest_ = 0, prune_at_ = kPruneFrom;
};

}  // namespace annlib
