/// codec/rotation.h: what makes it a rotation, and that it spreads what was concentrated.

#include "codec/rotation.h"

#include <cmath>
#include <vector>

#include "tests/check.h"
#include "tests/guarded.h"
#include "tests/normal.h"

using annlib::Rotation;
using annlib::test::Guarded;
using annlib::test::normal;

namespace {

constexpr std::uint32_t kDims[] = {1, 2, 15, 16, 17, 33, 100, 128, 240, 300, 384, 500, 768, 784, 1536};

std::vector<float> rotated(const Rotation& rotation, const std::vector<float>& in) {
  Guarded<float> source(in.size()), out(rotation.padded());
  std::copy(in.begin(), in.end(), source.begin());
  rotation.apply(source.data(), out.data());
  return {out.begin(), out.end()};
}

double product(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

TEST(rotation_keeps_norms_and_products) {
  for (const std::uint32_t dim : kDims) {
    const Rotation rotation(dim, 7);
    CHECK(rotation.padded() >= dim && rotation.padded() < dim + 16 && rotation.padded() % 16 == 0, dim);
    const std::vector<float> a = normal(dim, 1), b = normal(dim, 2);
    const std::vector<float> ra = rotated(rotation, a), rb = rotated(rotation, b);
    const double scale = std::sqrt(product(a, a) * product(b, b));
    CHECK_NEAR(product(ra, ra), product(a, a), 1e-5 * product(a, a), "dim ", dim);
    CHECK_NEAR(product(ra, rb), product(a, b), 1e-5 * scale, "dim ", dim);
  }
}

TEST(rotation_undone_gives_back_what_it_took) {
  for (const std::uint32_t dim : kDims) {
    const Rotation rotation(dim, 7);
    const std::vector<float> in = normal(dim, 3), there = rotated(rotation, in);
    Guarded<float> used(there.size()), back(dim);
    std::copy(there.begin(), there.end(), used.begin());
    rotation.undo(used.data(), back.data());
    for (std::uint32_t i = 0; i < dim; ++i) CHECK_NEAR(back[i], in[i], 1e-5, "dim ", dim, " element ", i);
  }
}

TEST(rotation_spreads_every_single_dimension) {
  for (const std::uint32_t dim : {64u, 100u, 240u, 384u, 500u, 768u}) {
    const Rotation rotation(dim, 7);
    for (std::uint32_t i = 0; i < dim; ++i) {
      std::vector<float> in(dim);
      in[i] = 1.0f;
      double fourth = 0;
      for (const float x : rotated(rotation, in)) fourth += std::pow(x, 4);
      // Three for a normal distribution, `padded` for a dimension that stays alone.
      const double kurtosis = fourth * rotation.padded();
      CHECK(kurtosis < 24, "dim ", dim, " of ", i, " kurtosis ", kurtosis);
    }
  }
}

TEST(rotation_depends_on_dim_and_seed_alone) {
  const std::vector<float> in = normal(100, 3);
  CHECK(rotated(Rotation(100, 7), in) == rotated(Rotation(100, 7), in));
  CHECK(rotated(Rotation(100, 7), in) != rotated(Rotation(100, 8), in));
}
