#include "codec/codec.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "codec/float16.h"
#include "codec/rabitq.h"
#include "codec/scalar.h"
#include "core/candidate.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"

namespace annlib {
namespace {

using Factory = std::unique_ptr<Codec> (*)(Metric, std::uint32_t dim, std::uint32_t bits);

struct Entry {
  std::string_view name;
  Factory make = nullptr;  ///< nullptr: not a codec of its own
  std::uint32_t bits = 0;  ///< a dimension, if the user may choose: the default
};

template <class C, std::uint32_t... fixed>
std::unique_ptr<Codec> make(Metric metric, std::uint32_t dim, std::uint32_t) {
  return std::make_unique<C>(metric, dim, fixed...);
}

template <class C>
std::unique_ptr<Codec> make_with_bits(Metric metric, std::uint32_t dim, std::uint32_t bits) {
  return std::make_unique<C>(metric, dim, bits);
}

constexpr Entry kCodecs[] = {
    {"auto"},
    {"float32"},
    {"float16", make<Float16Codec>},
    {"int8", make<ScalarCodec, 8>},
    {"int4", make<ScalarCodec, 4>},
    {"rabitq", make_with_bits<RabitqCodec>, 4},
};

/// A name such as "int8", "rabitq" or "rabitq:2" taken apart.
struct CodecName {
  const Entry* entry = nullptr;  ///< nullptr: there is no such codec
  std::uint32_t bits = 0;        ///< 0: of a codec that has none, or out of range
};

CodecName parse(std::string_view name) {
  const std::size_t colon = name.find(':');
  const auto is_named = [&](const Entry& entry) { return entry.name == name.substr(0, colon); };
  const auto entry = std::find_if(std::begin(kCodecs), std::end(kCodecs), is_named);
  if (entry == std::end(kCodecs)) return {};
  if (colon == name.npos) return {entry, entry->bits};
  const std::string_view digits = name.substr(colon + 1);
  const bool in_range = entry->bits != 0 && digits.size() == 1 && digits[0] >= '1' && digits[0] <= '8';
  return {entry, in_range ? static_cast<std::uint32_t>(digits[0] - '0') : 0};
}

// Below this a code saves less than the second look at the vectors costs.
constexpr std::uint32_t kAutoFromDim = 32;
constexpr std::size_t kTrainRows = 65536;
// Of a code's distances nearly all lie within so many typical errors of the exact one.
constexpr float kErrorMargin = 2.5f;

void scale(float* x, std::uint32_t dim, float by) {
  for (std::uint32_t i = 0; i < dim; ++i) x[i] *= by;
}

std::string listed(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

ValueError too_long(const Codec& codec) {
  return ValueError(
      "with keep_vectors=False, vectors must be short enough for float32 to hold the distances of their " +
      std::string(codec.name()) + " codes, got some that are not");
}

// Of loaded rows, which are of unit length under cosine.
double distance_of(Metric metric, const std::vector<float>& a, const std::vector<float>& b) {
  double difference2 = 0, product = 0;
  for (std::size_t d = 0; d < a.size(); ++d) {
    const double difference = static_cast<double>(a[d]) - b[d];
    difference2 += difference * difference;
    product += static_cast<double>(a[d]) * b[d];
  }
  return metric == Metric::l2 ? difference2 : metric == Metric::ip ? -product : 1.0 - product;
}

}  // namespace

std::unique_ptr<Codec> make_codec(std::string_view name, Metric metric, std::uint32_t dim) {
  const auto [entry, bits] = parse(name);
  return entry != nullptr && entry->make != nullptr ? entry->make(metric, dim, bits) : nullptr;
}

std::vector<std::string> codec_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kCodecs) names.emplace_back(entry.name);
  return names;
}

CodecChoice choose_codec(const std::string& asked, DType dtype, std::uint32_t dim, bool keep_vectors) {
  const auto [entry, bits] = parse(asked);
  if (entry == nullptr) throw ValueError("unknown codec '" + asked + "'; there are: " + listed(codec_names()));
  const std::string name(entry->name);
  if (bits == 0 && asked != name) {
    throw ValueError(entry->bits == 0 ? "codec '" + name + "' takes no bits"
                                      : "bits of codec '" + name + "' must be from 1 to 8, got '" + asked + "'");
  }
  if (!keep_vectors) {
    if (name == "auto") return {"int8", "of what the codecs make of vectors that are not kept, the nearest to them"};
    if (entry->make != nullptr) return {bits == 0 ? name : name + ":" + std::to_string(bits), "as asked"};
    std::vector<std::string> names = codec_names();
    std::erase(names, name);
    throw ValueError("'" + name +
                     "' makes no codes, and keep_vectors=False keeps nothing else; there are: " + listed(names));
  }
  if (is_integer(dtype)) return {"float32", "8-bit vectors are walked on as they are"};
  if (name == "float16" && dtype == DType::f16) return {"float32", "the vectors are float16 already"};
  if (name != "auto") return {bits == 0 ? name : name + ":" + std::to_string(bits), "as asked"};
  if (dim < kAutoFromDim) return {"float32", "dim " + std::to_string(dim) + " is too small for codes to pay"};
  return {"int8", "8-bit codes are read " + std::to_string(dtype_size(dtype)) + " times faster than the vectors"};
}

