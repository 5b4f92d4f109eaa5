#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>
#include <utility>

#include "core/error.h"
#include "spann/spann_index.h"
#include "table/vectors.h"

namespace annlib {
namespace {

// Rows copied while readers wait.
constexpr std::size_t kRowsPerLock = 1024;
// Arrival numbers are dealt out anew before they run out.
constexpr std::uint32_t kLastArrival = 0xFFFFFF00u;

}  // namespace

SpannIndex::SpannIndex(const SpannParams& params)
    : Index(params.dim, params.dtype, params.metric, true), params_(params) {
  if (params.list_size < 1 || params.list_size > SpannParams::kMostListSize) {
    throw ValueError("list_size must be between 1 and " + std::to_string(SpannParams::kMostListSize) + ", got " +
                     std::to_string(params.list_size));
  }
  if (params.replicas < 1 || params.replicas > SpannParams::kMostReplicas) {
    throw ValueError("replicas must be between 1 and " + std::to_string(SpannParams::kMostReplicas) + ", got " +
                     std::to_string(params.replicas));
  }
  state_ = std::make_unique<SpannState>(params_);
}

void SpannIndex::rebuild(int threads, const Progress& progress) { rebuild_with({}, {}, {}, threads, progress); }

void SpannIndex::rebuild_with(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup,
                              int threads, const Progress& progress) {
  RowSource source;
  gather(vectors, ids, lookup, source);
  std::unique_ptr<SpannState> fresh = build_spann(params_, source, threads, progress);
  std::lock_guard writing(lock_);
  state_.swap(fresh);
  changes_ = 0;
}

void SpannIndex::insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup,
                        int threads, const Progress& progress) {
  Table& table = state_->table;
  Postings& postings = state_->postings;
  const std::size_t replicas = postings.replicas;
  const std::size_t replaced =
      ids.size() - static_cast<std::size_t>(std::count(lookup.old.begin(), lookup.old.end(), kNoSlot));
  const bool few_numbers = table.next_arrival() > kLastArrival - static_cast<std::uint32_t>(ids.size());
  const std::size_t stay = table.live() - replaced;
  if (few_numbers || ids.size() >= stay || stay + ids.size() >= 2 * postings.clustered) {
    rebuild_with(vectors, ids, lookup, threads, progress);
    return;
  }
  const std::size_t slots = table.slots();
  std::vector<Slot> fresh;
  fresh.reserve(vectors.count);
  std::vector<std::uint32_t> homes;
  try {
    for (std::size_t first = 0; first < vectors.count; first += kRowsPerLock) {
      const std::size_t last = std::min(vectors.count, first + kRowsPerLock);
      {
        std::lock_guard writing(lock_);
        if (first == 0) table.reserve(slots + vectors.count);
        for (std::size_t i = first; i < last; ++i) fresh.push_back(table.append(vectors.row(i)));
        postings.homes.resize(table.slots() * replicas, kNoList);
      }
      const auto chosen = postings.homes_for(std::span(fresh).subspan(first, last - first), threads);
      homes.insert(homes.end(), chosen.begin(), chosen.end());
      if (progress) progress(last, vectors.count);
    }
    std::lock_guard writing(lock_);
    write_attributes(fresh, lookup);
  } catch (...) {  // no list was changed yet
    std::lock_guard writing(lock_);
    table.take_back(fresh, slots);
    postings.homes.resize(table.slots() * replicas);
    throw;
  }
  for (std::size_t first = 0; first < fresh.size(); first += kRowsPerLock) {
    const std::size_t n = std::min(kRowsPerLock, fresh.size() - first);
    std::lock_guard writing(lock_);
    postings.settle(std::span(fresh).subspan(first, n), std::span(homes).subspan(first * replicas, n * replicas));
  }
  {
    std::lock_guard writing(lock_);
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      const Slot old = lookup.old[i];
      const std::uint32_t arrival = old == kNoSlot ? table.next_arrival() : table.arrival(old);
      if (old != kNoSlot) take_out(old);
      table.reveal(fresh[i], ids[i], arrival);
    }
  }
  maintain(ids.size() + replaced, threads);
}

void SpannIndex::take_out(Slot slot) {
  state_->postings.leave_lists(slot);
  state_->table.hide(slot);
  state_->table.release(slot);
}

void SpannIndex::erase(std::span<const Slot> slots, int threads) {
  {
    std::lock_guard writing(lock_);
    for (Slot slot : slots) take_out(slot);
  }
  maintain(slots.size(), threads);
}

// Lists that have grown too long are split, and short ones given up, each in a moment of its own. When half of all has
// changed, the lists lie where vectors were, and are made anew: it costs less than inserting as many into a graph.
void SpannIndex::maintain(std::size_t changes, int threads) {
  changes_ += changes;
  if (changes_ * 2 > state_->table.live()) return rebuild(threads, {});
  state_->postings.maintain(threads, lock_);
}

SpannIndex::Counts SpannIndex::counts() const {
  std::shared_lock reading(lock_);
  const PostingLists& lists = state_->postings.lists;
  Counts counts;
  std::vector<std::size_t> sizes;
  for (std::uint32_t l = 0; l < lists.count(); ++l) sizes.push_back(lists.size(l));
  std::sort(sizes.begin(), sizes.end());
  counts.lists = sizes.size();
  for (std::size_t size : sizes) counts.postings += size;
  if (!sizes.empty()) {
    counts.shortest = sizes.front();
    counts.longest = sizes.back();
    counts.median = static_cast<double>(sizes[sizes.size() / 2]);
  }
  counts.list_bytes = lists.memory_bytes();
  counts.centroid_bytes = state_->postings.centroids.memory_bytes();
  return counts;
}

}  // namespace annlib
