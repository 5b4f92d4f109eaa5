#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/buffer.h"

/// The container file: named arrays behind a checked table. See docs/file-format.md.
namespace annlib::storage {

/// Element type of a section. Numbers are part of the file format.
enum class ElementType : std::uint8_t { u8 = 0, i8 = 1, u16 = 2, u32 = 3, i64 = 4, u64 = 5, f16 = 6, f32 = 7, f64 = 8 };

std::size_t element_size(ElementType);

/// An array to be written; the bytes stay the caller's.
struct SectionView {
  std::string name;  ///< 1 to 47 bytes of [a-z0-9._-]
  ElementType type = ElementType::u8;
  std::vector<std::uint64_t> shape;  ///< 1 to 4 extents
  std::span<const std::byte> bytes;  ///< C order, little endian
};

/// Writes a whole container beside `path`, makes it durable and renames it over `path`: after any failure the old
/// file is as it was and no temporary is left. One failure comes too late for that, of the directory's sync after the
/// rename: the new file is in place then, whole, and the OsError says so. A symbolic link at `path` stays, the file
/// behind it is replaced; an existing file's permission bits are kept. `kind` says which index it holds ("hnsw",
/// "flat"), 1 to 15 bytes. `progress(bytes_done, bytes_total)` may be empty. Throws OsError, ValueError.
void write_container(const std::string& path, std::string_view kind, std::span<const SectionView> sections,
                     const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

/// The same bytes in memory.
std::vector<std::byte> container_bytes(std::string_view kind, std::span<const SectionView> sections);

/// What the table says of a section.
struct SectionInfo {
  std::string name;
  ElementType type = ElementType::u8;
  std::vector<std::uint64_t> shape;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint32_t crc = 0;
};

/// A container opened for reading. Header and table are checked when it opens; a section's checksum is checked by
/// read(), and by view() unless `verify` was false. Immutable, so any thread may use it.
/// All failures of content are CorruptError (VersionError for a newer format) and name the file and the section.
class Container {
 public:
  /// map = true serves view() from a private copy-on-write mapping of the file, shared in the page cache.
  static std::shared_ptr<const Container> open(const std::string& path, bool map, bool verify = true);
  static std::shared_ptr<const Container> from_bytes(std::vector<std::byte> bytes);

  virtual ~Container() = default;
  virtual const std::string& kind() const = 0;
  virtual const std::string& path() const = 0;  ///< "" for bytes in memory
  virtual std::uint32_t version() const = 0;
  virtual bool mapped() const = 0;
  virtual std::uint64_t file_bytes() const = 0;
  virtual const std::vector<SectionInfo>& sections() const = 0;

  /// The section's bytes, aligned to 4096 in a mapped file and to 64 at least elsewhere; valid while the container
  /// lives. Mapped or in-memory containers only. Writes through the mapping never reach the file.
  virtual std::span<std::byte> view(const SectionInfo&) const = 0;
  /// Copies the section to `out` (exactly section.length bytes) and checks it. Of a mapped file it reads the file, not
  /// the mapping; of bytes in memory what is there, so a section written through view() is not sound any more.
  virtual void read(const SectionInfo&, std::span<std::byte> out) const = 0;
  /// As read(), in a buffer of its own.
  Buffer load(const SectionInfo&) const;
  /// As load(), where that can be by Buffer::map(), whether or not the container is mapped. Without `check` a
  /// mapping is not looked at.
  virtual Buffer map(const SectionInfo& section, bool /*check*/) const { return load(section); }

  /// nullptr if absent.
  const SectionInfo* find(std::string_view name) const;
  /// As find(), but absent, of another type, or of another rank is a CorruptError that says so.
  const SectionInfo& require(std::string_view name, ElementType type, std::size_t rank) const;

 protected:
  /// Which of sections() it is; a std::logic_error for one of another container.
  std::size_t index_of(const SectionInfo&) const;
  static void require_length(const SectionInfo&, std::span<const std::byte> out);
};

/// One line for each thing that is wrong with the file (empty: sound). Reads all of it. Throws OsError only.
std::vector<std::string> verify_container(const std::string& path);

}  // namespace annlib::storage
