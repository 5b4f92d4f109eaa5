#include <algorithm>
#include <cstring>

#include "simd/simd.h"
#include "storage/container.h"
#include "storage/file.h"
#include "storage/layout.h"

namespace annlib::storage {
namespace {

using Progress = std::function<void(std::uint64_t, std::uint64_t)>;

/// Hands every byte of the container but the padding to write(offset, bytes). Header and table come last, with the
/// checksums found on the way: until then what is there cannot be taken for a container.
template <class Write>
void emit(Layout layout, std::span<const SectionView> sections, const Progress& progress, Write write) {
  const auto report = [&](std::uint64_t done) {
    if (progress) progress(done, layout.file_bytes);
  };
  const auto crc32c = simd::kernels().crc32c;
  report(0);
  for (std::size_t i = 0; i < sections.size(); ++i) {
    SectionInfo& info = layout.sections[i];
    for (std::uint64_t done = 0; done < info.length; done += kChunkBytes) {
      const auto chunk = sections[i].bytes.subspan(done, std::min<std::uint64_t>(kChunkBytes, info.length - done));
      info.crc = crc32c(info.crc, chunk.data(), chunk.size());
      write(info.offset + done, chunk);
      report(info.offset + done + chunk.size());
    }
  }
  write(0, encode(layout));
  report(layout.file_bytes);
}

}  // namespace

void write_container(const std::string& path, std::string_view kind, std::span<const SectionView> sections,
                     const Progress& progress) {
  const Layout layout = plan(kind, sections);
  Replacement replacement(path);
  File& file = replacement.file();
  file.resize(layout.file_bytes);  // the padding reads as zeros without being written
  emit(layout, sections, progress,
       [&](std::uint64_t offset, std::span<const std::byte> bytes) { file.write_at(offset, bytes); });
  replacement.publish();
}

std::vector<std::byte> container_bytes(std::string_view kind, std::span<const SectionView> sections) {
  const Layout layout = plan(kind, sections);
  std::vector<std::byte> out(layout.file_bytes);
  emit(layout, sections, {}, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
    std::memcpy(out.data() + offset, bytes.data(), bytes.size());
  });
  return out;
}

}  // namespace annlib::storage
