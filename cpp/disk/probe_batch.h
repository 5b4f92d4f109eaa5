#pragma once

#include <functional>
#include <memory>
#include <span>

#include "disk/probe.h"

namespace annlib::disk {

/// Some queries through the same lists: each list, and each page of vectors, is read once for all of them, and what is
/// found for one is what would be found for it alone.
class ProbeBatch {
 public:
  ProbeBatch(const ProbeView& view, const Probe::FreshRow& fresh) : view_(view), fresh_(fresh) {}

  void run(std::span<const std::unique_ptr<Probe>> probes);
  using Told = std::function<void(Probe&)>;
  /// The lists alone; `through` is told which probe wants no more of them, while others scan. Of one probe that waits
  /// for no list, `halfway` is told when it has scanned some.
  void scan_lists(std::span<Probe* const> probes, const Told& through, const Told& halfway = nullptr);

 private:
  /// Lists of one round, as they arrive.
  class Round;
  /// Vectors that probes wait for, as they arrive.
  class Vectors;

  const ProbeView& view_;
  const Probe::FreshRow& fresh_;
};

}  // namespace annlib::disk