CodeSpace::CodeSpace(const Table& table, std::unique_ptr<Codec> codec, bool alone)
    : table_(&table), codec_(std::move(codec)), alone_(alone), stride_(row_stride(codec_->code_bytes())) {}

void CodeSpace::load(Slot slot, float* out) const {
  if (table_->vector(slot) != nullptr) return StoredSpace(*table_).load(slot, out);
  codec_->decode(code(slot), out);
}

// A scan of the codes that has no query yet.
Scan CodeSpace::unbound() const {
  Scan scan;
  scan.rows.data = codes_.data();
  scan.rows.stride = stride_;
  scan.rows.dim = table_->dim();
  scan.rows.tails = codes_.data() + codec_->tail_offset();
  scan.rows.tail_stride = stride_;
  scan.rows.prefetch_bytes = static_cast<std::uint32_t>(stride_);
  scan.margin = kErrorMargin * error_;
  return scan;
}

Scan CodeSpace::bind(const float* vector, QueryBuffer& buffer) const {
  Scan scan = unbound();
  codec_->prepare(vector, buffer, scan);
  scan.exact = alone_ || (scan.exact && exact_);
  if (alone_) scan.margin = 0.0f;
  return scan;
}

Scan CodeSpace::prepare(const QueryView& query, QueryBuffer& buffer) const {
  float* wide = buffer.need_floats(table_->dim());
  widen(query.data, query.dtype, table_->dim(), wide);
  if (table_->metric() == Metric::cosine) {
    scale(wide, table_->dim(), reciprocal_length(wide, table_->dim()));
  }
  return bind(wide, buffer);
}

// By its code where that will do, for it is likely at hand and the vector is not: graphs are built so.
Scan CodeSpace::prepare_row(Slot slot, QueryBuffer& buffer) const {
  Scan scan = unbound();
  if (codec_->prepare_code(code(slot), buffer, scan)) return scan;
  float* wide = buffer.need_floats(table_->dim());
  load(slot, wide);
  return bind(wide, buffer);
}

bool CodeSpace::encode_row(const Space& rows, Slot slot, float* wide) {
  std::byte* code = codes_.data() + slot * stride_;
  rows.load(slot, wide);
  const bool inside = codec_->encode(wide, code);
  if (alone_ && !codec_->decode(code, wide)) throw too_long(*codec_);
  return inside;
}

void CodeSpace::train(const Space& rows, std::span<const Slot> slots, int threads) {
  const std::uint32_t dim = table_->dim();
  const std::span<const Slot> sample = slots.first(std::min(slots.size(), kTrainRows));
  if (!sample.empty()) {
    Array<float> wide;
    wide.reserve(sample.size() * dim, threads);
    wide.resize(sample.size() * dim);
    parallel_for(sample.size(), 64, threads, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t i = begin; i < end; ++i) rows.load(sample[i], &wide[i * dim]);
    });
    codec_->train(wide.data(), sample.size());
  }
  grow();
  std::atomic<std::size_t> outside{0};
  parallel_for(table_->slots(), 1024, threads, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> wide(dim);
    std::size_t missed = 0;
    for (std::size_t slot = begin; slot < end; ++slot)
      missed += !encode_row(rows, static_cast<Slot>(slot), wide.data());
    outside += missed;
  });
  trained_on_ = slots.size();
  exact_ = codec_->lossless() && outside == 0;
  usual_ = static_cast<double>(outside) / static_cast<double>(std::max<std::size_t>(table_->slots(), 1));
  outside_ = encoded_ = 0;
  measure_error(rows, sample);
  if (alone_ && !finite()) throw too_long(*codec_);
}

void CodeSpace::measure_error(const Space& rows, std::span<const Slot> sample) {
  constexpr std::size_t kPairs = 2048;
  std::vector<float> row(table_->dim()), other(row);
  QueryBuffer buffer;
  double sum = 0;
  std::size_t n = 0;
  for (std::size_t i = 0; i < kPairs && sample.size() > 1; ++i) {
    const auto size = static_cast<std::uint32_t>(sample.size());
    const Slot a = sample[to_below(random64(0, 1, i), size)];
    const Slot b = sample[to_below(random64(0, 2, i), size)];
    if (a == b) continue;
    rows.load(a, row.data());
    rows.load(b, other.data());
    const double truth = distance_of(table_->metric(), row, other);
    float coded;
    bind(row.data(), buffer).score(&b, 1, &coded);
    sum += (static_cast<double>(coded) - truth) * (static_cast<double>(coded) - truth);
    ++n;
  }
  error_ = n > 0 ? static_cast<float>(std::sqrt(sum / static_cast<double>(n))) : 0.0f;
}

