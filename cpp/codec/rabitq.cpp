#include "codec/rabitq.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace annlib {
namespace {

// Of the bound, in deviations: nineteen of twenty errors of the worst code, were they normal.
constexpr double kDeviations = 2.0;

// Rows that errors are measured on.
constexpr std::size_t kMeasuredRows = 2048;

// Steps tried, 0.60 to 1.25 times the best one of a normal distribution: vectors differ.
constexpr int kFirstTwentieth = 12, kLastTwentieth = 25;

// Of a vector's length: errors that are not worth learning anew for.
constexpr double kRoundingError = 0.01;

// Of the ratio of a query's length to the mean's: divided by less, products would be rounded for nothing.
constexpr double kLeastLean = 0x1p-10;

// Half's limit.
constexpr double kMostHalf = 65504.0;

double product(const float* a, const float* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double middle(std::uint32_t bits) { return 0.5 * ((1u << bits) - 1); }

}  // namespace

/// A vector on its way to a code.
struct RabitqCodec::Direction {
  std::vector<float> residual, coordinates;  ///< o - c and r
  std::vector<float> magnitudes;             ///< |r_i| / s_i
  std::vector<std::uint16_t> code;           ///< u
  double norm2 = 0;                          ///< |o - c|^2
  double kept2 = 0;                          ///< |r|^2
  double along = 0;                          ///< <x, r>
  double length2 = 0;                        ///< |x|^2

  /// f
  double factor() const { return along > 0 ? kept2 / along : 0.0; }
  /// What the coordinates without bits leave out.
  double dropped2() const { return std::max(0.0, norm2 - kept2); }
  /// |f x - r|^2, and what is left out.
  double error2() const { return std::max(0.0, factor() * factor() * length2 - kept2) + dropped2(); }
};

RabitqCodec::RabitqCodec(Metric metric, std::uint32_t dim, std::uint32_t bits)
    : name_("rabitq:" + std::to_string(bits)),
      metric_(metric),
      dim_(dim),
      bits_(bits),
      centroid_(dim, 0.0f),
      axes_(dim, bits),
      errors_(axes_.bits().size(), 0.0f) {
  row_bytes_ = axes_.padded() * bits / 8;
  derive();
}

void RabitqCodec::derive() {
  const std::vector<std::uint32_t>& bits = axes_.bits();
  steps_.resize(axes_.kept());
  for (std::uint32_t i = 0; i < axes_.kept(); ++i) {
    const std::uint32_t group = i / kGroupDims;
    steps_[i] = static_cast<float>(kNormalSteps[bits[group]]) * axes_.deviations()[group];
  }
  planes_.clear();
  std::uint32_t offset = 0;
  for (const std::uint32_t width : {8u, 4u, 2u, 1u}) {
    Plane plane{width, offset, 0, {}};
    for (std::uint32_t i = 0; i < axes_.kept(); ++i) {
      const std::uint32_t b = bits[i / kGroupDims];
      if ((b & width) != 0) plane.fields.push_back({i, b & (width - 1)});
    }
    // Whole bytes: all but the fields of one bit come in groups of such, and the row is a whole number of them.
    plane.bytes = static_cast<std::uint32_t>(plane.fields.size()) * width / 8;
    offset += plane.bytes;
    if (plane.bytes > 0) planes_.push_back(std::move(plane));
  }
}

std::vector<float> RabitqCodec::params() const {
  std::vector<float> all(centroid_);
  all.insert(all.end(), {unit_, radius_, worst_});
  all.insert(all.end(), errors_.begin(), errors_.end());
  axes_.append(all);
  return all;
}

bool RabitqCodec::restore(std::span<const float> params) {
  const std::size_t scalars = std::size_t{dim_} + 3;
  if (params.size() < scalars + errors_.size()) return false;
  centroid_.assign(params.begin(), params.begin() + dim_);
  unit_ = params[dim_];
  radius_ = params[dim_ + 1];
  worst_ = params[dim_ + 2];
  const auto errors = params.subspan(scalars, errors_.size());
  errors_.assign(errors.begin(), errors.end());
  int exponent;
  const bool fits = std::frexp(unit_, &exponent) == 0.5f && radius_ >= 0 && worst_ >= 0 &&
                    std::all_of(errors_.begin(), errors_.end(), [](float e) { return e >= 0; }) &&
                    axes_.restore(params.subspan(scalars + errors_.size()));
  if (fits) derive();
  return fits;
}

void RabitqCodec::train(const float* sample, std::size_t n) {
  std::vector<double> sum(dim_);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::uint32_t d = 0; d < dim_; ++d) sum[d] += sample[i * dim_ + d];
  }
  for (std::uint32_t d = 0; d < dim_; ++d) centroid_[d] = static_cast<float>(sum[d] / static_cast<double>(n));
  axes_.learn(sample, n, centroid_.data());
  derive();
  measure(sample, std::min(n, kMeasuredRows));
}

