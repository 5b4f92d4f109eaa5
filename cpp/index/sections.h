#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "core/buffer.h"
#include "storage/container.h"
#include "storage/section_list.h"
#include "table/table.h"

namespace annlib {

/// One section as a buffer: a view of the mapping where there is one, else bytes of its own.
Buffer load_section(const std::shared_ptr<const storage::Container>& file, const storage::SectionInfo& section);

/// The table's sections, and what reads them back: CorruptError for anything that does not fit.
void append_table(const Table& table, storage::SectionList& sections);
void restore_table(const std::shared_ptr<const storage::Container>& file, Table& table);
/// The hash by id, with which restore_table() takes what searches do not look at from the file as it is. Not part of
/// what an index is: it depends on the order of changes.
void append_by_id(const Table& table, storage::SectionList& sections);
/// What append_by_id() and append_table() wrote of a table, which has not changed since, as a place for it: arrays for
/// Table::swap_places(). Not checked.
struct TablePlaces {
  explicit TablePlaces(const storage::Container& file);
  Array<std::uint32_t> arrivals;
  Array<Slot> by_id;
};
/// Whether vectors are to be kept. If not, they may be there all the same, while they are few: then, as otherwise,
/// restore_table() must be given a table that keeps rows.
void append_keep_vectors(bool keep, storage::SectionList& sections);
bool read_keep_vectors(const storage::Container& file);
/// Where rows are of another type than the index's vectors: one of 8 bits. CorruptError for any other.
void append_stored_dtype(DType dtype, storage::SectionList& sections);
std::optional<DType> read_stored_dtype(const storage::Container& file);
bool has_vectors(const storage::Container& file);

/// The attributes' sections, of which there are none where there are no attributes.
void append_columns(const Columns& columns, storage::SectionList& sections);
void restore_columns(const std::shared_ptr<const storage::Container>& file, Columns& columns);

/// The codec's sections: what was asked for, and the codes.
void append_codec_asked(const std::string& asked, storage::SectionList& sections);
void append_codes(const CodeSpace& codes, storage::SectionList& sections);
std::string read_codec_asked(const storage::Container& file);
void restore_codes(const std::shared_ptr<const storage::Container>& file, CodeSpace& codes);

/// The numbers that an index is made with, as one section of u64: dim, dtype, metric, then what the kind adds.
struct StoredParams {
  std::uint32_t dim = 0;
  DType dtype = DType::f32;
  Metric metric = Metric::l2;
  std::vector<std::uint64_t> more;
};
void append_params(const StoredParams& params, storage::SectionList& sections);
/// CorruptError unless there are exactly `more` further numbers and all enums are known.
StoredParams read_params(const storage::Container& file, std::size_t more);

}  // namespace annlib
