#pragma once

#include <memory>
#include <string>

#include "codec/codec.h"
#include "index/index.h"

namespace annlib {

/// Search by looking at every vector; also the ground truth of tests and benchmarks. With a codec every code is looked
/// at instead, and the vectors of those that may be results by the codes' margin: what is returned is exact, and what
/// is missed is missed by an error beyond that margin. Without the vectors results are those of the codes. Thread
/// safety and errors as Index has them.
class FlatIndex final : public Index {
 public:
  /// ValueError for an unknown codec, and without vectors for one that makes no codes.
  FlatIndex(std::uint32_t dim, DType dtype, Metric metric, const std::string& codec = "float32",
            bool keep_vectors = true);

  const std::string& codec_asked() const { return codec_asked_; }
  const CodecChoice& codec() const { return codec_; }

  /// CorruptError for whatever in the file does not fit together.
  static std::unique_ptr<FlatIndex> open(const std::shared_ptr<const storage::Container>& file);

 protected:
  const Table& table() const override { return state_->table; }
  Table& table() override { return state_->table; }
  const CodeSpace* codes() const override { return state_->codes.get(); }
  void insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
              const Progress& progress) override;
  void erase(std::span<const Slot> slots, int threads) override;
  void rebuild(int threads, const Progress& progress) override;
  bool search_one(const QueryView& query, const SearchRequest& request, const Passing& filter, std::size_t together,
                  Scratch& s, PlanReport& report) const override;
  ScanSpaces scan_spaces(const SearchRequest& request, const SlotSet* passing) const override;
  void radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                  std::size_t matches, Scratch& s) const override;
  std::string kind() const override { return "flat"; }
  void append_sections(storage::SectionList& sections) const override;
  std::size_t other_memory_bytes() const override { return codes() != nullptr ? codes()->memory_bytes() : 0; }

 private:
  /// What can be built beside another and take its place.
  struct State {
    State(std::uint32_t dim, DType dtype, Metric metric) : table(dim, dtype, metric) {}
    Table table;
    StoredSpace stored{table};
    std::unique_ptr<CodeSpace> codes;  ///< nullptr: without a codec
  };
  /// What results are ranked by, and codes are made of.
  const Space& truth() const {
    if (!state_->table.keeps_rows()) return *state_->codes;
    return state_->stored;
  }
  std::unique_ptr<State> make_state() const;
  std::unique_ptr<CodeSpace> make_codes(const Table& table, bool alone) const;
  void retrain(std::span<const Slot> fresh, std::span<const std::int64_t> ids, bool drop, int threads);

  std::string codec_asked_;
  CodecChoice codec_;
  std::unique_ptr<State> state_;
};

}  // namespace annlib