void RabitqCodec::measure(const float* sample, std::size_t n) {
  std::vector<double> group2(errors_.size());
  double radius2 = 0, worst2 = 0, constant2 = 0, dropped2 = 0;
  Direction direction;
  for (std::size_t row = 0; row < n; ++row) {
    quantize(sample + row * dim_, direction);
    for (std::uint32_t i = 0; i < axes_.kept(); ++i) {
      const std::uint32_t group = i / kGroupDims;
      const double x = steps_[i] * (direction.code[i] - middle(axes_.bits()[group]));
      group2[group] += std::pow(direction.factor() * x - direction.coordinates[i], 2);
    }
    dropped2 += direction.dropped2();
    radius2 = std::max(radius2, direction.norm2);
    worst2 = std::max(worst2, direction.error2());
    constant2 += std::pow(constant(direction), 2);
  }
  const auto rows = static_cast<double>(n);
  const std::size_t kept = axes_.kept() / kGroupDims;
  for (std::size_t g = 0; g < group2.size(); ++g) {
    const double of_group = g < kept ? group2[g] : dropped2 / static_cast<double>(group2.size() - kept);
    errors_[g] = static_cast<float>(std::sqrt(of_group / (rows * kGroupDims)));
  }
  radius_ = static_cast<float>(std::sqrt(radius2));
  worst_ = static_cast<float>(std::sqrt(worst2));
  const double typical = std::clamp(std::sqrt(constant2 / rows), 0x1p-100, 0x1p100);
  unit_ = std::ldexp(1.0f, std::ilogb(typical));
}

// The papers enumerate all scales of r at which a field changes; steps of a twentieth come within a few hundredths of
// the angle that it finds.
void RabitqCodec::quantize(const float* vector, Direction& direction) const {
  const std::uint32_t n = axes_.kept();
  const std::vector<std::uint32_t>& bits = axes_.bits();
  direction.residual.resize(dim_);
  direction.coordinates.resize(axes_.padded());
  direction.magnitudes.resize(n);
  direction.code.assign(n, 0);
  for (std::uint32_t d = 0; d < dim_; ++d) direction.residual[d] = vector[d] - centroid_[d];
  axes_.apply(direction.residual.data(), direction.coordinates.data());
  const float* r = direction.coordinates.data();
  direction.norm2 = product(direction.residual.data(), direction.residual.data(), dim_);
  direction.kept2 = product(r, r, n);
  direction.along = direction.length2 = 0;
  // The vector's own scale, in standard deviations.
  double scale2 = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    direction.magnitudes[i] = steps_[i] > 0 ? std::fabs(r[i]) / steps_[i] : 0.0f;
    const double deviations = direction.magnitudes[i] * kNormalSteps[bits[i / kGroupDims]];
    scale2 += deviations * deviations / n;
  }
  if (!(scale2 > 0) || !std::isfinite(scale2)) return;

  // Fields are a sign and 0 ... top, which stand for 1/2 ... top + 1/2.
  const auto level = [&](std::uint32_t i, double scale) {
    const double top = (1u << (bits[i / kGroupDims] - 1)) - 1;
    return static_cast<std::uint32_t>(std::min(top, direction.magnitudes[i] * scale));
  };
  double best_scale = 0, best = -1;
  for (int twentieth = kFirstTwentieth; twentieth <= kLastTwentieth; ++twentieth) {
    const double scale = 20.0 / (twentieth * std::sqrt(scale2));
    double along = 0, length2 = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
      const double x = steps_[i] * (level(i, scale) + 0.5);
      along += std::fabs(r[i]) * x;
      length2 += x * x;
    }
    if (along * along > best * length2) {
      best = along * along / length2;
      best_scale = scale;
      direction.along = along;
      direction.length2 = length2;
    }
    if (bits.front() == 1) break;  // a sign has no scale
  }
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint32_t half = 1u << (bits[i / kGroupDims] - 1), m = level(i, best_scale);
    direction.code[i] = static_cast<std::uint16_t>(std::signbit(r[i]) ? half - 1 - m : half + m);
  }
}

