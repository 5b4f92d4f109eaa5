#include "disk/state.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "table/vectors.h"

namespace annlib::disk {
namespace {

constexpr std::size_t kWriteBytes = std::size_t{4} << 20;

}  // namespace

std::string codec_for(const std::string& asked, std::uint32_t dim) {
  if (asked != "auto" && asked != "rabitq") return choose_codec(asked, DType::f32, dim).name;
  // The fewest that tell which few vectors are to be read: a tenth of the vectors' bytes is to have room for the codes.
  constexpr std::uint32_t kBits = 256;
  return "rabitq:" + std::to_string(std::clamp((kBits + dim - 1) / dim, 2u, 4u));
}

ItemCodes::ItemCodes(const Params& params) : lists_(params.lists), raw_(params.codec == "float32") {
  if (raw_) {
    bytes_ = row_stride(lists_.dim * dtype_size(lists_.dtype));
  } else if (params.codec != "rabitq:1") {
    codec_ = make_codec(params.codec, lists_.metric, lists_.dim);
    bytes_ = row_stride(codec_->code_bytes());
  }
}

void ItemCodes::train(const float* sample, std::size_t n) {
  if (codec_ != nullptr) codec_->train(sample, n);
}

void ItemCodes::encode(const float* vector, const std::byte* row, std::byte* out) const {
  if (raw_) std::memcpy(out, row, lists_.dim * dtype_size(lists_.dtype));
  if (codec_ != nullptr) codec_->encode(vector, out);
}

Scan ItemCodes::prepare(const RowForm& form, const QueryView& query, const float* vector, QueryBuffer& buffer) const {
  simd::Rows rows;
  rows.dim = lists_.dim;
  rows.stride = bytes_;
  if (raw_) return exact_scan(form, rows, query, buffer);
  Scan scan;
  scan.rows = rows;
  scan.rows.prefetch_bytes = static_cast<std::uint32_t>(bytes_);
  float* copy = buffer.need_floats(lists_.dim);
  std::copy_n(vector, lists_.dim, copy);
  codec_->prepare(copy, buffer, scan);
  return scan;
}

void ItemCodes::at(Scan& scan, const std::byte* rows) const {
  scan.rows.data = rows;
  if (codec_ == nullptr) return;
  scan.rows.tails = rows + codec_->tail_offset();
  scan.rows.tail_stride = bytes_;
}

std::vector<float> ItemCodes::params() const { return codec_ != nullptr ? codec_->params() : std::vector<float>(); }

bool ItemCodes::restore(std::span<const float> params) {
  return codec_ != nullptr ? codec_->restore(params) : params.empty();
}

float score_row(const Scan& scan, const RowForm& form, const std::byte* row) {
  Scan one = scan;
  one.rows.data = row;
  float norm = 0;
  if (form.metric == Metric::cosine) {
    norm = reciprocal_length(sum_of_squares(row, form.dtype, form.dim));
    one.rows.tails = reinterpret_cast<const std::byte*>(&norm);
    one.rows.tail_stride = 0;
  }
  const Slot first = 0;
  float distance;
  one.score(&first, 1, &distance);
  return distance;
}

void State::measure_length() {
  const float sum = simd::kernels().norm2(fresh.centroids().data(), fresh.centroids().size());
  length = fresh.count() > 0 && std::isfinite(sum) ? std::sqrt(sum / static_cast<float>(fresh.count())) : 0.0f;
}

ListPlace ListWriter::write(std::span<std::byte> list, std::size_t size) {
  ListPlace place;
  place.offset = end_;
  place.size = static_cast<std::uint32_t>(size);
  place.crc = checksum(list);
  double sum = 0;
  for (std::size_t i = 0; i < size && form_.has_signs(); ++i) {
    const auto* factors = reinterpret_cast<const float*>(form_.block(list.data(), i));
    sum += std::fabs(factors[simd::kBlockRows + i % simd::kBlockRows]);
  }
  place.width = size > 0 ? static_cast<float>(sum / static_cast<double>(size)) : 0.0f;
  waiting_.insert(waiting_.end(), list.begin(), list.end());
  end_ += list.size();
  if (waiting_.size() >= kWriteBytes) flush();
  return place;
}

void ListWriter::flush() {
  file_.write_at(end_ - waiting_.size(), waiting_);
  waiting_.clear();
}

void VectorWriter::add(const std::byte* vector) {
  if (rows_ == 0 || rows_ == form_.rows_in_unit()) {
    if (waiting_.size() >= kWriteBytes) flush();
    waiting_.resize(waiting_.size() + form_.unit_bytes());
    rows_ = 0;
  }
  form_.put(vector, waiting_.data() + waiting_.size() - form_.unit_bytes() + rows_++ * form_.vector_bytes());
}

void VectorWriter::flush() {
  for (std::size_t at = 0; at < waiting_.size(); at += form_.unit_bytes()) {
    sums_.push_back(checksum(std::span(waiting_).subspan(at, form_.unit_bytes())));
  }
  file_.write_at(form_.offset(unit_), waiting_);
  unit_ += waiting_.size() / form_.unit_bytes();
  waiting_.clear();
}

std::vector<std::uint32_t> VectorWriter::finish() {
  flush();
  return std::move(sums_);
}

}  // namespace annlib::disk
