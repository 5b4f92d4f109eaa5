#include "storage/record.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "core/buffer.h"
#include "core/error.h"
#include "simd/simd.h"
#include "storage/layout.h"

namespace annlib::storage {
namespace {

std::uint32_t crc_of(const void* data, std::size_t n) { return simd::kernels().crc32c(0, data, n); }

/// A record in memory, each section in a buffer of its own. Its checksums were right when it was read.
class Record final : public Container {
 public:
  Record(std::string kind, std::string path, std::uint64_t bytes, std::vector<SectionInfo> sections,
         std::vector<Buffer> contents)
      : kind_(std::move(kind)),
        path_(std::move(path)),
        bytes_(bytes),
        sections_(std::move(sections)),
        contents_(std::move(contents)) {}

  const std::string& kind() const override { return kind_; }
  const std::string& path() const override { return path_; }
  std::uint32_t version() const override { return kLogVersion; }
  bool mapped() const override { return false; }
  std::uint64_t file_bytes() const override { return bytes_; }
  const std::vector<SectionInfo>& sections() const override { return sections_; }

  std::span<std::byte> view(const SectionInfo& section) const override {
    Buffer& content = contents_[index_of(section)];
    return {content.data(), content.size()};
  }

  void read(const SectionInfo& section, std::span<std::byte> out) const override {
    require_length(section, out);
    const auto bytes = view(section);
    std::copy(bytes.begin(), bytes.end(), out.begin());
  }

