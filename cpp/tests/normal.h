#pragma once

#include <cstddef>
#include <random>
#include <vector>

namespace annlib::test {

/// n numbers of a normal distribution of mean 0 and variance 1.
inline std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(n);
  for (float& value : values) value = distribution(random);
  return values;
}

}  // namespace annlib::test