bool CodeSpace::distinct(std::span<const Slot> slots) const {
  constexpr std::size_t kGroup = 10;
  std::vector<std::uint64_t> hashes(slots.size());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    hashes[i] = content_hash(slots[i]);
  }
  std::sort(hashes.begin(), hashes.end());
  std::size_t alike = 0;
  for (auto begin = hashes.begin(), end = begin; begin != hashes.end(); begin = end) {
    end = std::upper_bound(begin, hashes.end(), *begin);
    const auto group = static_cast<std::size_t>(end - begin);
    if (group > kGroup) alike += group;
  }
  return alike * 100 <= slots.size();
}

bool CodeSpace::resolves(std::span<const Slot> slots) const {
  if (!finite() || !distinct(slots)) return false;
  constexpr std::size_t kRows = 4096, kQueries = 64, kNear = 10;
  const std::span<const Slot> rows = slots.first(std::min(slots.size(), kRows));
  if (rows.size() <= 2 * kNear) return true;
  const StoredSpace exact(*table_);
  QueryBuffer buffer;
  std::vector<float> distances(rows.size());
  const auto nearest = [&](const Space& space, Slot query, std::size_t k) {
    space.prepare_row(query, buffer).score(rows.data(), rows.size(), distances.data());
    TopK top;
    top.reset(k);
    for (std::size_t i = 0; i < rows.size(); ++i) top.push(Candidate(distances[i], rows[i]));
    return top.sorted();
  };
  std::size_t found = 0, wanted = 0;
  for (std::size_t q = 0; q < std::min(kQueries, rows.size()); ++q) {
    const std::vector<Candidate> by_code = nearest(*this, rows[q], 2 * kNear);
    for (Candidate c : nearest(exact, rows[q], kNear)) {
      const auto same = [&](Candidate other) { return other.slot() == c.slot(); };
      found += std::any_of(by_code.begin(), by_code.end(), same);
      ++wanted;
    }
  }
  return found * 10 >= wanted * 9;
}

void CodeSpace::grow() { codes_.resize(table_->slots() * stride_); }

void CodeSpace::encode(Slot slot) {
  std::vector<float> wide(table_->dim());
  const bool inside = encode_row(*this, slot, wide.data());
  outside_ += !inside;
  ++encoded_;
  exact_ &= inside;
}

void CodeSpace::learn_from(const CodeSpace& other) {
  codec_->restore(other.codec_->params());
  error_ = other.error_;
  exact_ = other.exact_;
  trained_on_ = other.trained_on_;
  outside_ = other.outside_;
  encoded_ = other.encoded_;
  usual_ = other.usual_;
}

void CodeSpace::set_code(Slot slot, const std::byte* code) {
  std::memcpy(codes_.data() + slot * stride_, code, codec_->code_bytes());
}

bool CodeSpace::same_code(Slot a, Slot b) const { return std::memcmp(code(a), code(b), codec_->code_bytes()) == 0; }

std::uint64_t CodeSpace::content_hash(Slot slot) const { return hash_bytes(code(slot), codec_->code_bytes()); }

// Every training looks at all rows once, so it must not be due more often than each hundredth row or so, nor for what
// training does not mend: where tails are heavy, some rows are always outside.
bool CodeSpace::wants_training(std::size_t more) const {
  const std::size_t rows = table_->live() + more;
  const bool grown = rows >= 2 * trained_on_ + (trained_on_ > 0 ? 16 : 1);
  return (grown && !(alone_ && trained_on_ >= kLearntRows)) ||
         static_cast<double>(outside_) >
             static_cast<double>(16 + rows / 100) + 2 * usual_ * static_cast<double>(encoded_);
}

void CodeSpace::restore(Array<std::byte> codes, std::span<const float> params, float error, bool exact) {
  if (codes.size() != table_->slots() * stride_) throw CorruptError("the codes do not fit the vectors");
  if (!std::isfinite(error) || error < 0) throw CorruptError("the codec's error is not a number");
  for (float p : params) {
    if (!std::isfinite(p)) throw CorruptError("a parameter of the codec is not finite");
  }
  if (!codec_->restore(params)) throw CorruptError("the codec's parameters do not fit the vectors");
  std::vector<float> wide(table_->dim());
  for (std::size_t slot = 0; alone_ && slot < table_->slots(); ++slot) {
    if (!codec_->decode(codes.data() + slot * stride_, wide.data())) {
      throw CorruptError("the code of row " + std::to_string(slot) + " is not finite");
    }
  }
  codes_ = std::move(codes);
  error_ = error;
  exact_ = exact && codec_->lossless();
  trained_on_ = table_->live();
  outside_ = encoded_ = 0;
}

}  // namespace annlib
