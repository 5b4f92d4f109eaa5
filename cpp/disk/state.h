#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "disk/files.h"
#include "disk/resident.h"
#include "io/block_reader.h"
#include "posting/posting_lists.h"
#include "spann/centroid_index.h"
#include "spann/centroids.h"
#include "spann/spann_index.h"
#include "spann/spread.h"

namespace annlib::disk {

/// What an index on disk is made with. Together with the set of (id, vector) these determine its files, as long as
/// nothing is added or deleted.
struct Params {
  SpannParams lists;
  /// What stands in lists besides a bit a dimension: "rabitq:2" to "rabitq:8", "int8", "int4" or "float16"; nothing
  /// ("rabitq:1"), or the vectors themselves ("float32": raw postings).
  std::string codec = "rabitq:2";
  std::uint64_t memory_budget = std::uint64_t{2} << 30;  ///< of a build
};

/// ValueError for a codec that there is not; "auto" and "rabitq" become what they stand for.
std::string codec_for(const std::string& asked, std::uint32_t dim);

/// The longer codes of items: of a codec, or vectors as they are. Thread-safe once trained.
class ItemCodes {
 public:
  ItemCodes(const Params& params);

  std::size_t bytes() const { return bytes_; }
  bool none() const { return bytes_ == 0; }
  /// Whether scores are exact distances.
  bool raw() const { return raw_; }
  void train(const float* sample, std::size_t n);
  /// `vector` is as ListCodes::load() gives it, `row` as it was given.
  void encode(const float* vector, const std::byte* row, std::byte* out) const;
  /// A scan over rows of bytes() each, whose place is to be set by at(). Not for none().
  Scan prepare(const RowForm& form, const QueryView& query, const float* vector, QueryBuffer& buffer) const;
  void at(Scan& scan, const std::byte* rows) const;

  std::vector<float> params() const;
  bool restore(std::span<const float> params);

 private:
  SpannParams lists_;
  std::unique_ptr<Codec> codec_;
  bool raw_;
  std::size_t bytes_ = 0;
};

/// One vector of a unit, by its bytes, with the exact distances of `scan`; under cosine its norm is made anew.
float score_row(const Scan& scan, const RowForm& form, const std::byte* row);

/// Lists that searches look at: on disk, and around the same centroids in memory what has come since. One is built
/// beside another and takes its place; `fresh` and `homes` alone change meanwhile.
struct State {
  State(const Params& params, const Table& table)
      : fresh(params.lists.dim, params.lists.metric),
        centroids(table),
        replicas(params.lists.replicas),
        vector_form(params.lists.dim, params.lists.dtype, params.lists.dtype) {}

  PostingLists fresh;
  CentroidIndex centroids;
  Array<ListPlace> places;
  std::vector<std::uint32_t> given_up;  ///< numbers of lists that are no more, ascending
  /// The lists of each slot, kNoList for those it has not: replicas a slot.
  Array<std::uint32_t> homes;
  std::uint32_t replicas;
  VectorForm vector_form;
  /// Of the slots whose vectors are in the file; the sums are of its units.
  std::size_t on_disk = 0;
  Array<std::uint32_t> sums;
  std::uint64_t lists_end = kHeaderBytes;  ///< of what was written to the file of lists
  std::string lists_name, vectors_name;    ///< in the directory
  std::shared_ptr<io::BlockReader> lists_file, vectors_file;
  std::unique_ptr<ResidentLists> resident;  ///< what lists_file holds, where there is room for it
  std::size_t clustered = 0;                ///< items when the lists were made
  /// As Postings has it; what estimates are off by, typically, and the longer codes.
  std::vector<float> reach;
  float error = 0, row_error = 0;
  float length = 0;  ///< of vectors, about: under ip row_error is that of queries so long
  Spread spread;     ///< not under ip, nor of a directory from before it was learnt

  std::span<std::uint32_t> homes_of(Slot slot) { return {homes.data() + std::size_t{slot} * replicas, replicas}; }
  std::span<const std::uint32_t> homes_of(Slot slot) const {
    return {homes.data() + std::size_t{slot} * replicas, replicas};
  }
  /// From the centroids, `length`.
  void measure_length();
  bool is_given_up(std::uint32_t list) const { return std::binary_search(given_up.begin(), given_up.end(), list); }
  std::size_t memory_bytes() const {
    return fresh.memory_bytes() + centroids.memory_bytes() + places.bytes().size() + homes.memory_bytes() +
           sums.bytes().size() + (resident != nullptr ? resident->bytes() : 0);
  }
};

/// Calls take(slot, row) for slots on disk, which ascend, as their vectors arrive.
template <class Take>
void read_vectors(const State& state, std::span<const Slot> slots, SearchCost& cost, Take&& take) {
  constexpr std::size_t kAtOnce = 128;
  const VectorForm& form = state.vector_form;
  std::vector<std::byte> buffer;
  std::vector<io::BlockRequest> requests;
  std::vector<std::size_t> firsts;  // of each request the place of its first slot
  for (std::size_t at = 0; at < slots.size();) {
    requests.clear();
    firsts.clear();
    while (at < slots.size() && requests.size() < kAtOnce) {
      const std::size_t unit = form.unit(slots[at]);
      requests.push_back({form.offset(unit), form.unit_bytes(), requests.size(), state.sums[unit]});
      firsts.push_back(at);
      while (at < slots.size() && form.unit(slots[at]) == unit) ++at;
    }
    firsts.push_back(at);
    io::BlockBatch batch(*state.vectors_file);
    batch.add(requests);
    while (const auto arrival = batch.next()) {
      for (std::size_t i = firsts[arrival->tag]; i < firsts[arrival->tag + 1]; ++i) {
        take(slots[i], form.vector(arrival->block->data() + form.in_unit(slots[i]), buffer));
      }
    }
    cost.reads += batch.reads();
    cost.bytes_read += batch.bytes_read();
    cost.cache_hits += batch.hits();
  }
}

/// Lists on their way into the file: one at a time, behind what is there.
class ListWriter {
 public:
  ListWriter(storage::File& file, const ListForm& form, std::uint64_t begin) : file_(file), form_(form), end_(begin) {}

  /// Writes form.bytes(size) bytes; the slots and codes are in them.
  ListPlace write(std::span<std::byte> list, std::size_t size);
  void flush();
  std::uint64_t end() const { return end_; }

 private:
  storage::File& file_;
  ListForm form_;
  std::uint64_t end_;
  std::vector<std::byte> waiting_;
};

/// Writes vectors in the order of slots, of which the first is that of a unit.
class VectorWriter {
 public:
  VectorWriter(storage::File& file, const VectorForm& form, std::size_t first_unit)
      : file_(file), form_(form), unit_(first_unit) {}

  void add(const std::byte* vector);
  /// The sums of the units, when the last vector was added; they lie in the file then.
  std::vector<std::uint32_t> finish();

 private:
  void flush();

  storage::File& file_;
  VectorForm form_;
  std::size_t unit_, rows_ = 0;  ///< of `waiting_`: the first unit, and the vectors in its last
  std::vector<std::byte> waiting_;
  std::vector<std::uint32_t> sums_;
};

}  // namespace annlib::disk