 private:
  std::string kind_;
  std::string path_;
  std::uint64_t bytes_;
  std::vector<SectionInfo> sections_;
  mutable std::vector<Buffer> contents_;
};

[[noreturn]] void fault(const LogFile& log, std::uint64_t offset, const std::string& what) {
  throw CorruptError(log.file.name() + ": record at byte " + std::to_string(offset) + ": " + what);
}

bool read_whole(const LogFile& log, std::uint64_t offset, std::span<std::byte> out) {
  return log.file.read_at(offset, out) == out.size();
}

/// Stands there as it was written at this place of this log.
bool sound(const RecordHeader& header, const LogFile& log, std::uint64_t offset) {
  return header.magic == kRecordMagic && header.crc == crc_of(&header, offsetof(RecordHeader, crc)) &&
         header.identity == log.identity && header.offset == offset;
}

/// Takes what a record is made of from its table, one after the other.
class TableReader {
 public:
  explicit TableReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  bool take(void* out, std::size_t n) {
    if (n > rest_.size()) return false;
    if (n > 0) std::memcpy(out, rest_.data(), n);
    rest_ = rest_.subspan(n);
    return true;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
};

/// The next section of the table, but for its offset. `what` is its number, for messages; `wrong` throws.
SectionInfo decode_entry(TableReader& table, const std::string& what, const Fault& wrong) {
  RecordEntry entry;
  if (!table.take(&entry, sizeof(entry))) wrong("the table ends before " + what);
  if (entry.type > static_cast<std::uint8_t>(ElementType::f64)) {
    wrong(what + ": element type " + std::to_string(entry.type));
  }
  if (entry.rank < 1 || entry.rank > kMaxRank) wrong(what + ": rank " + std::to_string(entry.rank));
  if (entry.reserved != 0) wrong(what + ": the reserved byte is not zero");
  if (entry.name_length >= kNameField) wrong(what + ": the name has " + std::to_string(entry.name_length) + " bytes");
  SectionInfo section;
  section.type = static_cast<ElementType>(entry.type);
  section.crc = entry.crc;
  section.shape.resize(entry.rank);
  char name[kNameField] = {};
  if (!table.take(section.shape.data(), entry.rank * sizeof(std::uint64_t)) ||
      !table.take(name, record_padded(entry.name_length))) {
    wrong("the table ends inside " + what);
  }
  const auto label = label_of(name);
  if (!label || label->size() != entry.name_length) wrong(what + ": the name is not " + label_rule(kNameField));
  section.name = *label;
  const auto length = array_bytes(section.type, section.shape);
  if (!length) wrong(what + ": its shape is larger than a file can be");
  section.length = *length;
  return section;
}

/// The sections of a record whose table they are. Where they come back, they fill the record to its end.
std::vector<SectionInfo> decode_table(std::span<const std::byte> bytes, const RecordHeader& header,
                                      const LogFile& log) {
  const Fault wrong = [&](const std::string& what) { fault(log, header.offset, what); };
  TableReader table(bytes);
  std::vector<SectionInfo> sections;
  std::unordered_set<std::string> names;
  std::uint64_t at = header.offset + sizeof(header) + bytes.size();
  const std::uint64_t end = header.offset + header.length;
  for (std::uint32_t i = 0; i < header.section_count; ++i) {
    SectionInfo section = decode_entry(table, "section " + std::to_string(i), wrong);
    if (!names.insert(section.name).second) wrong("section '" + section.name + "': the name is there twice");
    if (section.length > end - at) wrong("section '" + section.name + "': reaches beyond the record's end");
    section.offset = at;
    at += record_padded(section.length);
    sections.push_back(std::move(section));
  }
  if (!table.at_end()) wrong("the table is longer than its sections");
  if (at != end) wrong("the last section ends at " + std::to_string(at) + ", the record does not");
  return sections;
}

}  // namespace

LogHeader log_header(std::uint64_t identity) {
  LogHeader header{};
  std::copy(std::begin(kLogMagic), std::end(kLogMagic), header.magic);
  header.byte_order = kByteOrder;
  header.version = kLogVersion;
  header.identity = identity;
  header.crc = crc_of(&header, offsetof(LogHeader, crc));
  return header;
}

void check_log_header(const LogFile& log) {
  const std::string prefix = log.file.name() + ": ";
  LogHeader header;
  if (!read_whole(log, 0, std::as_writable_bytes(std::span(&header, 1))) ||
      !std::equal(std::begin(kLogMagic), std::end(kLogMagic), header.magic)) {
    throw CorruptError(prefix + "not a log of annlib");
  }
  // As for an index, the checksum comes before the version.
  if (header.crc != crc_of(&header, offsetof(LogHeader, crc))) {
    throw CorruptError(prefix + "the header's checksum is wrong");
  }
  if (header.version > kLogVersion) {
    throw VersionError(prefix + "log version " + std::to_string(header.version) + " is newer than this build reads (" +
                       std::to_string(kLogVersion) + ")");
  }
  if (header.version != kLogVersion || header.byte_order != kByteOrder || header.reserved != 0) {
    throw CorruptError(prefix + "the header's version, byte order or reserved bytes are impossible");
  }
  if (header.identity != log.identity) throw CorruptError(prefix + "the log belongs to another index");
}

RecordHead record_head(std::string_view kind, std::span<const SectionView> sections, std::uint64_t identity,
                       std::uint64_t offset) {
  check_sections(kind, sections);
  RecordHead head{std::vector<std::byte>(sizeof(RecordHeader)), 0};
  const auto put = [&](const void* data, std::size_t n) {
    const auto* first = static_cast<const std::byte*>(data);
    head.bytes.insert(head.bytes.end(), first, first + n);
    head.bytes.resize(record_padded(head.bytes.size()));
  };
  for (const SectionView& section : sections) {
    const RecordEntry entry{crc_of(section.bytes.data(), section.bytes.size()), static_cast<std::uint8_t>(section.type),
                            static_cast<std::uint8_t>(section.shape.size()),
                            static_cast<std::uint8_t>(section.name.size()), 0};
    put(&entry, sizeof(entry));
    put(section.shape.data(), section.shape.size() * sizeof(std::uint64_t));
    put(section.name.data(), section.name.size());
    head.length += record_padded(section.bytes.size());
  }
  head.length += head.bytes.size();

  RecordHeader header{};
  header.magic = kRecordMagic;
  header.section_count = static_cast<std::uint32_t>(sections.size());
  kind.copy(header.kind, sizeof(header.kind));
  header.identity = identity;
  header.offset = offset;
  header.length = head.length;
  header.table_length = static_cast<std::uint32_t>(head.bytes.size() - sizeof(header));
  header.table_crc = crc_of(head.bytes.data() + sizeof(header), header.table_length);
  header.crc = crc_of(&header, offsetof(RecordHeader, crc));
  std::memcpy(head.bytes.data(), &header, sizeof(header));
  return head;
}

std::shared_ptr<const Container> read_record(const LogFile& log, std::uint64_t offset) {
  RecordHeader header;
  if (!read_whole(log, offset, std::as_writable_bytes(std::span(&header, 1))) || !sound(header, log, offset) ||
      header.length > log.size - offset) {
    return nullptr;
  }
  const auto kind = label_of(header.kind);
  if (!kind) fault(log, offset, "the kind is not " + label_rule(kKindField));
  if (header.section_count > kMaxSections || header.reserved != 0 || header.length % kRecordAlignment != 0 ||
      header.table_length % kRecordAlignment != 0 || header.length < sizeof(header) ||
      header.table_length > header.length - sizeof(header)) {
    fault(log, offset, "its lengths, number of sections or reserved bytes are impossible");
  }
  std::vector<std::byte> table(header.table_length);
  if (!read_whole(log, offset + sizeof(header), table) || crc_of(table.data(), table.size()) != header.table_crc) {
    return nullptr;
  }
  auto sections = decode_table(table, header, log);
  std::vector<Buffer> contents;
  for (const SectionInfo& section : sections) {
    Buffer& content = contents.emplace_back();
    content.reserve(record_padded(section.length));
    content.resize(record_padded(section.length));
    const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
    if (!read_whole(log, section.offset, {content.data(), content.size()}) ||
        crc_of(content.data(), section.length) != section.crc ||
        !std::all_of(content.data() + section.length, content.data() + content.size(), is_zero)) {
      return nullptr;
    }
    content.resize(section.length);
  }
  return std::make_shared<const Record>(*kind, log.file.name(), header.length, std::move(sections),
                                        std::move(contents));
}

bool header_behind(const LogFile& log, std::uint64_t offset) {
  // Chunks overlap by what a header may stick out of them.
  constexpr std::uint64_t kOverlap = sizeof(RecordHeader) - kRecordAlignment;
  std::vector<std::byte> chunk(std::min(kChunkBytes + kOverlap, log.size - offset));
  for (std::uint64_t base = offset + kRecordAlignment; base < log.size; base += kChunkBytes) {
    const std::uint64_t n = log.file.read_at(base, std::span(chunk).first(std::min(chunk.size(), log.size - base)));
    for (std::uint64_t i = 0; i + sizeof(RecordHeader) <= n; i += kRecordAlignment) {
      RecordHeader header;
      std::memcpy(&header, chunk.data() + i, sizeof(header));
      if (sound(header, log, base + i)) return true;
    }
  }
  return false;
}

}  // namespace annlib::storage
