#pragma once

#include <memory>
#include <string>

#include "index/index.h"

namespace annlib {

/// Exact search by looking at every vector; also the ground truth of tests and benchmarks. Thread safety and errors
/// as Index has them.
class FlatIndex final : public Index {
 public:
  FlatIndex(std::uint32_t dim, DType dtype, Metric metric) : Index(dim, dtype, metric), table_(dim, dtype, metric) {}

  /// CorruptError for whatever in the file does not fit together.
  static std::unique_ptr<FlatIndex> open(const std::shared_ptr<const storage::Container>& file);

 protected:
  const Table& table() const override { return table_; }
  void insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
              const Progress& progress) override;
  void erase(std::span<const Slot> slots, int threads) override;
  void rebuild(int threads, const Progress& progress) override;
  void search_one(const QueryView& query, const SearchRequest& request, const Bitset* passing, std::size_t matches,
                  Scratch& s) const override;
  void radius_one(const QueryView& query, float radius, const SearchRequest& request, const Bitset* passing,
                  std::size_t matches, Scratch& s) const override;
  std::string kind() const override { return "flat"; }
  void append_sections(storage::SectionList& sections) const override;

 private:
  Table table_;
};

}  // namespace annlib
