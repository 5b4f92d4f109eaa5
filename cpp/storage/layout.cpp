#include "storage/layout.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "core/error.h"
#include "simd/simd.h"

namespace annlib::storage {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::numeric_limits<std::int64_t>::max();

bool valid_label(std::string_view label, std::size_t field) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !label.empty() && label.size() < field && std::all_of(label.begin(), label.end(), allowed);
}

std::string label_rule(std::size_t field) { return "1 to " + std::to_string(field - 1) + " of a-z 0-9 . _ -"; }

/// A label that may hold anything, as a message can show it.
std::string quoted(std::string_view label) {
  std::string out(label);
  std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return "'" + out + "'";
}

/// The text of a field padded with NULs, or nothing where that is not what it holds.
template <std::size_t N>
std::optional<std::string> label_of(const char (&field)[N]) {
  const char* end = std::find(field, field + N, '\0');
  std::string label(field, end);
  if (!valid_label(label, N) || std::any_of(end, field + N, [](char c) { return c != '\0'; })) return std::nullopt;
  return label;
}

bool all_zero(std::span<const std::uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; });
}

bool zero_until_page_end(const Source& source, std::uint64_t offset) {
  std::vector<std::uint8_t> padding(page_up(offset) - offset);
  source.read(offset, std::as_writable_bytes(std::span(padding)));
  return all_zero(padding);
}

/// Bytes of an array. Empty extents count as one in the test for overflow, so that no product of extents overflows.
std::optional<std::uint64_t> array_bytes(ElementType type, std::span<const std::uint64_t> shape) {
  std::uint64_t product = element_size(type);
  bool empty = false;
  for (const std::uint64_t extent : shape) {
    empty |= extent == 0;
    if (__builtin_mul_overflow(product, std::max<std::uint64_t>(extent, 1), &product)) return std::nullopt;
  }
  if (product > kMaxFileBytes) return std::nullopt;
  return empty ? 0 : product;
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

std::size_t element_size(ElementType type) {
  switch (type) {
    case ElementType::u8:
    case ElementType::i8:
      return 1;
    case ElementType::u16:
    case ElementType::f16:
      return 2;
    case ElementType::u32:
    case ElementType::f32:
      return 4;
    case ElementType::i64:
    case ElementType::u64:
    case ElementType::f64:
      return 8;
  }
  throw ValueError("there is no element type " + std::to_string(static_cast<int>(type)));
}

Layout plan(std::string_view kind, std::span<const SectionView> sections) {
  if (!valid_label(kind, sizeof(Header::kind))) {
    throw ValueError("kind " + quoted(kind) + " is not " + label_rule(sizeof(Header::kind)));
  }
  if (sections.size() > kMaxSections) {
    throw ValueError(std::to_string(sections.size()) + " sections, at most " + std::to_string(kMaxSections) +
                     " fit into a container");
  }
  Layout layout{std::string(kind), kPageBytes + page_up(sections.size() * sizeof(Entry)), {}};
  std::unordered_set<std::string_view> names;
  for (const SectionView& section : sections) {
    const std::string prefix = "section " + quoted(section.name) + ": ";
    if (!valid_label(section.name, sizeof(Entry::name))) {
      throw ValueError(prefix + "the name is not " + label_rule(sizeof(Entry::name)));
    }
    if (!names.insert(section.name).second) throw ValueError(prefix + "the name is there twice");
    if (section.shape.empty() || section.shape.size() > kMaxRank) {
      throw ValueError(prefix + "has rank " + std::to_string(section.shape.size()) + ", expected 1 to 4");
    }
    const auto length = array_bytes(section.type, section.shape);
    if (length != section.bytes.size()) {
      throw ValueError(prefix + "has " + std::to_string(section.bytes.size()) + " bytes, its shape needs " +
                       (length ? std::to_string(*length) : "more than a file can hold"));
    }
    layout.sections.push_back({section.name, section.type, section.shape, layout.file_bytes, *length, 0});
    layout.file_bytes += page_up(*length);
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
    fault("the kind in the header is not " + label_rule(sizeof(header.kind)));
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
        name ? entry_fault(entry, end, source.size()) : "the name is not " + label_rule(sizeof(entry.name));
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
