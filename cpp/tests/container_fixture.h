#pragma once

#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "simd/simd.h"
#include "storage/container.h"

/// What the tests of the container share. The format's numbers are written out here, apart from storage/layout.h.
namespace annlib::storage::testing {

using Bytes = std::vector<std::byte>;

/// A directory of its own, gone with this object.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "annlib-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
    path_ = pattern;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() { std::filesystem::remove_all(path_); }

  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) out.push_back(entry.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  std::filesystem::path path_;
};

inline Bytes read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

inline void write_file(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// Sections that own their bytes.
class Sections {
 public:
  void add(const std::string& name, ElementType type, std::vector<std::uint64_t> shape) {
    std::size_t n = element_size(type);
    for (const auto extent : shape) n *= extent;
    auto bytes = std::make_unique<Bytes>(n);
    for (auto& byte : *bytes) byte = static_cast<std::byte>((state_ = state_ * 1664525 + 1013904223) >> 24);
    views_.push_back({name, type, std::move(shape), *bytes});
    bytes_.push_back(std::move(bytes));
  }
  const std::vector<SectionView>& views() const { return views_; }

 private:
  std::uint32_t state_ = 1;
  std::vector<std::unique_ptr<Bytes>> bytes_;
  std::vector<SectionView> views_;
};

/// Every element type and rank, empty sections among them.
inline Sections varied() {
  Sections out;
  for (int type = 0; type <= static_cast<int>(ElementType::f64); ++type) {
    std::vector<std::uint64_t> shape;
    for (std::uint64_t rank = 1; rank <= 4; ++rank) {
      shape.push_back(2 + rank);
      const std::string name = "t" + std::to_string(type) + ".r" + std::to_string(rank);
      out.add(name, static_cast<ElementType>(type), shape);
      shape.back() = 0;
      out.add(name + "-empty", static_cast<ElementType>(type), shape);
      shape.back() = 2 + rank;
    }
  }
  return out;
}

/// Four pages: header, table, and one page each for two of its three sections.
inline Sections small() {
  Sections out;
  out.add("vectors", ElementType::f32, {3, 5});
  out.add("nothing", ElementType::u32, {0, 4});
  out.add("ids", ElementType::i64, {3});
  return out;
}

enum class Mode { mapped, unmapped, memory };
inline constexpr Mode kModes[] = {Mode::mapped, Mode::unmapped, Mode::memory};

inline std::shared_ptr<const Container> open_as(Mode mode, const std::string& path, const Bytes& bytes) {
  return mode == Mode::memory ? Container::from_bytes(bytes) : Container::open(path, mode == Mode::mapped);
}

/// All contents in order, by view() where there is one.
inline Bytes contents(const Container& container, bool by_view) {
  Bytes out;
  for (const SectionInfo& section : container.sections()) {
    Bytes copy(section.length);
    if (by_view) {
      const auto view = container.view(section);
      if (!view.empty()) std::memcpy(copy.data(), view.data(), view.size());
    } else {
      container.read(section, copy);
    }
    out.insert(out.end(), copy.begin(), copy.end());
  }
  return out;
}

template <class T>
T get(const Bytes& bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <class T>
void put(Bytes& bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

/// Makes every checksum right again that can be found.
inline void reseal(Bytes& bytes) {
  if (bytes.size() < 4096) return;
  const auto crc32c = simd::kernels().crc32c;
  const std::size_t count = std::min<std::size_t>(get<std::uint32_t>(bytes, 36), (bytes.size() - 4096) / 128);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = 4096 + i * 128;
    const auto offset = get<std::uint64_t>(bytes, entry + 56), length = get<std::uint64_t>(bytes, entry + 64);
    if (offset > bytes.size() || length > bytes.size() - offset) continue;
    put(bytes, entry + 52, crc32c(0, bytes.data() + offset, length));
  }
  put(bytes, 64, crc32c(0, bytes.data() + 4096, count * 128));
  put(bytes, 4092, crc32c(0, bytes.data(), 4092));
}

/// The message of the Error that the call throws, or what happened instead.
template <class Error, class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "no exception";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace annlib::storage::testing
