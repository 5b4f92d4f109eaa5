#include "io/block_reader.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <utility>

#include "core/error.h"
#include "simd/simd.h"

namespace annlib::io {
namespace {

std::uint64_t next_file() {
  static std::atomic<std::uint64_t> next{0};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

BlockReader::BlockReader(const std::string& path, Engine engine, bool direct, std::shared_ptr<BlockCache> cache)
    : reader_(path, engine, direct), cache_(std::move(cache)), file_(next_file()) {}

BlockReader::~BlockReader() {
  if (cache_ != nullptr) cache_->erase_file(file_);
}

BlockCache::Block BlockReader::find(const BlockRequest& request) {
  if (cache_ == nullptr) return nullptr;
  BlockCache::Block block = cache_->find({file_, request.offset});
  return block != nullptr && block->size() >= request.bytes ? block : nullptr;
}

std::span<std::byte> BlockReader::part_to_read(const BlockRequest& request, Pages& pages) const {
  const std::uint64_t size = reader_.file().size();
  const bool whole = request.offset % kAlignment == 0 && request.offset < size && size - request.offset >= pages.size();
  return {pages.data(), whole ? pages.size() : request.bytes};
}

void BlockBatch::add(std::span<const BlockRequest> requests) {
  std::vector<BlockArrival> found;
  std::vector<ReadRequest> missing;
  const std::size_t before = reading_.size();
  try {
    for (const BlockRequest& request : requests) {
      if (auto block = blocks_.find(request)) {
        found.push_back({request.tag, std::move(block)});
        continue;
      }
      auto pages = std::make_shared<Pages>(request.bytes);
      missing.push_back({request.offset, blocks_.part_to_read(request, *pages), reading_.size()});
      reading_.push_back({request, std::move(pages)});
    }
    cached_.reserve(cached_.size() + found.size());
    if (!missing.empty()) {
      if (!channel_) channel_.emplace(blocks_.reader_.channel());
      (*channel_)->submit(missing);
    }
  } catch (...) {
    reading_.resize(before);
    throw;
  }
  std::move(found.begin(), found.end(), std::back_inserter(cached_));
  hits_ += found.size();
  for (const ReadRequest& request : missing) bytes_read_ += request.into.size();
}

std::optional<BlockArrival> BlockBatch::next() {
  if (!cached_.empty()) {
    BlockArrival arrival = std::move(cached_.back());
    cached_.pop_back();
    return arrival;
  }
  std::uint64_t place = 0;
  if (!channel_ || (*channel_)->wait({&place, 1}, true) == 0) {
    channel_.reset();  // others may want it
    return std::nullopt;
  }
  Reading& read = reading_[place];
  BlockCache::Block block = std::move(read.pages);
  const BlockRequest& asked = read.request;
  if (asked.crc && simd::kernels().crc32c(0, block->data(), asked.bytes) != *asked.crc) {
    throw CorruptError(blocks_.reader_.file().name() + ": damaged at byte " + std::to_string(asked.offset));
  }
  if (blocks_.cache_ != nullptr) blocks_.cache_->insert({blocks_.file_, asked.offset}, block);
  return BlockArrival{asked.tag, std::move(block)};
}

}  // namespace annlib::io
