#pragma once

#include <cstddef>
#include <span>
#include <utility>

namespace annlib::io {

/// Memory for blocks, aligned to kAlignment and a multiple of it long, so that direct reads can fill it. It comes from
/// a pool of the process, which keeps up to 64 MiB of what was given back, and its content is what it was left as.
class Pages {
 public:
  Pages() = default;
  /// Throws std::bad_alloc.
  explicit Pages(std::size_t bytes);
  Pages(Pages&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Pages();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

  /// Bytes that the pool keeps for the next. Thread-safe.
  static std::size_t idle_bytes();

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace annlib::io
