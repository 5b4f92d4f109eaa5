#pragma once

#include <cstddef>
#include <vector>

namespace annlib {

/// What share of the k nearest to a query lies in posting lists that have not been scanned.
///
/// Rows of a list lie at about its radius r from the centroid, each in a direction of its own. From a query at a
/// distance D of the centroid such a row is at D^2 + r^2 - 2 D r t, where t, the cosine of the angle between, is
/// distributed about as in a space of so many dimensions: normally around 0 with a variance of 1 / dims. The k found so
/// far tell how many rows there are to a unit of what that leads to expect of the lists scanned, and thereby how many
/// others will have. So it makes no difference how near the nearest are or how many lists there are at about their
/// distance, as there are many where what passes a filter lies apart from the query, and none but the first few where
/// it lies around.
///
/// Distances are squared, but the radius is not.
class ExpectedRest {
 public:
  explicit ExpectedRest(float dims) : dims_(dims) {}
  /// What is asked for is all within a radius, of so many items that pass of so many. Of the rows to come at least such
  /// a share passes, whatever passed so far; and where hardly one lies within, the share that is left is that of one.
  ExpectedRest(float dims, std::size_t passing, std::size_t items)
      : dims_(dims), passing_(items > 0 ? static_cast<double>(passing) / static_cast<double>(items) : 0), least_(1) {}

  /// One more list will be scanned, after all that were told before; `size` is of what it holds.
  void expect(float distance, float radius, std::size_t size);
  /// So many lists more, farther than all that are expected, can be scanned.
  void beyond(std::size_t lists) { beyond_ = lists; }
  /// The next of them has been scanned: so many passed.
  void scanned(std::size_t passed) { lists_[scanned_++].passed = static_cast<float>(passed); }
  /// Of the rows that pass within a distance; 1 where that is no number.
  double share(float within) const;

  /// Of the rows in the i-th list, those expected within a distance.
  double weight(std::size_t i, float within) const;
  std::size_t lists() const { return lists_.size(); }

 private:
  struct List {
    float middle, scale;  ///< of what is within a distance d: scale * (middle - d) standard deviations and more
    float size, passed;
  };

  float dims_;
  double passing_ = 0, least_ = 0;
  std::vector<List> lists_;
  std::size_t scanned_ = 0, beyond_ = 0;
};

}  // namespace annlib
