#include "disk/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "disk/files.h"
#include "table/vectors.h"

namespace annlib::disk {
namespace {

constexpr std::size_t kSpoolBytes = std::size_t{4} << 20;

}  // namespace

Spool::Spool(const std::string& path, std::uint32_t dim, DType dtype, Metric metric)
    : path_(path),
      file_(storage::File::open(path, O_RDWR | O_CREAT | O_TRUNC, 0600)),
      dim_(dim),
      dtype_(dtype),
      metric_(metric),
      row_bytes_(dim * dtype_size(dtype)),
      narrow_(dtype, dim) {}

Spool::~Spool() { ::unlink(path_.c_str()); }

void Spool::add(const std::byte* vector, std::int64_t id) {
  if (waiting_.size() >= kSpoolBytes) flush();
  waiting_.insert(waiting_.end(), vector, vector + row_bytes_);
  ids_.push_back(id);
  hash_ += mix64(mix64(static_cast<std::uint64_t>(id)) ^ checksum({vector, row_bytes_}));
  longest_ = std::max(longest_, length_of(vector, dtype_, metric_, dim_));
  narrow_.see({vector, dtype_});
}

void Spool::flush() {
  file_.write_at(written_, waiting_);
  written_ += waiting_.size();
  waiting_.clear();
}

void Spool::read(std::size_t first, std::span<std::byte> out) const {
  if (file_.read_at(first * row_bytes_, out) != out.size()) throw CorruptError(path_ + ": shorter than it was written");
}

Scatter::Scatter(const std::string& path, std::size_t record_bytes, std::vector<std::size_t> counts,
                 std::size_t buffer_bytes)
    : path_(path), record_bytes_(record_bytes), counts_(std::move(counts)), waiting_(counts_.size()) {
  buffer_bytes_ = buffer_bytes / std::max<std::size_t>(counts_.size(), 1);
  std::uint64_t at = 0;
  for (std::size_t count : counts_) {
    begins_.push_back(at);
    at += count * record_bytes_;
  }
  written_ = begins_;
  if (counts_.size() > 1) {
    file_ = std::make_unique<storage::File>(storage::File::open(path_, O_RDWR | O_CREAT | O_TRUNC, 0600));
  }
}

Scatter::~Scatter() {
  if (file_ != nullptr) ::unlink(path_.c_str());
}

void Scatter::add(std::size_t bucket, std::span<const std::byte> record) {
  std::vector<std::byte>& own = waiting_[bucket];
  if (file_ == nullptr && own.empty()) own.reserve(counts_[bucket] * record_bytes_);
  own.insert(own.end(), record.begin(), record.end());
  if (file_ != nullptr && own.size() >= buffer_bytes_) flush(bucket);
}

void Scatter::flush(std::size_t bucket) {
  file_->write_at(written_[bucket], waiting_[bucket]);
  written_[bucket] += waiting_[bucket].size();
  waiting_[bucket].clear();
}

std::vector<std::byte> Scatter::take(std::size_t bucket) {
  if (file_ == nullptr) return std::move(waiting_[bucket]);
  flush(bucket);
  waiting_[bucket] = {};
  std::vector<std::byte> all(written_[bucket] - begins_[bucket]);
  if (file_->read_at(begins_[bucket], all) != all.size()) throw CorruptError(path_ + ": shorter than it was written");
  return all;
}

}  // namespace annlib::disk
