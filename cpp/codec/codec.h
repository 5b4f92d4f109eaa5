#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/space.h"
#include "core/buffer.h"
#include "core/types.h"
#include "simd/simd.h"
#include "table/table.h"

namespace annlib {

/// How a vector is compressed for traversal. A codec learns its parameters from a sample, turns a vector into a code
/// of fixed size, and a query into something that a kernel scores against codes. To add one: a class of this shape in
/// a file of its own, and a line in codec.cpp's table.
///
/// Vectors come as float32, of unit length (or zero) when the metric is cosine. Distances are approximations in the
/// metric's own unit. After train() all members are const and may be called from any thread.
class Codec {
 public:
  virtual ~Codec() = default;
  virtual std::string_view name() const = 0;
  /// The parameters that describe a trained codec: what to_params() gives, from_params() takes.
  virtual std::vector<float> params() const = 0;
  /// False unless the parameters are ones that params() could have given.
  virtual bool restore(std::span<const float> params) = 0;
  /// `sample` is n x dim, n >= 1.
  virtual void train(const float* sample, std::size_t n) = 0;
  /// Bytes of a code, its tail included.
  virtual std::size_t code_bytes() const = 0;
  virtual std::uint32_t tail_offset() const = 0;
  /// Writes code_bytes(). Returns false if the vector lies outside of what the codec was trained for, so that its
  /// code is a poor one.
  virtual bool encode(const float* vector, std::byte* code) const = 0;
  /// The vector that a code stands for: whose products are what its distances take them to be, but for rounding. False
  /// if the code, its tail included, holds numbers that are not finite: of vectors too long for it, or out of a file.
  virtual bool decode(const std::byte* code, float* vector) const = 0;
  /// Whether its distances are good enough to choose links by. If not, graphs grow on the stored vectors.
  virtual bool chooses_links() const = 0;
  /// Whether what it learnt from is such that codes lose nothing; then encode() tells for each vector if that is so.
  virtual bool lossless() const { return false; }
  /// Fills scan.query and scan.scorer; scan.rows.dim if an element of a row is not a dimension; scan.margin if the
  /// codec has a bound that is better than the measured error; and scan.exact, as of codes that lost nothing. `vector`
  /// may lie in buffer.floats.
  virtual void prepare(const float* vector, QueryBuffer& buffer, Scan& scan) const = 0;
  /// The same for what a code stands for, without a look at the vector; `code` stays where it is while `scan` is used.
  /// False, and nothing filled, where there is no shorter way to it than decode().
  virtual bool prepare_code(const std::byte* /*code*/, QueryBuffer& /*buffer*/, Scan& /*scan*/) const { return false; }
};

/// "float16", "int8", "int4", "rabitq" or "rabitq:BITS"; nullptr for another name.
std::unique_ptr<Codec> make_codec(std::string_view name, Metric metric, std::uint32_t dim);

/// All names that an index takes, "auto" and "float32" among them.
std::vector<std::string> codec_names();

struct CodecChoice {
  std::string name;    ///< a codec's name; "float32" walks on the stored vectors, whatever their dtype
  std::string reason;  ///< for people
};

/// Resolves "auto", the number of bits, and the codecs that say nothing new about a dtype. ValueError for an unknown
/// name, for bits out of range or of a codec that has none, and for "float32" where vectors are not kept.
CodecChoice choose_codec(const std::string& asked, DType dtype, std::uint32_t dim, bool keep_vectors = true);

/// Fewer vectors than these are kept, for a while, where they are not to be: a codec learns too little from them.
constexpr std::size_t kLearntRows = 1024;

/// The codes of a table's rows, slot by slot. encode() and train() are for one thread with no reader beside it.
///
/// Codes are a shorter way to the table's vectors or, `alone`, what is left of them: then they are decoded where a
/// vector is asked for that is not at hand, results are theirs (no margin), and what they cannot hold is a ValueError.
class CodeSpace final : public Space {
 public:
  CodeSpace(const Table& table, std::unique_ptr<Codec> codec, bool alone = false);

  Scan prepare(const QueryView& query, QueryBuffer& buffer) const override;
  Scan prepare_row(Slot slot, QueryBuffer& buffer) const override;
  void load(Slot slot, float* out) const override;

  const Codec& codec() const { return *codec_; }
  /// Typical error of a code's distance (root mean square), measured on the training sample.
  float error() const { return error_; }

  /// Learns from at most 65,536 of `slots`, the first ones, and makes the codes of all rows anew, of what they are in
  /// `rows`: the stored vectors, or other codes.
  void train(const Space& rows, std::span<const Slot> slots, int threads);
  /// Knows what another of the same codec has learnt, and no codes yet.
  void learn_from(const CodeSpace& other);
  /// Whether distances of codes are finite: under l2 and ip those of very long vectors are not.
  bool finite() const { return std::isfinite(error_); }
  /// Whether few enough of `slots`, whose vectors all differ, share their code with more than ten others: not more than
  /// one in a hundred. On their codes such rows are an island of nodes at no distance from each other.
  bool distinct(std::span<const Slot> slots) const;
  /// Whether the codes tell near neighbours apart: finite(), distinct(), and of the ten nearest of a sample to its own
  /// rows, nine in ten must be among the twenty nearest by code. They are not where clusters are far smaller than the
  /// range they are strewn over.
  bool resolves(std::span<const Slot> slots) const;
  /// What codes are good for: resolves() where links are chosen by them. Codecs too coarse for that are meant to be:
  /// copies alone are too much for them.
  bool tells_apart(std::span<const Slot> slots) const {
    return codec_->chooses_links() ? resolves(slots) : finite() && distinct(slots);
  }
  /// Makes room for all rows of the table.
  void grow();
  /// Makes a row's code of its vector, which must be at hand; the room must be there.
  void encode(Slot slot);
  const std::byte* code(Slot slot) const { return codes_.data() + slot * stride_; }
  void set_code(Slot slot, const std::byte* code);
  bool same_code(Slot a, Slot b) const;
  /// A hash of the code's bytes.
  std::uint64_t content_hash(Slot slot) const;
  /// True when the codec knows nothing yet, when rows were doubled by the `more` that come, or when so many fell
  /// outside of what it knows that training again would pay. Codes alone lose by it: they do not follow every doubling.
  bool wants_training(std::size_t more = 0) const;

  std::size_t memory_bytes() const { return codes_.bytes().size(); }
  const Array<std::byte>& codes() const { return codes_; }
  std::size_t stride() const { return stride_; }
  /// Whether no code has lost anything, so that distances of queries that lose nothing either are exact.
  bool exact() const { return exact_; }
  /// Throws CorruptError unless the parts fit the table.
  void restore(Array<std::byte> codes, std::span<const float> params, float error, bool exact);

 private:
  bool encode_row(const Space& rows, Slot slot, float* wide);
  void measure_error(const Space& rows, std::span<const Slot> sample);
  Scan unbound() const;
  Scan bind(const float* vector, QueryBuffer& buffer) const;

  const Table* table_;
  std::unique_ptr<Codec> codec_;
  bool alone_;
  std::size_t stride_;
  Array<std::byte> codes_;
  float error_ = 0;
  bool exact_ = false;
  std::size_t trained_on_ = 0;
  std::size_t encoded_ = 0, outside_ = 0;  ///< since then, and how many of them badly
  double usual_ = 0;                       ///< the share of all rows that were then
};

}  // namespace annlib
