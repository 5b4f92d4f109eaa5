#include "codec/eigen.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace annlib {
namespace {

// Loops run along rows, where nothing depends on the element before: the compiler makes vectors of them.
void add_scaled(double* to, double by, const double* from, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] += by * from[i];
}

double product(const double* a, const double* b, std::size_t n) { return std::inner_product(a, a + n, b, 0.0); }

/// H = I - v v', |v|^2 = 2, which maps x (n >= 1 elements) onto a multiple of the first axis: v takes the place of x,
/// and that multiple is returned. v = 0, H = I where x lies there already.
double reflector(double* x, std::size_t n) {
  const double largest =
      std::fabs(*std::max_element(x, x + n, [](double a, double b) { return std::fabs(a) < std::fabs(b); }));
  const double first = x[0];
  const bool along = std::all_of(x + 1, x + n, [](double e) { return e == 0; });
  if (along) {
    std::fill_n(x, n, 0.0);
    return first;
  }
  for (std::size_t i = 0; i < n; ++i) x[i] /= largest;
  const double length = std::sqrt(product(x, x, n));
  const double onto = x[0] > 0 ? -length : length;
  x[0] -= onto;
  const double scale = std::sqrt(2.0 / product(x, x, n));
  for (std::size_t i = 0; i < n; ++i) x[i] *= scale;
  return onto * largest;
}

/// A symmetric matrix as Q T Q' with T tridiagonal.
struct Tridiagonal {
  std::vector<double> diagonal, beside;  ///< beside[i] = T[i][i + 1], and a zero
  std::vector<double> transposed;        ///< Q'
};

Tridiagonal tridiagonalize(std::vector<double>& a, std::size_t n) {
  Tridiagonal t{std::vector<double>(n), std::vector<double>(n), std::vector<double>(n * n)};
  std::vector<double> w(n);
  // Row k of `a` keeps the reflector of step k behind the diagonal.
  for (std::size_t k = 0; k + 1 < n; ++k) {
    const std::size_t m = n - k - 1;
    double* v = &a[k * n + k + 1];
    t.beside[k] = reflector(v, m);
    // A <- H A H = A - v w' - w v', w = A v - v (v' A v) / 2, of what is left of A
    std::fill_n(w.begin(), m, 0.0);
    for (std::size_t i = 0; i < m; ++i) add_scaled(w.data(), v[i], &a[(k + 1 + i) * n + k + 1], m);
    add_scaled(w.data(), -0.5 * product(v, w.data(), m), v, m);
    for (std::size_t i = 0; i < m; ++i) {
      double* row = &a[(k + 1 + i) * n + k + 1];
      const double vi = v[i], wi = w[i];
      for (std::size_t j = 0; j < m; ++j) row[j] -= vi * w[j] + wi * v[j];
    }
  }
  // Q' = H(n-2) ... H(0), from the right: each step changes the rows and columns behind its own.
  std::vector<double>& q = t.transposed;
  for (std::size_t i = 0; i < n; ++i) {
    t.diagonal[i] = a[i * n + i];
    q[i * n + i] = 1.0;
  }
  for (std::size_t k = n - 1; k-- > 0;) {
    const std::size_t m = n - k - 1;
    const double* v = &a[k * n + k + 1];
    for (std::size_t i = 0; i < m; ++i) {
      double* row = &q[(k + 1 + i) * n + k + 1];
      add_scaled(row, -product(row, v, m), v, m);
    }
  }
  return t;
}

struct PlaneRotation {
  std::size_t first;  ///< of the rows first and first + 1
  double cosine, sine;
};

/// In pieces of columns that stay in the cache from one rotation to the next.
void rotate_rows(std::vector<double>& rows, std::size_t n, const std::vector<PlaneRotation>& rotations) {
  constexpr std::size_t kPiece = 32;
  for (std::size_t begin = 0; begin < n; begin += kPiece) {
    const std::size_t count = std::min(kPiece, n - begin);
    for (const PlaneRotation& r : rotations) {
      double *low = &rows[r.first * n + begin], *high = low + n;
      for (std::size_t i = 0; i < count; ++i) {
        const double a = low[i], b = high[i];
        low[i] = r.cosine * a - r.sine * b;
        high[i] = r.sine * a + r.cosine * b;
      }
    }
  }
}

/// One implicit QL step with Wilkinson's shift on T[low ... high].
void step(Tridiagonal& t, std::size_t low, std::size_t high, std::vector<PlaneRotation>& rotations) {
  std::vector<double>&d = t.diagonal, &e = t.beside;
  const double half = (d[low + 1] - d[low]) / (2.0 * e[low]);
  const double shift = d[low] - e[low] / (half + std::copysign(std::hypot(half, 1.0), half));
  double x = d[high] - shift, bulge = 0.0, carried = 0.0;
  double sine = 1.0, cosine = 1.0;
  rotations.clear();
  for (std::size_t i = high; i-- > low;) {
    bulge = sine * e[i];
    const double b = cosine * e[i];
    const double r = std::hypot(bulge, x);
    e[i + 1] = r;
    if (r == 0) {  // T has come apart in the middle
      d[i + 1] -= carried;
      e[high] = 0;
      return;
    }
    sine = bulge / r;
    cosine = x / r;
    const double y = d[i + 1] - carried;
    const double z = (d[i] - y) * sine + 2.0 * cosine * b;
    carried = sine * z;
    d[i + 1] = y + carried;
    x = cosine * z - b;
    rotations.push_back({i, cosine, sine});
  }
  d[low] -= carried;
  e[low] = x;
  e[high] = 0;
}

}  // namespace

Eigen symmetric_eigen(std::vector<double> matrix, std::size_t n) {
  // Far more than the two or so that an eigenvalue takes; what is not found by then is off by rounding at most.
  constexpr int kMostSteps = 64;
  Tridiagonal t = tridiagonalize(matrix, n);
  std::vector<PlaneRotation> rotations;
  for (std::size_t low = 0; low < n; ++low) {
    for (int steps = 0; steps < kMostSteps; ++steps) {
      std::size_t high = low;
      const auto coupled = [&](std::size_t i) {
        const double scale = std::fabs(t.diagonal[i]) + std::fabs(t.diagonal[i + 1]);
        return std::fabs(t.beside[i]) > std::numeric_limits<double>::epsilon() * scale;
      };
      while (high + 1 < n && coupled(high)) ++high;
      if (high == low) break;
      step(t, low, high, rotations);
      rotate_rows(t.transposed, n, rotations);
    }
  }
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return t.diagonal[a] > t.diagonal[b]; });
  Eigen eigen{std::vector<double>(n), std::vector<double>(n * n)};
  for (std::size_t i = 0; i < n; ++i) {
    eigen.values[i] = t.diagonal[order[i]];
    std::copy_n(&t.transposed[order[i] * n], n, &eigen.vectors[i * n]);
  }
  return eigen;
}

}  // namespace annlib
