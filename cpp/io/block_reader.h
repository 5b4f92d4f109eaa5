#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/block_cache.h"
#include "io/reader.h"

namespace annlib::io {

struct BlockRequest {
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
  std::uint64_t tag = 0;             ///< the caller's
  std::optional<std::uint32_t> crc;  ///< checked when the bytes have been read, before others can have them
};

/// A block that is there: at least the bytes that were asked for, until the last holder lets go of it.
struct BlockArrival {
  std::uint64_t tag = 0;
  BlockCache::Block block;
};

class BlockBatch;

/// Blocks of a file, out of a cache or read. A block is known by its offset: it always has the same length.
/// Thread-safe, and must outlive its batches.
class BlockReader {
 public:
  /// `cache` may be shared among readers, or be nullptr. Throws as Reader does.
  BlockReader(const std::string& path, Engine engine, bool direct, std::shared_ptr<BlockCache> cache);
  BlockReader(const BlockReader&) = delete;
  BlockReader& operator=(const BlockReader&) = delete;
  ~BlockReader();

  const Reader& reader() const { return reader_; }

 private:
  friend BlockBatch;
  BlockCache::Block find(const BlockRequest& request);
  /// All pages, where the file goes on so far: to the end of a page a read can be direct.
  std::span<std::byte> part_to_read(const BlockRequest& request, Pages& pages) const;

  Reader reader_;
  std::shared_ptr<BlockCache> cache_;
  std::uint64_t file_;  ///< in the cache
};

/// The blocks of one query, handled as they arrive. For one thread at a time. Whatever is under way when it goes out of
/// scope is waited for and dropped.
class BlockBatch {
 public:
  explicit BlockBatch(BlockReader& blocks) : blocks_(blocks) {}

  /// Starts reading what the cache does not have; may be called again at any time. Throws as Channel::submit() does,
  /// with none of these blocks asked for.
  void add(std::span<const BlockRequest> requests);
  /// The next to arrive, those of the cache first; nullopt when all have. A block that cannot be read is thrown when
  /// its turn comes, as by Channel::wait(), one whose checksum is wrong as CorruptError, and the others can still be
  /// had.
  std::optional<BlockArrival> next();

  std::size_t hits() const { return hits_; }
  std::size_t reads() const { return reading_.size(); }
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  struct Reading {
    BlockRequest request;
    std::shared_ptr<Pages> pages;
  };

  BlockReader& blocks_;
  std::vector<BlockArrival> cached_;
  std::vector<Reading> reading_;  ///< and what was; a read's tag is its place here
  std::size_t hits_ = 0;
  std::uint64_t bytes_read_ = 0;
  std::optional<Reader::Lease> channel_;  ///< last, as it waits for the reads into the pages above
};

}  // namespace annlib::io
