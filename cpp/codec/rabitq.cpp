#include "codec/rabitq.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace annlib {
namespace {

// The rotation is a function of the dimension and this: part of the file format.
constexpr std::uint64_t kRotationSeed = 0x5261426974510001ull;

// e0 of the bound.
constexpr double kConfidence = 1.9;

// Rows that the parameters of the bound are measured on.
constexpr std::size_t kMeasuredRows = 2048;

// The best step of a uniform quantiser of 1 to 8 bits for a normal distribution, in standard deviations (Max,
// "Quantizing for minimum distortion", IRE Trans. 1960, and its continuation). Vectors differ, so the steps around it
// are tried.
constexpr double kNormalSteps[] = {1.0, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308};
constexpr int kFirstTwentieth = 12, kLastTwentieth = 25;  // steps tried: 0.60 to 1.25 times that

double product(const float* a, const float* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

/// A vector on its way to a code.
struct RabitqCodec::Direction {
  std::vector<float> residual, rotated;  ///< o - c and r
  std::vector<std::uint8_t> code;        ///< u
  double norm2 = 0;                      ///< |r|^2
  double along = 0;                      ///< <x, r>
  double length2 = 0;                    ///< |x|^2

  /// |o - c| sqrt(1 / cos^2 - 1)
  double spread() const {
    return along > 0 ? std::sqrt(norm2 * std::max(0.0, norm2 * length2 / (along * along) - 1.0)) : 0.0;
  }
};

RabitqCodec::RabitqCodec(Metric metric, std::uint32_t dim, std::uint32_t bits)
    : name_("rabitq:" + std::to_string(bits)),
      metric_(metric),
      dim_(dim),
      bits_(bits),
      width_(std::bit_ceil(bits)),
      rotation_(dim, kRotationSeed),
      row_bytes_(rotation_.padded() * width_ / 8),
      centroid_(dim, 0.0f) {}

std::vector<float> RabitqCodec::params() const {
  std::vector<float> all(centroid_);
  all.push_back(radius_);
  all.push_back(spread_);
  return all;
}

bool RabitqCodec::restore(std::span<const float> params) {
  if (params.size() != std::size_t{dim_} + 2) return false;
  centroid_.assign(params.begin(), params.begin() + dim_);
  radius_ = params[dim_];
  spread_ = params[dim_ + 1];
  return radius_ >= 0 && spread_ >= 0;
}

void RabitqCodec::train(const float* sample, std::size_t n) {
  std::vector<double> sum(dim_);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::uint32_t d = 0; d < dim_; ++d) sum[d] += sample[i * dim_ + d];
  }
  for (std::uint32_t d = 0; d < dim_; ++d) centroid_[d] = static_cast<float>(sum[d] / static_cast<double>(n));
  double radius2 = 0, spread = 0;
  Direction direction;
  for (std::size_t i = 0; i < std::min(n, kMeasuredRows); ++i) {
    quantize(sample + i * dim_, direction);
    radius2 = std::max(radius2, direction.norm2);
    spread = std::max(spread, direction.spread());
  }
  radius_ = static_cast<float>(std::sqrt(radius2));
  spread_ = static_cast<float>(spread);
}

// The paper enumerates all scales of r at which a field changes; steps of a twentieth come within a few hundredths of
// the angle that it finds.
void RabitqCodec::quantize(const float* vector, Direction& direction) const {
  const std::uint32_t n = rotation_.padded();
  direction.residual.resize(dim_);
  direction.rotated.resize(n);
  direction.code.assign(n, 0);
  direction.along = direction.length2 = 0;
  for (std::uint32_t d = 0; d < dim_; ++d) direction.residual[d] = vector[d] - centroid_[d];
  const float* r = direction.rotated.data();
  rotation_.apply(direction.residual.data(), direction.rotated.data());
  direction.norm2 = product(r, r, n);
  if (!(direction.norm2 > 0)) return;

  const int top = (1 << (bits_ - 1)) - 1;  // fields are a sign and 0 ... top, which stand for 1/2 ... top + 1/2
  const auto level = [top](double magnitude, double scale) {
    return std::min(top, static_cast<int>(magnitude * scale));
  };
  const double step = kNormalSteps[bits_ - 1] * std::sqrt(direction.norm2 / n);
  double best_scale = 0, best = -1;
  for (int twentieth = kFirstTwentieth; twentieth <= kLastTwentieth; ++twentieth) {
    const double scale = 20.0 / (twentieth * step);
    double along = 0, length2 = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
      const double magnitude = std::fabs(r[i]), x = level(magnitude, scale) + 0.5;
      along += magnitude * x;
      length2 += x * x;
    }
    if (along * along > best * length2) {
      best = along * along / length2;
      best_scale = scale;
      direction.along = along;
      direction.length2 = length2;
    }
    if (top == 0) break;  // a sign has no scale
  }
  for (std::uint32_t i = 0; i < n; ++i) {
    const int m = level(std::fabs(r[i]), best_scale);
    direction.code[i] = static_cast<std::uint8_t>(std::signbit(r[i]) ? top - m : top + 1 + m);
  }
}

