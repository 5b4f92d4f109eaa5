#pragma once

#include <cstring>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "storage/container.h"

namespace annlib::storage {

/// Sections on their way into a file: views of an index's own arrays, and copies of what it has in no array.
class SectionList {
 public:
  void add(std::string name, ElementType type, std::vector<std::uint64_t> shape, std::span<const std::byte> bytes) {
    views_.push_back({std::move(name), type, std::move(shape), bytes});
  }
  void add_copy(std::string name, ElementType type, std::vector<std::uint64_t> shape,
                std::span<const std::byte> bytes) {
    const std::vector<std::byte>& copy = copies_.emplace_back(bytes.begin(), bytes.end());
    add(std::move(name), type, std::move(shape), copy);
  }
  template <class T>
  void add_copy(std::string name, ElementType type, const std::vector<T>& values) {
    std::vector<std::byte>& bytes = copies_.emplace_back(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    add(std::move(name), type, {values.size()}, bytes);
  }
  const std::vector<SectionView>& views() const { return views_; }

 private:
  std::vector<SectionView> views_;
  std::deque<std::vector<std::byte>> copies_;
};

/// A one-dimensional section as a vector of T, which must be of the section's element size.
template <class T>
std::vector<T> read_vector(const Container& file, std::string_view name, ElementType type) {
  const SectionInfo& section = file.require(name, type, 1);
  std::vector<T> values(section.shape[0]);
  file.read(section, std::as_writable_bytes(std::span<T>(values)));
  return values;
}

}  // namespace annlib::storage
