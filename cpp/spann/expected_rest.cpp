#include "spann/expected_rest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace annlib {
namespace {

// The share of a normal distribution that lies above so many standard deviations.
class UpperTail {
 public:
  UpperTail() {
    for (std::size_t i = 0; i < shares_.size(); ++i) {
      const double at = kLeast + static_cast<double>(i) / kSteps;
      shares_[i] = static_cast<float>(std::erfc(at / std::sqrt(2.0)) / 2);
    }
  }
  float above(float deviations) const {
    if (!(deviations > kLeast)) return 1.0f;
    if (deviations >= kMost) return 0.0f;
    const float at = (deviations - kLeast) * kSteps;
    const auto low = static_cast<std::size_t>(at);
    return shares_[low] + (at - static_cast<float>(low)) * (shares_[low + 1] - shares_[low]);
  }

 private:
  static constexpr float kLeast = -4, kMost = 12, kSteps = 16;
  std::array<float, static_cast<std::size_t>((kMost - kLeast) * kSteps) + 2> shares_;
};

const UpperTail kUpperTail;

}  // namespace

void ExpectedRest::expect(float distance, float radius, std::size_t size) {
  const float away = std::sqrt(std::max(distance, 0.0f));
  const float scale = std::sqrt(dims_) / std::max(2 * away * radius, std::numeric_limits<float>::min());
  lists_.push_back({distance + radius * radius, scale, static_cast<float>(size), 0});
}

double ExpectedRest::weight(std::size_t i, float within) const {
  return static_cast<double>(kUpperTail.above(lists_[i].scale * (lists_[i].middle - within)));
}

double ExpectedRest::share(float within) const {
  if (!std::isfinite(within)) return 1;
  double found = 0, rest = 0, passed[] = {0, 0}, size[] = {0, 0};  // of each half of the lists scanned
  for (std::size_t i = 0; i < scanned_; ++i) {
    const List& list = lists_[i];
    found += static_cast<double>(list.passed) * weight(i, within);
    passed[i >= scanned_ / 2] += static_cast<double>(list.passed);
    size[i >= scanned_ / 2] += static_cast<double>(list.size);
  }
  double last = 0, middle = 0;
  for (std::size_t i = scanned_; i < lists_.size(); ++i) {
    last = weight(i, within);
    if (i == (scanned_ + lists_.size()) / 2) middle = last;
    rest += static_cast<double>(lists_[i].size) * last;
  }
  if (beyond_ > 0 && last > 0) {  // it goes on to fall as it does in the second half
    const double falls = std::log(middle / last), over = static_cast<double>(lists_.size() - scanned_) / 2;
    const auto most = static_cast<double>(beyond_);
    rest += static_cast<double>(lists_.back().size) * last * (falls > 0 ? std::min(over / falls, most) : most);
  }
  // How many of the rows to come pass is as with all so far, unless it grows with the distance.
  const auto part = [](double some, double of) { return of > 0 ? some / of : 0; };
  rest *= std::max({part(passed[0] + passed[1], size[0] + size[1]), part(passed[1], size[1]), passing_});
  return rest > 0 ? rest / (std::max(found, least_) + rest) : 0;
}

}  // namespace annlib