bool RabitqCodec::encode(const float* vector, std::byte* code) const {
  Direction direction;
  quantize(vector, direction);
  std::memset(code, 0, row_bytes_);
  auto* bytes = reinterpret_cast<std::uint8_t*>(code);
  const std::uint8_t* u = direction.code.data();
  for (std::uint32_t shift = 0; shift < 8; shift += width_, u += row_bytes_) {
    for (std::uint32_t j = 0; j < row_bytes_; ++j) bytes[j] |= static_cast<std::uint8_t>(u[j] << shift);
  }
  const bool l2 = metric_ == Metric::l2;
  const double rescale = direction.along > 0 ? direction.norm2 / direction.along : 0.0;
  const double constant = l2 ? direction.norm2 : -product(centroid_.data(), direction.residual.data(), dim_);
  const float tail[] = {static_cast<float>(constant), static_cast<float>((l2 ? -2.0 : -1.0) * rescale)};
  std::memcpy(code + row_bytes_, tail, sizeof tail);
  return std::sqrt(direction.norm2) <= 2.0 * radius_;
}

// c + f P^-1 x
bool RabitqCodec::decode(const std::byte* code, float* vector) const {
  float tail[2];
  std::memcpy(tail, code + row_bytes_, sizeof tail);
  const float rescale = tail[1] / (metric_ == Metric::l2 ? -2.0f : -1.0f);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(code);
  const std::uint32_t mask = (1u << width_) - 1;
  const float half = 0.5f * static_cast<float>((1 << bits_) - 1);
  std::vector<float> rotated(rotation_.padded());
  for (std::uint32_t i = 0; i < rotation_.padded(); ++i) {
    const std::uint32_t u = (bytes[i % row_bytes_] >> (i / row_bytes_ * width_)) & mask;
    rotated[i] = rescale * (static_cast<float>(u) - half);
  }
  rotation_.undo(rotated.data(), vector);
  for (std::uint32_t d = 0; d < dim_; ++d) vector[d] += centroid_[d];
  return std::isfinite(tail[0]) && std::isfinite(tail[1]) && simd::kernels().first_nonfinite(vector, dim_) == dim_;
}

void RabitqCodec::prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const {
  const simd::Kernels& k = simd::kernels();
  const std::uint32_t n = rotation_.padded();
  // Bytes first, then floats: n is a multiple of 16.
  auto* bytes = buffer.need<std::int8_t>(n + (n + dim_) * sizeof(float));
  auto* rotated = reinterpret_cast<float*>(bytes + n);
  float* residual = rotated + n;
  for (std::uint32_t d = 0; d < dim_; ++d) residual[d] = vector[d] - centroid_[d];
  rotation_.apply(residual, rotated);
  const float largest = k.max_abs(rotated, n);
  const float delta = largest / 127.0f;
  const std::int32_t total = k.quantize_i8(rotated, n, delta > 0 ? 127.0f / largest : 0.0f, bytes);

  const bool l2 = metric_ == Metric::l2;
  const float norm2 = k.norm2(residual, dim_);
  if (l2) {
    scan.query.a = norm2;
  } else {
    simd::Rows centroid;
    centroid.data = reinterpret_cast<const std::byte*>(centroid_.data());
    centroid.dim = dim_;
    const simd::Query query{vector, metric_ == Metric::cosine ? 1.0f : 0.0f, -1.0f};
    k.scorer(simd::Op::dot, simd::Pair::f32_f32, simd::Tail::none).range(query, centroid, 0, 1, &scan.query.a);
  }
  scan.query.data = bytes;
  scan.query.b = delta;
  scan.query.c = -0.5f * static_cast<float>((1 << bits_) - 1) * delta * static_cast<float>(total);
  scan.rows.dim = row_bytes_;
  const simd::Pair pair = width_ == 1   ? simd::Pair::q8_u1
                          : width_ == 2 ? simd::Pair::q8_u2
                          : width_ == 4 ? simd::Pair::q8_u4
                                        : simd::Pair::q8_u8;
  scan.scorer = k.scorer(simd::Op::dot, pair, simd::Tail::affine);
  // The rounding of the query, uniform within delta, comes on top of the bound of the code.
  const double code = spread_ * std::sqrt(norm2 / std::max(1.0, n - 1.0));
  const double rounding = radius_ * delta * std::sqrt(1.0 / 12.0);
  scan.margin = static_cast<float>((l2 ? 2.0 : 1.0) * kConfidence * std::hypot(code, rounding));
}

}  // namespace annlib
