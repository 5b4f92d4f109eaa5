#include "storage/source.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>
#include <new>

#include "core/error.h"
#include "storage/file.h"

namespace annlib::storage {
namespace {

constexpr std::align_val_t kMemoryAlignment{64};

class FileSource final : public Source {
 public:
  FileSource(File file, std::uint64_t size, bool map) : file_(std::move(file)), size_(size) {
    if (map && size > 0) map_ = file_.map(size);
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  ~FileSource() override {
    if (map_ != nullptr) ::munmap(map_, size_);
  }

  const std::string& path() const override { return file_.name(); }
  std::uint64_t size() const override { return size_; }
  bool mapped() const override { return map_ != nullptr; }
  std::span<std::byte> bytes() const override { return {map_, map_ == nullptr ? 0 : size_}; }
  void read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (file_.read_at(offset, out) < out.size()) throw CorruptError(name() + ": the file shrank while it was open");
  }
  Buffer map(std::uint64_t offset, std::size_t bytes) const override {
    return Buffer::map(file_.descriptor(), offset, bytes);
  }

 private:
  File file_;
  std::uint64_t size_;
  std::byte* map_ = nullptr;
};

class MemorySource final : public Source {
 public:
  explicit MemorySource(std::span<const std::byte> bytes)
      : bytes_(static_cast<std::byte*>(::operator new(bytes.size(), kMemoryAlignment))), size_(bytes.size()) {
    if (size_ > 0) std::memcpy(bytes_.get(), bytes.data(), size_);
  }

  const std::string& path() const override { return path_; }
  std::uint64_t size() const override { return size_; }
  bool mapped() const override { return false; }
  std::span<std::byte> bytes() const override { return {bytes_.get(), size_}; }
  void read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (!out.empty()) std::memcpy(out.data(), bytes_.get() + offset, out.size());
  }
  Buffer map(std::uint64_t, std::size_t) const override { return {}; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, kMemoryAlignment); }
  };

  std::string path_;
  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t size_;
};

}  // namespace

std::unique_ptr<Source> open_file(const std::string& path, bool map) {
  File file = File::open_regular(path, O_RDONLY);
  const struct stat status = file.status();
  return std::make_unique<FileSource>(std::move(file), static_cast<std::uint64_t>(status.st_size), map);
}

std::unique_ptr<Source> open_bytes(std::span<const std::byte> bytes) { return std::make_unique<MemorySource>(bytes); }

}  // namespace annlib::storage
