#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "storage/container.h"
#include "storage/file.h"
#include "storage/rules.h"

/// The bytes of a log: docs/file-format.md is their description.
namespace annlib::storage {

inline constexpr std::uint8_t kLogMagic[8] = {0x89, 'A', 'N', 'L', '\r', '\n', 0x1A, '\n'};
inline constexpr std::uint32_t kLogVersion = 1;
inline constexpr std::uint32_t kRecordMagic = 0x4452'4C89;  // 89 'L' 'R' 'D'
/// Records, and what they consist of, begin at multiples of this.
inline constexpr std::uint64_t kRecordAlignment = 8;

struct LogHeader {
  std::uint8_t magic[8];
  std::uint32_t byte_order;
  std::uint32_t version;
  std::uint64_t identity;
  std::uint32_t reserved;
  std::uint32_t crc;  ///< of all bytes before it
};
static_assert(sizeof(LogHeader) == 32 && offsetof(LogHeader, crc) == 28);

struct RecordHeader {
  std::uint32_t magic;
  std::uint32_t section_count;
  char kind[kKindField];
  std::uint64_t identity;  ///< the log's
  std::uint64_t offset;    ///< where in the log this is
  std::uint64_t length;    ///< with this header
  std::uint32_t table_length;
  std::uint32_t table_crc;
  std::uint32_t reserved;
  std::uint32_t crc;  ///< of all bytes before it
};
static_assert(sizeof(RecordHeader) == 64 && offsetof(RecordHeader, identity) == 24 &&
              offsetof(RecordHeader, crc) == 60);

/// In the table, before the section's extents and its name.
struct RecordEntry {
  std::uint32_t crc;
  std::uint8_t type;
  std::uint8_t rank;
  std::uint8_t name_length;
  std::uint8_t reserved;
};
static_assert(sizeof(RecordEntry) == 8);

constexpr std::uint64_t record_padded(std::uint64_t n) {
  return (n + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
}

/// A log as it was when its size was asked for.
struct LogFile {
  const File& file;
  std::uint64_t size = 0;
  std::uint64_t identity = 0;
};

LogHeader log_header(std::uint64_t identity);
/// CorruptError (VersionError for a newer one) unless the file begins with the header of the log of that identity.
void check_log_header(const LogFile&);

/// A record without its sections: they follow, each padded with zeros to a multiple of kRecordAlignment.
struct RecordHead {
  std::vector<std::byte> bytes;  ///< header and table
  std::uint64_t length = 0;      ///< of the whole record
};
/// Throws ValueError for what a record cannot hold.
RecordHead record_head(std::string_view kind, std::span<const SectionView> sections, std::uint64_t identity,
                       std::uint64_t offset);

/// The record at `offset`, in memory and checked, or null where none is whole. Reads no more than the log has. Where
/// all checksums are right and what they cover breaks the format, it is a CorruptError: no crash leaves that behind.
std::shared_ptr<const Container> read_record(const LogFile&, std::uint64_t offset);

/// Whether a record's header stands anywhere behind `offset`.
bool header_behind(const LogFile&, std::uint64_t offset);

}  // namespace annlib::storage
