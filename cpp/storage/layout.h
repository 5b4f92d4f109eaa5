#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/container.h"
#include "storage/rules.h"
#include "storage/source.h"

/// The bytes of the format: docs/file-format.md is their description.
namespace annlib::storage {

static_assert(std::endian::native == std::endian::little, "the file format is little endian, and so is this build");

inline constexpr std::uint8_t kMagic[8] = {0x89, 'A', 'N', 'N', '\r', '\n', 0x1A, '\n'};
inline constexpr std::uint32_t kByteOrder = 0x01020304;
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint64_t kPageBytes = 4096;
/// Sections are read, summed and written in pieces of this size.
inline constexpr std::size_t kChunkBytes = std::size_t{1} << 20;

struct Header {
  std::uint8_t magic[8];
  std::uint32_t byte_order;
  std::uint32_t version;
  char kind[kKindField];
  std::uint32_t page_bytes;
  std::uint32_t section_count;
  std::uint64_t table_offset;
  std::uint64_t table_length;
  std::uint64_t file_bytes;
  std::uint32_t table_crc;
  std::uint8_t reserved[4024];
  std::uint32_t crc;  ///< of all bytes before it
};
static_assert(sizeof(Header) == kPageBytes && offsetof(Header, table_crc) == 64 && offsetof(Header, crc) == 4092);

struct Entry {
  char name[kNameField];
  std::uint8_t type;
  std::uint8_t rank;
  std::uint8_t reserved[2];
  std::uint32_t crc;
  std::uint64_t offset;
  std::uint64_t length;
  std::uint64_t shape[kMaxRank];
  std::uint8_t reserved_end[24];
};
static_assert(sizeof(Entry) == 128 && offsetof(Entry, crc) == 52 && offsetof(Entry, reserved_end) == 104);

/// What header and table say.
struct Layout {
  std::string kind;
  std::uint64_t file_bytes = 0;
  std::vector<SectionInfo> sections;
};

constexpr std::uint64_t page_up(std::uint64_t n) { return (n + kPageBytes - 1) / kPageBytes * kPageBytes; }

/// Places the sections, checksums still 0. Throws ValueError for what the format cannot hold.
Layout plan(std::string_view kind, std::span<const SectionView> sections);

/// Header and table as they stand at the start of the file, in whole pages.
std::vector<std::byte> encode(const Layout&);

/// Receives what is wrong, a sentence each; may throw.
using Fault = std::function<void(const std::string&)>;

/// Reads and checks header, table and the padding behind it. Where `fault` returns, what can still be trusted is
/// looked at further, and the sections that come back lie inside the source. Throws VersionError itself.
Layout decode(const Source&, const Fault& fault);

/// Reads a section in chunks and returns its CRC. `out` ends up with all of it if it is as long as the section;
/// one of kChunkBytes is enough otherwise.
std::uint32_t read_section(const Source&, const SectionInfo&, std::span<std::byte> out);

/// Checks a section whose bytes have the checksum `crc`, and the padding behind it.
void check_section(const Source&, const SectionInfo&, std::uint32_t crc, const Fault& fault);

}  // namespace annlib::storage
