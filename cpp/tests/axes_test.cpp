/// codec/eigen.h and codec/axes.h: the decomposition by its definition, where bits go, and coordinates that keep what
/// they are given.

#include "codec/axes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "codec/eigen.h"
#include "tests/check.h"
#include "tests/normal.h"

using namespace annlib;
using annlib::test::normal;

namespace {

/// n vectors whose deviations fall from dimension to dimension, turned so that no dimension is an axis.
std::vector<float> decaying(std::size_t n, std::uint32_t dim, unsigned seed) {
  std::vector<float> vectors = normal(n * dim, seed);
  const Rotation turn(dim, 99, 2);
  std::vector<float> turned(turn.padded());
  for (std::size_t i = 0; i < n; ++i) {
    float* v = &vectors[i * dim];
    for (std::uint32_t d = 0; d < dim; ++d) v[d] *= std::pow(0.9f, static_cast<float>(d));
    turn.apply(v, turned.data());
    std::copy_n(turned.begin(), dim, v);
  }
  return vectors;
}

double product(const double* a, const double* b, std::size_t n) { return std::inner_product(a, a + n, b, 0.0); }

void check_eigen(const std::vector<double>& matrix, std::size_t n) {
  const Eigen eigen = symmetric_eigen(matrix, n);
  double norm = 0;
  for (const double value : eigen.values) norm = std::max(norm, std::fabs(value));
  for (std::size_t i = 0; i < n; ++i) {
    const double* v = &eigen.vectors[i * n];
    CHECK(i == 0 || eigen.values[i] <= eigen.values[i - 1], "n ", n);
    for (std::size_t j = 0; j < n; ++j) {
      CHECK_NEAR(product(v, &eigen.vectors[j * n], n), i == j ? 1.0 : 0.0, 1e-12, "n ", n);
      CHECK_NEAR(product(&matrix[j * n], v, n), eigen.values[i] * v[j], 1e-12 * norm, "n ", n, " of ", i);
    }
  }
}

std::vector<double> gram(std::size_t rank, std::size_t n, unsigned seed) {
  const std::vector<float> x = normal(rank * n, seed);
  std::vector<double> matrix(n * n);
  for (std::size_t k = 0; k < rank; ++k) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) matrix[i * n + j] += double(x[k * n + i]) * x[k * n + j];
    }
  }
  return matrix;
}

}  // namespace

TEST(eigenvectors_of_symmetric_matrices) {
  for (std::size_t n = 1; n <= 40; ++n) check_eigen(gram(n + 3, n, 1), n);
  check_eigen(gram(150, 130, 2), 130);
  check_eigen(gram(300, 257, 2), 257);
}

TEST(eigenvectors_of_singular_and_repeated_values) {
  check_eigen(gram(3, 30, 4), 30);  // of rank 3
  check_eigen(std::vector<double>(64, 0.0), 8);
  check_eigen(std::vector<double>(64, 1.0), 8);
  std::vector<double> identity(400), graded(400), indefinite(400);
  for (std::size_t i = 0; i < 20; ++i) {
    identity[i * 21] = 3.0;
    graded[i * 21] = std::pow(10.0, -double(i));
    indefinite[i * 20 + 19 - i] = 1.0;  // half of the values are -1
  }
  check_eigen(identity, 20);
  check_eigen(graded, 20);
  check_eigen(indefinite, 20);
  std::vector<double> large = gram(30, 20, 5), small = large;
  for (double& x : large) x *= 1e150;
  for (double& x : small) x *= 1e-150;
  check_eigen(large, 20);
  check_eigen(small, 20);
}

TEST(bits_go_where_they_lower_the_error_most) {
  CHECK(allocate_bits(std::vector<double>(5, 2.0), 3) == std::vector<std::uint32_t>(5, 3));
  CHECK(allocate_bits(std::vector<double>{1.0, 0.0}, 4) == (std::vector<std::uint32_t>{8, 0}));
  CHECK(allocate_bits(std::vector<double>{1.0, 0.0}, 8) == (std::vector<std::uint32_t>{kMostBits, 4}));
  std::vector<double> variances;
  for (int i = 0; i < 30; ++i) variances.push_back(std::pow(0.7, i));
  const auto error = [&](const std::vector<std::uint32_t>& bits) {
    double sum = 0;
    for (std::size_t i = 0; i < bits.size(); ++i) sum += std::pow(variances[i], 1.5) * kNormalErrors[bits[i]];
    return sum;
  };
  for (std::uint32_t bits = 1; bits <= 8; ++bits) {
    const std::vector<std::uint32_t> given = allocate_bits(variances, bits);
    CHECK_EQ(std::accumulate(given.begin(), given.end(), 0u), 30 * bits);
    CHECK(std::is_sorted(given.rbegin(), given.rend()));
    for (std::size_t from = 0; from < 30; ++from) {
      for (std::size_t to = 0; to < 30; ++to) {  // no bit would do better elsewhere
        if (given[from] == 0 || given[to] == kMostBits) continue;
        std::vector<std::uint32_t> other(given);
        --other[from], ++other[to];
        CHECK(error(given) <= error(other) * (1 + 1e-12), "bits ", bits, " from ", from, " to ", to);
      }
    }
  }
}

