#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace annlib {

/// Growable, zero-filled bytes, aligned to 64 at least. Large ones lie on huge pages where the system grants them and
/// grow by remapping pages instead of copying. A buffer may instead be a view of somebody else's bytes (a mapped
/// file); it becomes its own copy the first time it has to grow. Or it begins with a part of a file that is mapped for
/// it alone. Not thread-safe.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer();

  static Buffer view(std::span<std::byte> bytes, std::shared_ptr<const void> owner);
  /// Bytes of a file, `offset` of which is a multiple of 4096 and behind which are zeros up to the next one. Pages that
  /// are not written to take no memory that the kernel could not have back; those that are, are copied, and the file
  /// stays as it is. It may grow by half before it is copied as a whole. Empty where the system cannot map the file.
  static Buffer map(int file, std::uint64_t offset, std::size_t bytes);

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  /// Those behind which is a file of map().
  std::size_t mapped_bytes() const { return std::min(size_, file_bytes_); }

  /// New bytes are zero; old ones stay, at a new address perhaps. Strong guarantee on std::bad_alloc.
  void resize(std::size_t bytes);
  /// Makes the next resize() up to `bytes` free of moves, and takes no more memory than that. With several threads,
  /// the pages of a large buffer come now, on all of them; else each comes, and is cleared, when it is written to.
  void reserve(std::size_t bytes, int threads = 1);

  void swap(Buffer& other) noexcept;

 private:
  void reallocate(std::size_t capacity);

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t used_ = 0;      ///< high-water mark of size_: bytes beyond it are still zero
  std::size_t capacity_ = 0;  ///< 0 for a view
  bool mapped_ = false;       ///< data_ came from mmap, not from the heap
  std::size_t file_bytes_ = 0;
  std::shared_ptr<const void> owner_;
};

/// A Buffer of trivially copyable elements.
template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() = default;
  explicit Array(std::size_t n) { resize(n); }
  explicit Array(Buffer bytes) : buffer_(std::move(bytes)) {}

  std::size_t size() const { return buffer_.size() / sizeof(T); }
  bool empty() const { return size() == 0; }
  T* data() { return reinterpret_cast<T*>(buffer_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(buffer_.data()); }
  T& operator[](std::size_t i) { return data()[i]; }
  const T& operator[](std::size_t i) const { return data()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size(); }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size(); }

  void resize(std::size_t n) { buffer_.resize(n * sizeof(T)); }
  void resize(std::size_t n, T value) {
    const std::size_t old = size();
    resize(n);
    for (std::size_t i = old; i < n; ++i) data()[i] = value;
  }
  void reserve(std::size_t n, int threads = 1) { buffer_.reserve(n * sizeof(T), threads); }
  void push_back(T value) {
    resize(size() + 1);
    data()[size() - 1] = value;
  }
  std::span<const std::byte> bytes() const { return {buffer_.data(), buffer_.size()}; }
  /// Buffer::mapped_bytes(), and the others.
  std::size_t mapped_bytes() const { return buffer_.mapped_bytes(); }
  std::size_t memory_bytes() const { return buffer_.size() - buffer_.mapped_bytes(); }

 private:
  Buffer buffer_;
};

}  // namespace annlib
