#include "io/block_cache.h"

#include <algorithm>
#include <utility>

namespace annlib::io {

BlockCache::BlockCache(std::size_t capacity, std::size_t shards)
    : capacity_(capacity), shards_(std::max<std::size_t>(shards, 1)) {}

void BlockCache::set_capacity(std::size_t bytes) {
  capacity_ = bytes;
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    shard.make_room(0, bytes / shards_.size());
  }
}

BlockCache::Block BlockCache::find(const BlockKey& key) {
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  const auto at = shard.places.find(key);
  if (at == shard.places.end()) {
    ++shard.counts.misses;
    return nullptr;
  }
  ++shard.counts.hits;
  Entry& entry = shard.entries[at->second];
  entry.found_again = true;
  return entry.block;
}

void BlockCache::insert(const BlockKey& key, Block block) {
  const std::size_t room = capacity_ / shards_.size(), bytes = block->size();
  if (bytes > room) return;
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  if (shard.places.contains(key)) return;  // two threads missed it at the same time
  shard.make_room(bytes, room);
  shard.entries.push_back({key, std::move(block)});
  try {
    shard.places.emplace(key, shard.entries.size() - 1);
  } catch (...) {
    shard.entries.pop_back();
    throw;
  }
  ++shard.counts.blocks;
  shard.counts.bytes += bytes;
}

/// The hand goes round the entries, spares each that was found since it last came by, and takes the others.
void BlockCache::Shard::make_room(std::size_t bytes, std::size_t capacity) {
  while (counts.bytes + bytes > capacity) {
    if (hand >= entries.size()) hand = 0;
    if (std::exchange(entries[hand].found_again, false)) {
      ++hand;
    } else {
      remove(hand);
    }
  }
}

void BlockCache::Shard::remove(std::size_t place) {
  --counts.blocks;
  counts.bytes -= entries[place].block->size();
  places.erase(entries[place].key);
  if (place + 1 < entries.size()) {
    entries[place] = std::move(entries.back());
    places.find(entries[place].key)->second = place;
  }
  entries.pop_back();
}

void BlockCache::erase_file(std::uint64_t file) {
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    for (std::size_t place = shard.entries.size(); place-- > 0;) {
      if (shard.entries[place].key.file == file) shard.remove(place);
    }
  }
}

BlockCache::Counts BlockCache::counts() const {
  Counts sum;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    sum.hits += shard.counts.hits;
    sum.misses += shard.counts.misses;
    sum.blocks += shard.counts.blocks;
    sum.bytes += shard.counts.bytes;
  }
  return sum;
}

}  // namespace annlib::io
