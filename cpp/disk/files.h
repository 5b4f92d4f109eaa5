#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"
#include "io/block_file.h"
#include "posting/list_codes.h"
#include "storage/file.h"
#include "table/vectors.h"

/// The two large files of an index on disk. Both begin with a page that says what they are; what is behind it is only
/// ever appended to, so that whoever read where something lies finds it there for as long as the file exists.
namespace annlib::disk {

/// Names in the directory: the manifest; the logs, lists and vectors with their numbers; and what a build leaves only
/// when it is killed.
inline constexpr const char* kManifest = "index.ann";
inline constexpr std::string_view kLog = "log-", kLists = "lists-", kVectors = "vectors-", kBuild = ".build-";

/// "lists-7", a file's name with its number, and back: kNoNumber for what is no such name.
inline constexpr std::uint64_t kNoNumber = ~std::uint64_t{0};
std::string numbered(std::string_view prefix, std::uint64_t number);
std::uint64_t number_of(std::string_view name, std::string_view prefix);

inline constexpr std::uint64_t kHeaderBytes = io::kAlignment;

/// What a file's first page says.
struct FileHeader {
  std::string kind;            ///< "lists" or "vectors"
  std::uint64_t identity = 0;  ///< of the index that it belongs to
};

/// Writes the first page of a new file.
void write_header(storage::File& file, const FileHeader& header);
/// CorruptError, or VersionError, unless the file begins with this header.
void check_header(const storage::File& file, const FileHeader& header);

/// Where a posting list lies. Part of the file format.
struct ListPlace {
  std::uint64_t offset = 0;
  std::uint32_t size = 0;      ///< items, stale ones too
  std::uint32_t crc = 0;       ///< of all its bytes
  float width = 0;             ///< PostingLists::List::width
  std::uint32_t split_at = 0;  ///< PostingLists::List::split_at
};
static_assert(sizeof(ListPlace) == 24);

/// A posting list in its bytes: blocks of 32 slots, and behind them a row of `row_bytes` for each item, which is a code
/// or the vector itself; or, without rows, blocks of one bit a dimension with their slots, as PostingLists has them.
class ListForm {
 public:
  ListForm(const ListCodes& codes, std::size_t row_bytes)
      : stride_((row_bytes == 0 ? codes.block_bytes() : 0) + simd::kBlockRows * sizeof(Slot)), row_bytes_(row_bytes) {}

  /// Whether there is one bit a dimension of each item, in blocks of stride() bytes, and no rows.
  bool has_signs() const { return row_bytes_ == 0; }
  std::size_t stride() const { return stride_; }
  std::size_t row_bytes() const { return row_bytes_; }
  std::size_t rows_at(std::size_t size) const { return (size + simd::kBlockRows - 1) / simd::kBlockRows * stride_; }
  /// Whole pages, with room behind the last row for kernels that read ahead.
  std::size_t bytes(std::size_t size) const {
    return size == 0 ? 0 : io::align_up(rows_at(size) + size * row_bytes_ + 64);
  }

  std::byte* block(std::byte* list, std::size_t place) const { return list + place / simd::kBlockRows * stride_; }
  const std::byte* block(const std::byte* list, std::size_t place) const {
    return list + place / simd::kBlockRows * stride_;
  }
  Slot* slot(std::byte* list, std::size_t place) const {
    return reinterpret_cast<Slot*>(block(list, place) + stride_) - simd::kBlockRows + place % simd::kBlockRows;
  }
  Slot slot(const std::byte* list, std::size_t place) const {
    return *(reinterpret_cast<const Slot*>(block(list, place) + stride_) - simd::kBlockRows + place % simd::kBlockRows);
  }
  std::byte* row(std::byte* list, std::size_t size, std::size_t place) const {
    return list + rows_at(size) + place * row_bytes_;
  }
  const std::byte* rows(const std::byte* list, std::size_t size) const { return list + rows_at(size); }

 private:
  std::size_t stride_, row_bytes_;
};

/// Vectors in the order of their slots, in units of whole pages none of which a vector straddles. They are of the
/// index's dtype, or of 8 bits where those hold all of them: four times as many floats are read at once.
class VectorForm {
 public:
  VectorForm(std::uint32_t dim, DType dtype, DType stored)
      : dim_(dim),
        dtype_(dtype),
        stored_(stored),
        vector_bytes_(dim * dtype_size(stored)),
        unit_bytes_(io::align_up(vector_bytes_)),
        rows_(vector_bytes_ <= io::kAlignment ? io::kAlignment / vector_bytes_ : 1) {}

  DType stored() const { return stored_; }
  bool narrow() const { return stored_ != dtype_; }
  std::size_t vector_bytes() const { return vector_bytes_; }
  bool holds(const std::byte* vector) const { return annlib::holds(stored_, {vector, dtype_}, dim_); }
  /// One vector into the file's bytes, which hold it.
  void put(const std::byte* vector, std::byte* out) const { convert({vector, dtype_}, dim_, stored_, out); }
  /// And back.
  void get(const std::byte* bytes, std::byte* vector) const { convert({bytes, stored_}, dim_, dtype_, vector); }
  /// The bytes themselves where they are of the index's dtype, else what becomes of them in `buffer`.
  const std::byte* vector(const std::byte* bytes, std::vector<std::byte>& buffer) const {
    if (!narrow()) return bytes;
    buffer.resize(dim_ * dtype_size(dtype_));
    get(bytes, buffer.data());
    return buffer.data();
  }
  std::size_t unit_bytes() const { return unit_bytes_; }
  std::size_t rows_in_unit() const { return rows_; }
  std::size_t units(std::size_t vectors) const { return (vectors + rows_ - 1) / rows_; }
  std::size_t unit(Slot slot) const { return slot / rows_; }
  std::uint64_t offset(std::size_t unit) const { return kHeaderBytes + unit * unit_bytes_; }
  std::size_t in_unit(Slot slot) const { return slot % rows_ * vector_bytes_; }

 private:
  std::uint32_t dim_;
  DType dtype_, stored_;
  std::size_t vector_bytes_, unit_bytes_, rows_;
};

std::uint32_t checksum(std::span<const std::byte> bytes);

}  // namespace annlib::disk
