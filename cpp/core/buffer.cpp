#include "core/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/parallel.h"

namespace annlib {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kMapFrom = std::size_t{1} << 20;   // below this the heap is the better place
constexpr std::size_t kHugeFrom = std::size_t{4} << 20;  // below this a huge page would waste more than it saves

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

// Address space for `bytes`, starting on a huge-page boundary. Pages cost nothing until they are touched.
std::byte* map_aligned(std::size_t bytes) {
  const std::size_t padded = bytes + kHugePage;
  void* raw = mmap(nullptr, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) throw std::bad_alloc();
  auto* begin = static_cast<std::byte*>(raw);
  auto* aligned = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(begin), kHugePage));
  if (aligned > begin) munmap(begin, static_cast<std::size_t>(aligned - begin));
  const std::size_t behind = padded - bytes - static_cast<std::size_t>(aligned - begin);
  if (behind > 0) munmap(aligned + bytes, behind);
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugeFrom) madvise(aligned, bytes, MADV_HUGEPAGE);
#endif
  return aligned;
}

void release(std::byte* data, std::size_t capacity, bool mapped) {
  if (mapped) {
    munmap(data, capacity);
  } else {
    std::free(data);
  }
}

}  // namespace

Buffer Buffer::view(std::span<std::byte> bytes, std::shared_ptr<const void> owner) {
  Buffer buffer;
  buffer.data_ = bytes.data();
  buffer.size_ = buffer.used_ = bytes.size();
  buffer.owner_ = std::move(owner);
  return buffer;
}

Buffer Buffer::map(int file, std::uint64_t offset, std::size_t bytes) {
  Buffer buffer;
  if (bytes == 0 || offset % static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) != 0) return buffer;
  const std::size_t capacity = round_up(bytes + bytes / 2, kHugePage);
  std::byte* data = map_aligned(capacity);
  if (mmap(data, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, file,
           static_cast<off_t>(offset)) == MAP_FAILED) {
    munmap(data, capacity);
    return buffer;
  }
  buffer.data_ = data;
  buffer.size_ = buffer.used_ = buffer.file_bytes_ = bytes;
  buffer.capacity_ = capacity;
  buffer.mapped_ = true;
  return buffer;
}

Buffer::~Buffer() {
  if (capacity_ > 0) release(data_, capacity_, mapped_);
}

void Buffer::swap(Buffer& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(used_, other.used_);
  std::swap(capacity_, other.capacity_);
  std::swap(mapped_, other.mapped_);
  std::swap(file_bytes_, other.file_bytes_);
  owner_.swap(other.owner_);
}

void Buffer::resize(std::size_t bytes) {
  if (bytes > size_ && bytes > capacity_) reallocate(bytes <= 64 ? 64 : std::max(bytes, size_ + size_ / 2));
  if (bytes > size_) {
    const std::size_t dirty = std::min(bytes, used_);
    if (dirty > size_) std::memset(data_ + size_, 0, dirty - size_);
  }
  size_ = bytes;
  used_ = std::max(used_, bytes);
}

void Buffer::reserve(std::size_t bytes, int threads) {
  if (bytes > capacity_ && bytes > size_) reallocate(bytes);
  if (!mapped_ || threads == 1 || bytes <= used_) return;
  // What was never used is zero, and is written to as such.
  parallel_for((bytes - used_ + kHugePage - 1) / kHugePage, 1, threads, [&](std::size_t begin, std::size_t end, int) {
    const std::size_t last = std::min(bytes, used_ + end * kHugePage);
    for (std::size_t at = used_ + begin * kHugePage; at < last; at += kPage) {
      *static_cast<volatile std::byte*>(data_ + at) = std::byte{0};
    }
  });
}

void Buffer::reallocate(std::size_t capacity) {
  const bool map = capacity >= kMapFrom;
  capacity = round_up(capacity, map ? kHugePage : 64);
  std::byte* fresh;
  if (map) {
    fresh = map_aligned(capacity);
  } else {
    fresh = static_cast<std::byte*>(std::aligned_alloc(64, capacity));
    if (fresh == nullptr) throw std::bad_alloc();
    std::memset(fresh, 0, capacity);
  }
  bool moved = false;
#ifdef MREMAP_FIXED
  if (map && mapped_ && capacity_ > 0 && file_bytes_ == 0) {
    // Moves page tables, not bytes. The target range is ours already, so the kernel replaces it. (Of a file and what is
    // behind it, two mappings, it would move none.)
    moved = mremap(data_, capacity_, capacity_, MREMAP_MAYMOVE | MREMAP_FIXED, fresh) != MAP_FAILED;
  }
#endif
  if (!moved) {
    if (size_ > 0) std::memcpy(fresh, data_, size_);
    if (capacity_ > 0) release(data_, capacity_, mapped_);
    used_ = size_;
  }
  data_ = fresh;
  capacity_ = capacity;
  mapped_ = map;
  file_bytes_ = 0;
  owner_.reset();
}

}  // namespace annlib
