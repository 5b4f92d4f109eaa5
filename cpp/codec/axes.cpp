#include "codec/axes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codec/eigen.h"
#include "simd/simd.h"

namespace annlib {

const double kNormalSteps[] = {0.0,    1.5958, 0.9957, 0.5860,  0.3352,  0.1881, 0.1041,
                               0.0569, 0.0308, 0.0165, 0.00879, 0.00465, 0.00245};
const double kNormalErrors[] = {1.0,     0.36338, 0.11885, 0.03744, 0.01154, 3.495e-3, 1.040e-3,
                                3.04e-4, 8.77e-5, 2.49e-5, 7.00e-6, 1.94e-6, 5.36e-7};

namespace {

// The rotations are a function of the dimension and this: part of the file format.
constexpr std::uint64_t kRotationSeed = 0x5261426974510001ull;

// Of more dimensions learning would take minutes, and a query as long as its search.
constexpr std::uint32_t kMostDims = 2048;
// Rows that axes are learnt from, at most and for each dimension at least.
constexpr std::size_t kMostRows = 16384, kLeastRows = 4;
// Elements whose products keep their digits in float32.
constexpr double kLeastSquare = 1e-30, kMostSquare = 1e30;

/// n times the covariance of n vectors whose mean is zero.
std::vector<double> covariance(const float* vectors, std::size_t n, std::uint32_t dim) {
  // Elements of one dimension side by side: their products are rows for a kernel. In pieces, for floats would lose
  // digits in longer sums.
  constexpr std::size_t kPiece = 1024;
  const simd::Scorer dot = simd::kernels().scorer(simd::Op::dot, simd::Pair::f32_f32, simd::Tail::none);
  std::vector<double> sum(std::size_t{dim} * dim);
  std::vector<float> turned(dim * kPiece), products(dim);
  simd::Rows rows;
  rows.data = reinterpret_cast<const std::byte*>(turned.data());
  rows.stride = kPiece * sizeof(float);
  for (std::size_t first = 0; first < n; first += kPiece) {
    const std::size_t count = std::min(kPiece, n - first);
    rows.dim = static_cast<std::uint32_t>(count);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::uint32_t d = 0; d < dim; ++d) turned[d * kPiece + i] = vectors[(first + i) * dim + d];
    }
    for (std::uint32_t a = 0; a < dim; ++a) {
      dot.range({&turned[a * kPiece]}, rows, a, dim - a, products.data());
      for (std::uint32_t b = a; b < dim; ++b) sum[std::size_t{a} * dim + b] += products[b - a];
    }
  }
  for (std::uint32_t a = 0; a < dim; ++a) {
    for (std::uint32_t b = 0; b < a; ++b) sum[std::size_t{a} * dim + b] = sum[std::size_t{b} * dim + a];
  }
  return sum;
}

double mean_square(const float* vectors, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(vectors[i]) * vectors[i];
  return sum / static_cast<double>(n);
}

}  // namespace

std::vector<std::uint32_t> allocate_bits(std::span<const double> variances, std::uint32_t bits) {
  std::vector<std::uint32_t> given(variances.size());
  const auto gain = [&](std::size_t group) {
    const std::uint32_t b = given[group];
    if (b == kMostBits) return -1.0;
    return std::pow(variances[group], 1.5) * (kNormalErrors[b] - kNormalErrors[b + 1]);
  };
  std::vector<double> gains(variances.size());
  for (std::size_t group = 0; group < gains.size(); ++group) gains[group] = gain(group);
  for (std::size_t left = bits * variances.size(); left > 0; --left) {
    const auto most = static_cast<std::size_t>(std::max_element(gains.begin(), gains.end()) - gains.begin());
    ++given[most];
    gains[most] = gain(most);
  }
  return given;
}

Axes::Axes(std::uint32_t dim, std::uint32_t bits)
    : dim_(dim),
      mean_bits_(bits),
      rotation_(dim, kRotationSeed),
      bits_(padded() / kGroupDims, bits),
      deviations_(padded() / kGroupDims, 1.0f) {
  count_kept();
}

void Axes::count_kept() {
  kept_ = kGroupDims * static_cast<std::uint32_t>(std::find(bits_.begin(), bits_.end(), 0u) - bits_.begin());
}