TEST(normal_steps_are_the_best) {
  // By integration over the positive half of the normal distribution.
  const auto error = [&](std::uint32_t bits, double step) {
    constexpr double kSlice = 1e-4;
    const double top = (1u << (bits - 1)) - 1;
    double sum = 0;
    for (double x = kSlice / 2; x < 8; x += kSlice) {
      const double level = step * (std::min(top, std::floor(x / step)) + 0.5);
      sum += std::pow(x - level, 2) * std::exp(-x * x / 2);
    }
    return sum * kSlice * 2 / std::sqrt(2 * std::acos(-1.0));
  };
  for (std::uint32_t bits = 1; bits <= kMostBits; ++bits) {
    const double step = kNormalSteps[bits], found = error(bits, step);
    CHECK_NEAR(found / kNormalErrors[bits], 1.0, 0.01, "bits ", bits);
    CHECK(found < error(bits, 0.95 * step) && found < error(bits, 1.05 * step), "bits ", bits);
  }
}

TEST(axes_concentrate_what_lies_in_few_directions) {
  constexpr std::uint32_t kDim = 50;
  constexpr std::size_t kRows = 2000;
  const std::vector<float> sample = decaying(kRows, kDim, 1), zero(kDim, 0.0f);
  for (std::uint32_t bits = 1; bits <= 8; ++bits) {
    Axes axes(kDim, bits);
    axes.learn(sample.data(), kRows, zero.data());
    CHECK(axes.bits().front() > bits && axes.bits().back() < bits, "bits ", bits);
    std::vector<float> coordinates(axes.padded());
    std::vector<double> squares(axes.padded());
    double all = 0, kept = 0;
    for (std::size_t i = 0; i < kRows; ++i) {
      const float* v = &sample[i * kDim];
      axes.apply(v, coordinates.data());
      for (std::uint32_t d = 0; d < kDim; ++d) all += double(v[d]) * v[d];
      for (std::uint32_t c = 0; c < axes.kept(); ++c) {
        squares[c] += std::pow(coordinates[c], 2) / kRows;
        kept += std::pow(coordinates[c], 2);
      }
    }
    // Coordinates are of orthonormal axes: back and forth they are the same.
    std::vector<float> there(kDim), again(axes.padded()), used(coordinates);
    axes.undo(used.data(), there.data());
    axes.apply(there.data(), again.data());
    for (std::uint32_t c = 0; c < axes.kept(); ++c) CHECK_NEAR(again[c], coordinates[c], 1e-4, "bits ", bits);
    CHECK(kept > 0.9 * all && kept < all * (1 + 1e-5), "bits ", bits, " kept ", kept / all);
    for (std::uint32_t g = 0; g < axes.kept() / kGroupDims; ++g) {
      const double variance =
          std::accumulate(&squares[g * kGroupDims], &squares[g * kGroupDims] + kGroupDims, 0.0) / kGroupDims;
      CHECK_NEAR(axes.deviations()[g] / std::sqrt(variance), 1.0, 0.5, "bits ", bits, " group ", g);
    }
  }
}

TEST(axes_of_few_vectors_or_of_none_are_a_rotation) {
  for (const std::uint32_t dim : {1u, 3u, 16u, 100u}) {
    for (const std::size_t n : {std::size_t{1}, std::size_t{dim}}) {
      const std::vector<float> sample = normal(n * dim, 6), zero(dim, 0.0f);
      Axes axes(dim, 2);
      axes.learn(sample.data(), n, zero.data());
      CHECK_EQ(axes.kept(), axes.padded());
      CHECK(axes.bits() == std::vector<std::uint32_t>(axes.padded() / kGroupDims, 2));
      std::vector<float> coordinates(axes.padded());
      axes.apply(sample.data(), coordinates.data());
      double before = 0, after = 0;
      for (std::uint32_t d = 0; d < dim; ++d) before += double(sample[d]) * sample[d];
      for (const float c : coordinates) after += double(c) * c;
      CHECK_NEAR(after, before, 1e-5 * before, "dim ", dim);
    }
  }
}

TEST(axes_take_back_what_they_gave_and_nothing_else) {
  constexpr std::uint32_t kDim = 20;
  const std::vector<float> sample = decaying(500, kDim, 2), zero(kDim, 0.0f);
  Axes axes(kDim, 2);
  axes.learn(sample.data(), 500, zero.data());
  std::vector<float> params;
  axes.append(params);
  Axes other(kDim, 2);
  CHECK(other.restore(params));
  std::vector<float> a(axes.padded()), b(axes.padded());
  axes.apply(sample.data(), a.data());
  other.apply(sample.data(), b.data());
  CHECK(a == b && axes.bits() == other.bits() && axes.deviations() == other.deviations());

  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::size_t groups = axes.padded() / kGroupDims;
  const auto refuses = [&](std::size_t at, float value) {
    std::vector<float> wrong(params);
    wrong[at] = value;
    CHECK(!Axes(kDim, 2).restore(wrong), "at ", at, " ", value);
  };
  for (const float value : {-1.0f, 0.5f, 13.0f, params[0] + 1.0f, 1e30f, nan}) refuses(0, value);  // bits
  refuses(groups - 1, params[0] + 1);
  for (const float value : {-1.0f, nan, std::numeric_limits<float>::infinity()}) refuses(groups, value);  // deviations
  for (const float value : {1.1f, -1e30f, nan}) refuses(2 * groups, value);                               // rows
  CHECK(!Axes(kDim, 3).restore(params));
  CHECK(!Axes(kDim + 16, 2).restore(params));
  for (const std::size_t size : {std::size_t{0}, groups, 2 * groups, params.size() - 1}) {
    CHECK(!Axes(kDim, 2).restore(std::span<const float>(params).first(size)), "size ", size);
  }
}
