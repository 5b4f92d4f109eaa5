#include "io/pages.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "io/block_file.h"

namespace annlib::io {
namespace {

constexpr std::size_t kMostIdleBytes = std::size_t{64} << 20;
constexpr std::size_t kMostPages = 256;  // longer ones are rare and go back to the heap

/// By their length, in pages: blocks of one file have few lengths, each asked for again and again.
class Pool {
 public:
  std::byte* take(std::size_t bytes) {
    const std::size_t pages = bytes / kAlignment;
    if (pages > kMostPages) return nullptr;
    const std::lock_guard lock(mutex_);
    std::vector<std::byte*>& idle = idle_[pages];
    if (idle.empty()) return nullptr;
    std::byte* const data = idle.back();
    idle.pop_back();
    idle_bytes_ -= bytes;
    return data;
  }
  bool keep(std::byte* data, std::size_t bytes) noexcept {
    const std::size_t pages = bytes / kAlignment;
    const std::lock_guard lock(mutex_);
    if (pages > kMostPages || idle_bytes_ + bytes > kMostIdleBytes) return false;
    try {
      idle_[pages].push_back(data);
    } catch (const std::bad_alloc&) {
      return false;
    }
    idle_bytes_ += bytes;
    return true;
  }
  std::size_t idle_bytes() {
    const std::lock_guard lock(mutex_);
    return idle_bytes_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::byte*> idle_[kMostPages + 1];
  std::size_t idle_bytes_ = 0;
};

Pool& pool() {
  static Pool* const instance = new Pool;  // never destroyed: pages may be given back by other statics
  return *instance;
}

}  // namespace

Pages::Pages(std::size_t bytes) : size_(align_up(bytes)) {
  if (size_ == 0) return;
  data_ = pool().take(size_);
  if (data_ == nullptr) data_ = static_cast<std::byte*>(std::aligned_alloc(kAlignment, size_));
  if (data_ == nullptr) throw std::bad_alloc();
}

Pages::~Pages() {
  if (data_ != nullptr && !pool().keep(data_, size_)) std::free(data_);
}

std::size_t Pages::idle_bytes() { return pool().idle_bytes(); }

}  // namespace annlib::io
