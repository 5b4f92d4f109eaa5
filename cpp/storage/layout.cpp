#include "storage/layout.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "core/error.h"
#include "simd/simd.h"

namespace annlib::storage {
namespace {

bool zero_until_page_end(const Source& source, std::uint64_t offset) {
  std::vector<std::uint8_t> padding(page_up(offset) - offset);
  source.read(offset, std::as_writable_bytes(std::span(padding)));
  return all_zero(padding);
}

std::uint32_t crc_of(const void* data, std::size_t n) { return simd::kernels().crc32c(0, data, n); }

/// Why the first page is no header of ours, or "".
std::string strangeness(const Source& source, const Header& header) {
  if (source.size() == 0) return "not an annlib index: it is empty";
  if (!std::equal(std::begin(kMagic), std::end(kMagic), header.magic)) {
    const bool line_ends = std::equal(kMagic, kMagic + 4, header.magic);
    return line_ends ? "not an annlib index: its line ends were changed, as a transfer in text mode does"
                     : "not an annlib index";
  }
  if (header.byte_order == __builtin_bswap32(kByteOrder)) return "it is big endian, expected little endian";
  if (source.size() < kPageBytes) return "truncated: it ends inside the header";
  return "";
}

/// Reads the header. False where nothing behind it can be trusted.
bool read_header(const Source& source, Header& header, const Fault& fault) {
  header = {};
  const auto bytes = std::as_writable_bytes(std::span(&header, 1));
  source.read(0, bytes.first(std::min<std::uint64_t>(source.size(), kPageBytes)));
  if (const std::string strange = strangeness(source, header); !strange.empty()) {
    fault(strange);
    return false;
  }
  const bool sound = header.crc == crc_of(&header, offsetof(Header, crc));
  if (!sound) fault("the header's checksum is wrong");
  // A damaged version number must not send anybody looking for a newer release, so the checksum comes first.
  if (sound && header.version > kVersion) {
    throw VersionError(source.name() + ": format version " + std::to_string(header.version) +
                       " is newer than this build reads (" + std::to_string(kVersion) + ")");
  }
  if (header.version != kVersion) {
    fault("there is no format version " + std::to_string(header.version));
    return false;
  }
  if (!all_zero(header.reserved)) fault("reserved bytes of the header are not zero");
  if (header.file_bytes != source.size()) {
    fault("the file has " + std::to_string(source.size()) + " bytes, its header says " +
          std::to_string(header.file_bytes));
  }
  if (header.page_bytes != kPageBytes || header.section_count > kMaxSections || header.table_offset != kPageBytes ||
      header.table_length != header.section_count * sizeof(Entry)) {
    fault("the header's page size, table position or number of sections is impossible");
    return false;
  }
  if (page_up(header.table_length) > source.size() - kPageBytes) {
    fault("the section table reaches beyond the end of the file");
    return false;
  }
  return true;
}

/// What is wrong with one entry that should describe the section at `offset`, or "".
std::string entry_fault(const Entry& entry, std::uint64_t offset, std::uint64_t file_bytes) {
  if (entry.type > static_cast<std::uint8_t>(ElementType::f64)) return "element type " + std::to_string(entry.type);
  if (entry.rank < 1 || entry.rank > kMaxRank) return "rank " + std::to_string(entry.rank);
  if (!all_zero(entry.reserved) || !all_zero(entry.reserved_end)) return "reserved bytes are not zero";
  const std::span<const std::uint64_t> shape(entry.shape);
  for (const std::uint64_t extent : shape.subspan(entry.rank)) {
    if (extent != 0) return "an extent beyond its rank";
  }
  const auto length = array_bytes(static_cast<ElementType>(entry.type), shape.first(entry.rank));
  if (length != entry.length) return "length " + std::to_string(entry.length) + " does not fit its shape";
  if (entry.offset != offset) {
    return "begins at " + std::to_string(entry.offset) + ", its place is " + std::to_string(offset);
  }
  if (page_up(entry.length) > file_bytes - offset) return "reaches beyond the end of the file";
  return "";
}

}  // namespace

Layout plan(std::string_view kind, std::span<const SectionView> sections) {
  check_sections(kind, sections);
  Layout layout{std::string(kind), kPageBytes + page_up(sections.size() * sizeof(Entry)), {}};
  for (const SectionView& section : sections) {
    layout.sections.push_back({section.name, section.type, section.shape, layout.file_bytes, section.bytes.size(), 0});
    layout.file_bytes += page_up(section.bytes.size());
  }
  return layout;
}

std::vector<std::byte> encode(const Layout& layout) {
  std::vector<Entry> table;
  for (const SectionInfo& section : layout.sections) {
    Entry& entry = table.emplace_back();
    section.name.copy(entry.name, sizeof(entry.name));
    entry.type = static_cast<std::uint8_t>(section.type);
    entry.rank = static_cast<std::uint8_t>(section.shape.size());
    entry.crc = section.crc;
    entry.offset = section.offset;
    entry.length = section.length;
    std::copy(section.shape.begin(), section.shape.end(), entry.shape);
  }
  Header header{};
  std::copy(std::begin(kMagic), std::end(kMagic), header.magic);
  header.byte_order = kByteOrder;
  header.version = kVersion;
  layout.kind.copy(header.kind, sizeof(header.kind));
  header.page_bytes = kPageBytes;
  header.section_count = static_cast<std::uint32_t>(table.size());
  header.table_offset = kPageBytes;
  header.table_length = table.size() * sizeof(Entry);
  header.file_bytes = layout.file_bytes;
  header.table_crc = crc_of(table.data(), header.table_length);
  header.crc = crc_of(&header, offsetof(Header, crc));

  std::vector<std::byte> pages(kPageBytes + page_up(header.table_length));
  std::memcpy(pages.data(), &header, sizeof(header));
  if (!table.empty()) std::memcpy(pages.data() + kPageBytes, table.data(), header.table_length);
  return pages;
}

Layout decode(const Source& source, const Fault& fault) {
  Layout layout;
  Header header;
  if (!read_header(source, header, fault)) return layout;
  layout.file_bytes = header.file_bytes;
  if (const auto kind = label_of(header.kind)) {
    layout.kind = *kind;
  } else {
    fault("the kind in the header is not " + label_rule(kKindField));
  }

  std::vector<Entry> table(header.section_count);
  source.read(header.table_offset, std::as_writable_bytes(std::span(table)));
  if (header.table_crc != crc_of(table.data(), header.table_length)) fault("the section table's checksum is wrong");
  std::uint64_t end = header.table_offset + header.table_length;
  if (!zero_until_page_end(source, end)) fault("the padding behind the section table is not zero");

  end = page_up(end);
  for (const Entry& entry : table) {
    const auto name = label_of(entry.name);
    const std::string wrong =
        name ? entry_fault(entry, end, source.size()) : "the name is not " + label_rule(kNameField);
    if (!wrong.empty()) {
      // Where this section ends is unknown, and with it where the others belong.
      fault("section " + (name ? "'" + *name + "'" : std::to_string(layout.sections.size())) + ": " + wrong);
      return layout;
    }
    layout.sections.push_back({*name,
                               static_cast<ElementType>(entry.type),
                               {entry.shape, entry.shape + entry.rank},
                               entry.offset,
                               entry.length,
                               entry.crc});
    end += page_up(entry.length);
  }
  if (end != source.size()) fault("the last section ends at " + std::to_string(end) + ", the file does not");
  std::unordered_set<std::string_view> names;
  for (const SectionInfo& section : layout.sections) {
    if (!names.insert(section.name).second) fault("section '" + section.name + "': the name is there twice");
  }
  return layout;
}

std::uint32_t read_section(const Source& source, const SectionInfo& section, std::span<std::byte> out) {
  const auto crc32c = simd::kernels().crc32c;
  std::uint32_t crc = 0;
  for (std::uint64_t done = 0; done < section.length; done += kChunkBytes) {
    const std::size_t n = std::min<std::uint64_t>(kChunkBytes, section.length - done);
    const auto chunk = out.subspan(out.size() == section.length ? done : 0, n);
    source.read(section.offset + done, chunk);
    crc = crc32c(crc, chunk.data(), n);
  }
  return crc;
}

void check_section(const Source& source, const SectionInfo& section, std::uint32_t crc, const Fault& fault) {
  if (crc != section.crc) fault("section '" + section.name + "': its checksum is wrong");
  if (!zero_until_page_end(source, section.offset + section.length)) {
    fault("section '" + section.name + "': the padding behind it is not zero");
  }
}

}  // namespace annlib::storage