void Axes::learn(const float* vectors, std::size_t n, const float* centroid) {
  const std::size_t groups = padded() / kGroupDims, used = std::min(n, kMostRows);
  rows_.clear();
  std::vector<float> residuals(vectors, vectors + used * dim_);
  for (std::size_t i = 0; i < residuals.size(); ++i) residuals[i] -= centroid[i % dim_];
  const double scale = mean_square(residuals.data(), residuals.size());
  std::vector<double> variances(groups, scale * dim_ / padded());
  const bool learns = dim_ <= kMostDims && n >= kLeastRows * dim_ && scale > kLeastSquare && scale < kMostSquare;
  std::vector<double> axes;
  if (learns) {
    auto [values, found] = symmetric_eigen(covariance(residuals.data(), used, dim_), dim_);
    values.resize(padded(), 0.0);
    for (std::size_t g = 0; g < groups; ++g) {
      const auto* of_group = &values[g * kGroupDims];
      variances[g] =
          std::max(0.0, std::accumulate(of_group, of_group + kGroupDims, 0.0) / static_cast<double>(used * kGroupDims));
    }
    axes = std::move(found);
  }
  std::vector<double> shares(variances);
  for (double& share : shares) share = scale > 0 ? share / scale : 1.0;
  bits_ = allocate_bits(shares, mean_bits_);
  count_kept();
  // One segment after another of groups with as many bits.
  if (learns) rows_.assign(std::size_t{kept_} * dim_, 0.0f);
  for (std::size_t begin = 0, end = 0; begin < groups; begin = end) {
    while (end < groups && bits_[end] == bits_[begin]) ++end;
    const auto size = static_cast<std::uint32_t>(end - begin);
    const double variance = std::accumulate(&variances[begin], &variances[begin] + size, 0.0) / size;
    std::fill_n(&deviations_[begin], size, static_cast<float>(std::sqrt(variance)));
    if (!learns || bits_[begin] == 0) continue;
    const std::uint32_t first = static_cast<std::uint32_t>(begin) * kGroupDims;
    const Rotation within(size * kGroupDims, kRotationSeed, kGroupDims);
    std::vector<float> column(within.dim()), turned(within.dim());
    for (std::uint32_t d = 0; d < dim_; ++d) {
      for (std::uint32_t i = 0; i < within.dim(); ++i) {
        column[i] = first + i < dim_ ? static_cast<float>(axes[std::size_t{first + i} * dim_ + d]) : 0.0f;
      }
      within.apply(column.data(), turned.data());
      for (std::uint32_t i = 0; i < within.dim(); ++i) rows_[std::size_t{first + i} * dim_ + d] = turned[i];
    }
  }
}

void Axes::apply(const float* residual, float* out) const {
  if (rows_.empty()) return rotation_.apply(residual, out);
  simd::Rows rows;
  rows.data = reinterpret_cast<const std::byte*>(rows_.data());
  rows.stride = dim_ * sizeof(float);
  rows.dim = dim_;
  simd::kernels().scorer(simd::Op::dot, simd::Pair::f32_f32, simd::Tail::none).range({residual}, rows, 0, kept_, out);
}

void Axes::undo(float* coordinates, float* residual) const {
  if (rows_.empty()) return rotation_.undo(coordinates, residual);
  std::fill_n(residual, dim_, 0.0f);
  for (std::uint32_t i = 0; i < kept_; ++i) {
    for (std::uint32_t d = 0; d < dim_; ++d) residual[d] += coordinates[i] * rows_[std::size_t{i} * dim_ + d];
  }
}

void Axes::append(std::vector<float>& params) const {
  params.insert(params.end(), bits_.begin(), bits_.end());
  params.insert(params.end(), deviations_.begin(), deviations_.end());
  params.insert(params.end(), rows_.begin(), rows_.end());
}

bool Axes::restore(std::span<const float> params) {
  const std::size_t groups = padded() / kGroupDims;
  if (params.size() < 2 * groups) return false;
  const auto given = params.first(groups), deviations = params.subspan(groups, groups);
  const auto rows = params.subspan(2 * groups);
  const auto possible = [](float b) { return b >= 0 && b <= kMostBits && b == std::floor(b); };
  if (!std::all_of(given.begin(), given.end(), possible)) return false;
  if (!std::is_sorted(given.rbegin(), given.rend())) return false;
  if (!std::all_of(deviations.begin(), deviations.end(), [](float s) { return s >= 0 && std::isfinite(s); }))
    return false;
  bits_.assign(given.begin(), given.end());
  if (std::accumulate(bits_.begin(), bits_.end(), std::size_t{0}) != groups * mean_bits_) return false;
  count_kept();
  const auto whole = std::size_t{kept_} * dim_;
  if (rows.empty() ? bits_.front() != bits_.back() : rows.size() != whole) return false;
  // No longer than an axis is, up to rounding.
  for (std::size_t i = 0; i < rows.size(); i += dim_) {
    if (!(mean_square(&rows[i], dim_) * dim_ < 1.01)) return false;
  }
  deviations_.assign(deviations.begin(), deviations.end());
  rows_.assign(rows.begin(), rows.end());
  return true;
}

}  // namespace annlib
