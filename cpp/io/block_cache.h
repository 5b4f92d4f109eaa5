#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/random.h"
#include "io/pages.h"

namespace annlib::io {

/// Which block: files have numbers that are never used again (BlockReader gives them).
struct BlockKey {
  std::uint64_t file = 0;
  std::uint64_t offset = 0;
  friend bool operator==(const BlockKey&, const BlockKey&) = default;
};

/// Blocks of files that were read, up to a number of bytes; the ones that go are those not found lately (CLOCK:
/// Corbató, "A paging experiment with the Multics system", 1968). Thread-safe; a shard has a lock of its own.
class BlockCache {
 public:
  /// A block is there while somebody holds it, in the cache or not.
  using Block = std::shared_ptr<const Pages>;

  struct Counts {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t blocks = 0;
    std::uint64_t bytes = 0;  ///< of the blocks; below the capacity at all times
  };

  /// Each shard holds its part of `capacity` bytes, and no block that is larger than that. 0 keeps nothing.
  explicit BlockCache(std::size_t capacity, std::size_t shards = 16);

  std::size_t capacity() const { return capacity_; }
  void set_capacity(std::size_t bytes);
  /// The block, or nullptr; counts a hit or a miss.
  Block find(const BlockKey& key);
  /// Takes in a block in the place of others. One that is there already stays.
  void insert(const BlockKey& key, Block block);
  /// Forgets all blocks of a file.
  void erase_file(std::uint64_t file);
  Counts counts() const;

 private:
  struct Entry {
    BlockKey key;
    Block block;
    bool found_again = false;
  };
  struct Hash {
    std::size_t operator()(const BlockKey& key) const { return mix64(mix64(key.file) ^ key.offset); }
  };
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<BlockKey, std::size_t, Hash> places;  ///< in `entries`
    std::vector<Entry> entries;
    std::size_t hand = 0;
    Counts counts;

    void remove(std::size_t place);
    void make_room(std::size_t bytes, std::size_t capacity);
  };

  // The map inside a shard uses the low bits of the same hash.
  Shard& shard_of(const BlockKey& key) { return shards_[(Hash()(key) >> 32) % shards_.size()]; }

  std::atomic<std::size_t> capacity_;
  std::vector<Shard> shards_;
};

}  // namespace annlib::io
