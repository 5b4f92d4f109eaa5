#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "core/types.h"
#include "simd/simd.h"
#include "table/table.h"
#include "table/vectors.h"

/// What the tests of graphs, codecs and indexes share: vectors, and distances computed the plain way.
namespace annlib::test {

inline constexpr Metric kMetrics[] = {Metric::l2, Metric::ip, Metric::cosine};
inline constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::i8, DType::u8};

/// Vectors of one dtype, and the same numbers as doubles.
class Vectors {
 public:
  Vectors(std::uint32_t dim, DType dtype) : dim_(dim), dtype_(dtype) {}

  /// Around `centres` random centres, so that near and far differ as they do in real data.
  static Vectors clustered(std::size_t count, std::uint32_t dim, DType dtype = DType::f32, unsigned seed = 0,
                           std::size_t centres = 20) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> middle(centres * dim), vector(dim);
    for (float& x : middle) x = 2 * normal(random);
    Vectors made(dim, dtype);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t centre = random() % centres;
      for (std::uint32_t d = 0; d < dim; ++d) vector[d] = middle[centre * dim + d] + normal(random);
      made.add(vector.data());
    }
    return made;
  }

  void add(const float* vector) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + dim_ * dtype_size(dtype_));
    std::byte* out = bytes_.data() + at;
    for (std::uint32_t d = 0; d < dim_; ++d) {
      const float x = vector[d];
      switch (dtype_) {
        case DType::f32:
          std::memcpy(out + 4 * d, &x, 4);
          break;
        case DType::f16:
          simd::kernels().float_to_half(&x, 1, reinterpret_cast<std::uint16_t*>(out) + d);
          break;
        case DType::i8:
          out[d] = static_cast<std::byte>(static_cast<std::int8_t>(std::clamp(16 * x, -128.0f, 127.0f)));
          break;
        case DType::u8:
          out[d] = static_cast<std::byte>(static_cast<std::uint8_t>(std::clamp(128 + 16 * x, 0.0f, 255.0f)));
          break;
      }
    }
  }
  /// The same numbers in another type.
  Vectors as(DType dtype) const {
    Vectors made(dim_, dtype);
    std::vector<float> wide(dim_);
    for (std::size_t i = 0; i < count(); ++i) {
      widen(block().row(i), dtype_, dim_, wide.data());
      made.add(wide.data());
    }
    return made;
  }
  /// Another's row.
  void add(const Vectors& other, std::size_t i) {
    bytes_.insert(bytes_.end(), other.block().row(i), other.block().row(i) + other.block().row_bytes());
  }

  std::size_t count() const { return bytes_.size() / (dim_ * dtype_size(dtype_)); }
  std::uint32_t dim() const { return dim_; }
  VectorBlock block() const { return {bytes_.data(), dtype_, count(), dim_}; }
  VectorBlock block(std::size_t first, std::size_t n) const { return {block().row(first), dtype_, n, dim_}; }
  QueryView query(std::size_t i) const { return {block().row(i), dtype_}; }

  std::vector<double> row(std::size_t i) const {
    std::vector<float> wide(dim_);
    widen(block().row(i), dtype_, dim_, wide.data());
    return {wide.begin(), wide.end()};
  }

 private:
  std::uint32_t dim_;
  DType dtype_;
  std::vector<std::byte> bytes_;
};

inline double reference_distance(Metric metric, const std::vector<double>& q, const std::vector<double>& x) {
  double square = 0, dot = 0, q2 = 0, x2 = 0;
  for (std::size_t d = 0; d < q.size(); ++d) {
    square += (q[d] - x[d]) * (q[d] - x[d]);
    dot += q[d] * x[d];
    q2 += q[d] * q[d];
    x2 += x[d] * x[d];
  }
  if (metric == Metric::l2) return square;
  if (metric == Metric::ip) return -dot;
  return q2 > 0 && x2 > 0 ? 1 - dot / std::sqrt(q2 * x2) : 1.0;
}

/// A table whose slot i is row i with id i.
inline Table table_of(const Vectors& vectors, Metric metric) {
  Table table(vectors.dim(), vectors.block().dtype, metric);
  for (std::size_t i = 0; i < vectors.count(); ++i) {
    table.reveal(table.append(vectors.block().row(i)), static_cast<std::int64_t>(i), static_cast<std::uint32_t>(i));
  }
  return table;
}

inline std::vector<std::int64_t> ids_from(std::int64_t first, std::size_t n) {
  std::vector<std::int64_t> ids(n);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

}  // namespace annlib::test
