#include "io/pages.h"

#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "io/block_file.h"

namespace annlib::io {
namespace {

constexpr std::size_t kMostIdleBytes = std::size_t{64} << 20;
constexpr std::size_t kMostPages = 256;  // longer ones are rare and go back to the heap
// An allocator puts what it knows of a piece on the page before it: pieces are cut from so much, or more would be
// taken up by that than by short blocks.
constexpr std::size_t kCutFrom = std::size_t{1} << 20;

/// By their length, in pages: blocks of one file have few lengths, each asked for again and again.
class Pool {
 public:
  static bool serves(std::size_t bytes) { return bytes <= kMostPages * kAlignment; }

  std::byte* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    Length& own = lengths_[bytes / kAlignment];
    if (!own.idle.empty()) {
      idle_bytes_ -= bytes;
      return last_of(own.idle);
    }
    if (own.released.empty()) cut(own, bytes);
    return last_of(own.released);
  }
  /// There is room for all pieces that there are.
  void keep(std::byte* data, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    Length& own = lengths_[bytes / kAlignment];
    if (idle_bytes_ + bytes > kMostIdleBytes) {
      ::madvise(data, bytes, MADV_DONTNEED);  // the memory goes, the addresses stay
      own.released.push_back(data);
      return;
    }
    idle_bytes_ += bytes;
    own.idle.push_back(data);
  }
  std::size_t idle_bytes() {
    const std::lock_guard lock(mutex_);
    return idle_bytes_;
  }

 private:
  struct Length {
    std::vector<std::byte*> idle, released;
    std::size_t pieces = 0;
  };

  static std::byte* last_of(std::vector<std::byte*>& all) {
    std::byte* const data = all.back();
    all.pop_back();
    return data;
  }
  static void cut(Length& own, std::size_t bytes) {
    const std::size_t n = kCutFrom / bytes;
    for (std::vector<std::byte*>* all : {&own.idle, &own.released}) {
      if (all->capacity() < own.pieces + n) all->reserve(2 * (own.pieces + n));
    }
    auto* const data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, n * bytes));
    if (data == nullptr) throw std::bad_alloc();
    for (std::size_t i = n; i-- > 0;) own.released.push_back(data + i * bytes);
    own.pieces += n;
  }

  std::mutex mutex_;
  Length lengths_[kMostPages + 1];
  std::size_t idle_bytes_ = 0;
};

Pool& pool() {
  static Pool* const instance = new Pool;  // never destroyed: pages may be given back by other statics
  return *instance;
}

}  // namespace

Pages::Pages(std::size_t bytes) : size_(align_up(bytes)) {
  if (size_ == 0) return;
  data_ = Pool::serves(size_) ? pool().take(size_) : static_cast<std::byte*>(std::aligned_alloc(kAlignment, size_));
  if (data_ == nullptr) throw std::bad_alloc();
}

Pages::~Pages() {
  if (data_ == nullptr) return;
  Pool::serves(size_) ? pool().keep(data_, size_) : std::free(data_);
}

std::size_t Pages::idle_bytes() { return pool().idle_bytes(); }

}  // namespace annlib::io
