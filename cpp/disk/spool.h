#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/types.h"
#include "storage/file.h"
#include "table/narrow_type.h"

/// Files that a build needs on its way, which go with these objects.
namespace annlib::disk {

/// Vectors on their way into a build: one behind the other in a file, which goes with this object, and their ids.
class Spool {
 public:
  Spool(const std::string& path, std::uint32_t dim, DType dtype, Metric metric);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  void add(const std::byte* vector, std::int64_t id);
  /// To be called behind the last.
  void finish() { flush(); }
  void read(std::size_t first, std::span<std::byte> out) const;
  std::span<const std::int64_t> ids() const { return ids_; }
  /// To be called last.
  std::vector<std::int64_t> take_ids() { return std::move(ids_); }
  /// Of 8 bits where that holds all of them, else the dtype that they have.
  DType narrowest() const { return narrow_.type(); }
  /// Table::longest() of them.
  float longest() const { return longest_; }
  /// A hash of the set of (id, vector).
  std::uint64_t hash() const { return hash_; }

 private:
  void flush();

  std::string path_;
  storage::File file_;
  std::uint32_t dim_;
  DType dtype_;
  Metric metric_;
  std::size_t row_bytes_;
  std::vector<std::byte> waiting_;
  std::uint64_t written_ = 0, hash_ = 0;
  float longest_ = 0;
  NarrowType narrow_;
  std::vector<std::int64_t> ids_;
};

/// Records of one length that come in any order and are wanted bucket by bucket: in memory where there is one bucket,
/// else in a file of which every bucket has its stretch.
class Scatter {
 public:
  /// `counts` are the records of each bucket. The file at `path` lives as long as this.
  Scatter(const std::string& path, std::size_t record_bytes, std::vector<std::size_t> counts, std::size_t buffer_bytes);
  ~Scatter();
  Scatter(const Scatter&) = delete;
  Scatter& operator=(const Scatter&) = delete;

  std::size_t buckets() const { return counts_.size(); }
  void add(std::size_t bucket, std::span<const std::byte> record);
  /// All records of a bucket in the order in which they came, once each bucket.
  std::vector<std::byte> take(std::size_t bucket);

 private:
  void flush(std::size_t bucket);

  std::string path_;
  std::size_t record_bytes_, buffer_bytes_;
  std::vector<std::size_t> counts_;
  std::vector<std::uint64_t> begins_, written_;
  std::vector<std::vector<std::byte>> waiting_;
  std::unique_ptr<storage::File> file_;
};

}  // namespace annlib::disk