double RabitqCodec::constant(const Direction& direction) const {
  return metric_ == Metric::l2 ? direction.norm2 : -product(centroid_.data(), direction.residual.data(), dim_);
}

bool RabitqCodec::encode(const float* vector, std::byte* code) const {
  Direction direction;
  quantize(vector, direction);
  std::memset(code, 0, row_bytes_);
  for (const Plane& plane : planes_) {
    auto* bytes = reinterpret_cast<std::uint8_t*>(code) + plane.offset;
    const std::uint32_t mask = (1u << plane.width) - 1;
    for (std::uint32_t e = 0; e < plane.fields.size(); ++e) {
      const Field field = plane.fields[e];
      const std::uint32_t bits = direction.code[field.coordinate] >> field.shift & mask;
      bytes[e % plane.bytes] |= static_cast<std::uint8_t>(bits << e / plane.bytes * plane.width);
    }
  }
  const double weight = metric_ == Metric::l2 ? -2.0 : -1.0;
  const float tail[] = {static_cast<float>(std::clamp(constant(direction) / unit_, -kMostHalf, kMostHalf)),
                        static_cast<float>(std::max(weight * direction.factor(), -kMostHalf))};
  if (halves()) {
    std::uint16_t rounded[2];
    simd::kernels().float_to_half(tail, 2, rounded);
    std::memcpy(code + row_bytes_, rounded, sizeof rounded);
  } else {
    std::memcpy(code + row_bytes_, tail, sizeof tail);
  }
  // A vector of a kind that the axes do not know may be short enough and yet lie outside of them.
  return std::sqrt(direction.norm2) <= 2.0 * radius_ &&
         std::sqrt(direction.error2()) <= 2.0 * worst_ + kRoundingError * radius_;
}

// c + f P' x
bool RabitqCodec::decode(const std::byte* code, float* vector) const {
  float tail[2];
  if (halves()) {
    std::uint16_t rounded[2];
    std::memcpy(rounded, code + row_bytes_, sizeof rounded);
    simd::kernels().half_to_float(rounded, 2, tail);
  } else {
    std::memcpy(tail, code + row_bytes_, sizeof tail);
  }
  const float factor = tail[1] / (metric_ == Metric::l2 ? -2.0f : -1.0f);
  std::vector<float> coordinates(axes_.padded());
  for (const Plane& plane : planes_) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(code) + plane.offset;
    const std::uint32_t mask = (1u << plane.width) - 1;
    for (std::uint32_t e = 0; e < plane.fields.size(); ++e) {
      const auto [i, shift] = plane.fields[e];
      const std::uint32_t field = bytes[e % plane.bytes] >> e / plane.bytes * plane.width & mask;
      const double x = std::ldexp(steps_[i] * (field - middle(plane.width)), static_cast<int>(shift));
      coordinates[i] += factor * static_cast<float>(x);
    }
  }
  axes_.undo(coordinates.data(), vector);
  for (std::uint32_t d = 0; d < dim_; ++d) vector[d] += centroid_[d];
  return std::isfinite(tail[0]) && std::isfinite(tail[1]) && simd::kernels().first_nonfinite(vector, dim_) == dim_;
}

float RabitqCodec::lean_of(const float* vector) const {
  const double center2 = product(centroid_.data(), centroid_.data(), dim_);
  const double best = product(vector, centroid_.data(), dim_) / center2;
  const double least = kLeastLean * std::sqrt(product(vector, vector, dim_) / center2);
  const auto lean = static_cast<float>(std::fabs(best) < least ? least : best);
  return std::isfinite(lean) && std::isfinite(1.0f / lean) ? lean : 1.0f;
}

