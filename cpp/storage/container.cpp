#include "storage/container.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "simd/simd.h"
#include "storage/layout.h"
#include "storage/source.h"

namespace annlib::storage {
namespace {

const char* type_name(ElementType type) {
  constexpr const char* kNames[] = {"u8", "i8", "u16", "u32", "i64", "u64", "f16", "f32", "f64"};
  return kNames[static_cast<std::size_t>(type)];
}

std::string shown_name(const std::string& path) { return path.empty() ? "index in memory" : path; }

class OpenContainer final : public Container {
 public:
  OpenContainer(std::unique_ptr<Source> source, bool verify)
      : source_(std::move(source)),
        fault_([this](const std::string& what) { throw CorruptError(source_->name() + ": " + what); }),
        layout_(decode(*source_, fault_)),
        verify_(verify),
        verified_(layout_.sections.size()) {}

  const std::string& kind() const override { return layout_.kind; }
  const std::string& path() const override { return source_->path(); }
  std::uint32_t version() const override { return kVersion; }
  bool mapped() const override { return source_->mapped(); }
  std::uint64_t file_bytes() const override { return layout_.file_bytes; }
  const std::vector<SectionInfo>& sections() const override { return layout_.sections; }

  std::span<std::byte> view(const SectionInfo& section) const override {
    const std::size_t index = index_of(section);
    const auto bytes = source_->bytes();
    if (bytes.empty()) throw std::logic_error(source_->name() + ": opened without map, it has no view()");
    const auto out = bytes.subspan(section.offset, section.length);
    if (verify_) {
      // Under a lock, for whoever comes first may write to the section while a second one would still be summing it.
      Verified& verified = verified_[index];
      const std::lock_guard lock(verified.mutex);
      if (!verified.done) {
        check_section(*source_, section, simd::kernels().crc32c(0, out.data(), out.size()), fault_);
        verified.done = true;
      }
    }
    return out;
  }

  void read(const SectionInfo& section, std::span<std::byte> out) const override {
    index_of(section);
    require_length(section, out);
    check_section(*source_, section, read_section(*source_, section, out), fault_);
  }

  Buffer map(const SectionInfo& section, bool check) const override {
    index_of(section);
    Buffer bytes = source_->map(section.offset, section.length);
    if (bytes.size() < section.length) return load(section);
    if (check) check_section(*source_, section, simd::kernels().crc32c(0, bytes.data(), bytes.size()), fault_);
    return bytes;
  }

 private:
  struct Verified {
    std::mutex mutex;
    bool done = false;
  };

  std::unique_ptr<Source> source_;
  Fault fault_;
  Layout layout_;
  bool verify_;
  mutable std::vector<Verified> verified_;
};

}  // namespace

std::shared_ptr<const Container> Container::open(const std::string& path, bool map, bool verify) {
  return std::make_shared<const OpenContainer>(open_file(path, map), verify);
}

std::shared_ptr<const Container> Container::from_bytes(std::vector<std::byte> bytes) {
  return std::make_shared<const OpenContainer>(open_bytes(bytes), true);
}

Buffer Container::load(const SectionInfo& section) const {
  Buffer bytes;
  bytes.reserve(section.length);
  bytes.resize(section.length);
  read(section, {bytes.data(), bytes.size()});
  return bytes;
}

const SectionInfo* Container::find(std::string_view name) const {
  const auto& all = sections();
  const auto at = std::find_if(all.begin(), all.end(), [&](const SectionInfo& s) { return s.name == name; });
  return at == all.end() ? nullptr : &*at;
}

std::size_t Container::index_of(const SectionInfo& section) const {
  const SectionInfo* own = find(section.name);
  if (own == nullptr || own->offset != section.offset || own->length != section.length) {
    throw std::logic_error("section '" + section.name + "' is not one of " + shown_name(path()));
  }
  return static_cast<std::size_t>(own - sections().data());
}

void Container::require_length(const SectionInfo& section, std::span<const std::byte> out) {
  if (out.size() != section.length) {
    throw std::logic_error("section '" + section.name + "' has " + std::to_string(section.length) +
                           " bytes, the place to read it to " + std::to_string(out.size()));
  }
}

const SectionInfo& Container::require(std::string_view name, ElementType type, std::size_t rank) const {
  const std::string prefix = shown_name(path()) + ": section '" + std::string(name) + "' ";
  const SectionInfo* section = find(name);
  if (section == nullptr) throw CorruptError(prefix + "is missing");
  if (section->type != type) {
    throw CorruptError(prefix + "has type " + type_name(section->type) + ", expected " + type_name(type));
  }
  if (section->shape.size() != rank) {
    throw CorruptError(prefix + "has rank " + std::to_string(section->shape.size()) + ", expected " +
                       std::to_string(rank));
  }
  return *section;
}

std::vector<std::string> verify_container(const std::string& path) {
  std::vector<std::string> problems;
  const Fault note = [&](const std::string& what) { problems.push_back(what); };
  try {
    const auto source = open_file(path, false);
    const Layout layout = decode(*source, note);
    std::vector<std::byte> chunk(std::min<std::uint64_t>(kChunkBytes, source->size()));
    for (const SectionInfo& section : layout.sections) {
      check_section(*source, section, read_section(*source, section, chunk), note);
    }
  } catch (const CorruptError& error) {
    note(error.what());
  } catch (const VersionError& error) {
    note(error.what());
  }
  return problems;
}

}  // namespace annlib::storage
