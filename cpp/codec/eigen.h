#pragma once

#include <cstddef>
#include <vector>

namespace annlib {

/// Eigenvalues of a symmetric matrix, greatest first, and its eigenvectors in the same order: orthonormal, as rows.
struct Eigen {
  std::vector<double> values;
  std::vector<double> vectors;  ///< n x n
};

/// Of a symmetric n x n matrix with finite elements. By Householder's reduction to tridiagonal form and QL iterations
/// with implicit shifts (Golub & Van Loan, "Matrix Computations", 4th edition, sections 8.3.1 and 8.3.3). About 9 n^3
/// operations on one thread. A function of its input alone; thread-safe.
Eigen symmetric_eigen(std::vector<double> matrix, std::size_t n);

}  // namespace annlib