void RabitqCodec::prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const {
  const simd::Kernels& k = simd::kernels();
  // The parts, then floats, then the parts' elements twice: at most four planes, and the widest in two parts.
  const std::size_t padded = axes_.padded();
  const std::size_t elements = simd::Parts::kMost * padded, words = simd::column_words(elements);
  auto* memory = buffer.need<std::byte>(sizeof(simd::Parts) + (2 * padded + dim_) * sizeof(float) +
                                        words * sizeof(std::int32_t) + elements);
  auto* parts = new (memory) simd::Parts;
  auto* coordinates = reinterpret_cast<float*>(memory + sizeof(simd::Parts));
  float *weights = coordinates + padded, *residual = weights + padded;
  auto* columns = reinterpret_cast<std::int32_t*>(residual + dim_);
  auto* bytes = reinterpret_cast<std::int8_t*>(columns + words);
  const bool l2 = metric_ == Metric::l2;
  const float lean = l2 ? 1.0f : lean_of(vector);
  for (std::uint32_t d = 0; d < dim_; ++d) residual[d] = vector[d] - lean * centroid_[d];
  axes_.apply(residual, coordinates);

  // What the code stands for is a sum over planes of 2^shift s_i (field - middle).
  double constant = 0, rounding2 = 0;
  for (const Plane& plane : planes_) {
    const auto n = static_cast<std::uint32_t>(plane.fields.size());
    for (std::uint32_t e = 0; e < n; ++e) {
      const auto [i, shift] = plane.fields[e];
      weights[e] = coordinates[i] * steps_[i] * static_cast<float>(1u << shift);
    }
    for (int rest = plane.width == 8 ? 1 : 0; rest >= 0; --rest) {
      const float largest = k.max_abs(weights, n), delta = largest / 127.0f;
      const std::int32_t total = k.quantize_i8(weights, n, delta > 0 ? 127.0f / largest : 0.0f, bytes);
      parts->part[parts->count++] = {bytes, plane.offset, plane.bytes, plane.width, delta / unit_};
      constant -= middle(plane.width) * delta * total;
      if (rest > 0) {
        for (std::uint32_t e = 0; e < n; ++e) weights[e] -= delta * bytes[e];
      } else {  // both roundings are uniform
        rounding2 += delta * delta / 12.0 * n * std::ldexp(1.0 / 12.0, static_cast<int>(2 * plane.width));
      }
      bytes += n;
    }
  }

  simd::arrange_columns(*parts, row_bytes_, columns);
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
  scan.query.data = parts;
  // The lean multiplies the first half of the tail alone.
  scan.query.b = 1.0f / lean;
  scan.query.c = static_cast<float>(constant / unit_) / lean;
  scan.query.d = unit_ * lean;
  scan.rows.dim = row_bytes_;
  scan.scorer = k.scorer(simd::Op::dot, simd::Pair::parts, halves() ? simd::Tail::halves : simd::Tail::affine);
  scan.margin = static_cast<float>((l2 ? 2.0 : 1.0) * bound(coordinates, norm2, rounding2));
}

double RabitqCodec::bound(const float* coordinates, double norm2, double rounding2) const {
  // The variance of the error of a typical code, and how much longer than typical an error may be.
  double code2 = 0, kept2 = 0, typical2 = 0;
  const std::size_t kept = axes_.kept() / kGroupDims;
  for (std::size_t g = 0; g < errors_.size(); ++g) {
    const double error2 = static_cast<double>(errors_[g]) * errors_[g];
    typical2 += kGroupDims * error2;
    if (g >= kept) continue;
    const double group2 = product(coordinates + g * kGroupDims, coordinates + g * kGroupDims, kGroupDims);
    kept2 += group2;
    code2 += group2 * error2;
  }
  if (kept < errors_.size()) code2 += std::max(0.0, norm2 - kept2) * errors_.back() * errors_.back();
  const double spread2 = typical2 > 0 ? worst_ / typical2 * worst_ : 0.0;
  // Halves are rounded by 2^-12 of themselves at most.
  const double tail = halves() ? 0x1p-12 * std::sqrt(1.0 / 3.0) * (unit_ + radius_ * std::sqrt(norm2)) : 0.0;
  return kDeviations * std::sqrt(spread2 * code2 + rounding2 + tail * tail);
}

}  // namespace annlib
