#include "disk/files.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "simd/simd.h"

namespace annlib::disk {
namespace {

constexpr std::uint8_t kMagic[8] = {0x89, 'A', 'N', 'N', 'D', '\r', 0x1A, '\n'};
constexpr std::uint32_t kByteOrder = 0x01020304, kVersion = 1;

struct Page {
  std::uint8_t magic[8];
  std::uint32_t byte_order;
  std::uint32_t version;
  char kind[16];
  std::uint64_t identity;
  std::uint8_t reserved[kHeaderBytes - 44];
  std::uint32_t crc;  ///< of all bytes before it
};
static_assert(sizeof(Page) == kHeaderBytes);

Page page_of(const FileHeader& header) {
  Page page{};
  std::memcpy(page.magic, kMagic, sizeof(kMagic));
  page.byte_order = kByteOrder;
  page.version = kVersion;
  std::copy(header.kind.begin(), header.kind.end(), page.kind);
  page.identity = header.identity;
  page.crc = checksum(std::as_bytes(std::span(&page, 1)).first(offsetof(Page, crc)));
  return page;
}

}  // namespace

std::string numbered(std::string_view prefix, std::uint64_t number) {
  return std::string(prefix) + std::to_string(number);
}

std::uint64_t number_of(std::string_view name, std::string_view prefix) {
  name.remove_prefix(prefix.size());
  if (name.empty() || name.size() > 19 ||
      !std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return kNoNumber;
  }
  return std::stoull(std::string(name));
}

std::uint32_t checksum(std::span<const std::byte> bytes) {
  return simd::kernels().crc32c(0, bytes.data(), bytes.size());
}

void write_header(storage::File& file, const FileHeader& header) {
  const Page page = page_of(header);
  file.write_at(0, std::as_bytes(std::span(&page, 1)));
}

void check_header(const storage::File& file, const FileHeader& header) {
  Page page{};
  const auto bytes = std::as_writable_bytes(std::span(&page, 1));
  if (file.read_at(0, bytes) != bytes.size() || std::memcmp(page.magic, kMagic, sizeof(kMagic)) != 0 ||
      page.crc != checksum(bytes.first(offsetof(Page, crc)))) {
    throw CorruptError(file.name() + ": not a file of an index, or a damaged one");
  }
  if (page.version > kVersion) {
    throw VersionError(file.name() + ": format version " + std::to_string(page.version) + ", this build reads up to " +
                       std::to_string(kVersion));
  }
  const Page wanted = page_of(header);
  if (page.byte_order != kByteOrder || std::memcmp(page.kind, wanted.kind, sizeof(page.kind)) != 0 ||
      page.identity != header.identity) {
    throw CorruptError(file.name() + ": belongs to another index");
  }
}

}  // namespace annlib::disk
