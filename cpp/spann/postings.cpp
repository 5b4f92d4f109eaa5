#include "spann/postings.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "core/parallel.h"
#include "table/vectors.h"

namespace annlib {
namespace {

// Lists around one that was split whose vectors may lie nearer to its parts.
constexpr std::size_t kNeighbours = 8;
constexpr std::size_t kGrain = 64;
// Lists may be so many times as long as they are wanted, or a part of that, before something is done about it.
constexpr std::size_t kLongest = 3, kShortest = 8;

}  // namespace

Postings::Postings(const Table& table, std::uint32_t list_size, std::uint32_t replicas, std::uint64_t seed)
    : table(table), list_size(list_size), replicas(replicas), seed(seed) {}

std::vector<std::uint32_t> Postings::homes_for(std::span<const Slot> slots, int threads) const {
  std::vector<std::uint32_t> homes(slots.size() * replicas);
  parallel_for(slots.size(), kGrain, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(table.dim());
    std::vector<NearCentroid> near;
    for (std::size_t i = begin; i < end; ++i) {
      stored.load(slots[i], row.data());
      centroids.search_squared(lists, row.data(), kChosenAmong, s, near);
      choose_homes(near, lists.centroids(), table.dim(), {homes.data() + i * replicas, replicas});
    }
  });
  return homes;
}

void Postings::settle(std::span<const Slot> slots, std::span<const std::uint32_t> chosen) {
  homes.resize(table.slots() * replicas, kNoList);
  std::vector<PostingLists::Entry> moves;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto wanted = chosen.subspan(i * replicas, replicas);
    const auto has = homes_of(slots[i]);
    for (std::uint32_t home : has) {
      if (home != kNoList && std::find(wanted.begin(), wanted.end(), home) == wanted.end()) leave(home, slots[i]);
    }
    for (std::uint32_t home : wanted) {
      if (home != kNoList && std::find(has.begin(), has.end(), home) == has.end()) moves.push_back({home, i});
    }
    std::copy(wanted.begin(), wanted.end(), has.begin());
  }
  const auto load = [&](std::size_t i, float* out) { stored.load(slots[i], out); };
  for (const std::uint32_t list : lists.append_each(slots, std::move(moves), load)) centroids.add(lists, list);
}

void Postings::leave(std::uint32_t list, Slot slot) {
  lists.remove(list, slot);
  if (lists.size(list) == 0) centroids.remove(list);
}

void Postings::leave_lists(Slot slot) {
  for (std::uint32_t& home : homes_of(slot)) {
    if (home != kNoList) leave(home, slot);
    home = kNoList;
  }
}

void Postings::dissolve(std::uint32_t list, int threads) {
  std::vector<Slot> members;
  lists.slots_of(list, members);
  centroids.remove(list);
  const std::vector<float> centroid(lists.centroid(list), lists.centroid(list) + table.dim());
  lists.reset(list, centroid.data());
  for (Slot slot : members) std::replace(homes_of(slot).begin(), homes_of(slot).end(), list, kNoList);
  settle(members, homes_for(members, threads));
}

void Postings::split(std::uint32_t list, int threads, FairSharedMutex& lock) {
  const std::uint32_t dim = table.dim();
  std::vector<Slot> members;
  lists.slots_of(list, members);
  std::vector<float> rows(members.size() * dim);
  for (std::size_t i = 0; i < members.size(); ++i) stored.load(members[i], rows.data() + i * dim);
  ClusterOptions options;
  options.size = (members.size() + 1) / 2;
  options.seed = seed;
  options.threads = threads;
  const Clusters parts = balanced_clusters({rows.data(), members.size(), dim}, options);
  const std::size_t count = parts.centroids.size() / dim;
  Scratch s;
  std::vector<NearCentroid> near;
  centroids.search_squared(lists, lists.centroid(list), kNeighbours + 1, s, near);

  std::lock_guard writing(lock);
  centroids.remove(list);
  lists.reset(list, parts.centroids.data());
  std::vector<std::uint32_t> numbers{list};
  for (std::size_t p = 1; p < count; ++p) numbers.push_back(lists.add_list(parts.centroids.data() + p * dim));
  // Its own vectors first go to the part that they made, so that no part is empty; then all may choose.
  std::vector<std::vector<Slot>> own(count);
  std::vector<std::vector<float>> vectors(count);
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::uint32_t part = parts.homes[i];
    own[part].push_back(members[i]);
    vectors[part].insert(vectors[part].end(), rows.begin() + static_cast<std::ptrdiff_t>(i * dim),
                         rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * dim));
    std::replace(homes_of(members[i]).begin(), homes_of(members[i]).end(), list, numbers[part]);
  }
  for (std::size_t p = 0; p < count; ++p) {
    if (own[p].empty()) continue;
    lists.append(numbers[p], own[p], vectors[p].data());
    centroids.add(lists, numbers[p]);
  }
  std::vector<Slot> around;
  for (const NearCentroid& other : near) {
    if (other.centroid == list) continue;
    std::vector<Slot> slots;
    lists.slots_of(other.centroid, slots);
    around.insert(around.end(), slots.begin(), slots.end());
  }
  around.insert(around.end(), members.begin(), members.end());
  std::sort(around.begin(), around.end());
  around.erase(std::unique(around.begin(), around.end()), around.end());
  settle(around, homes_for(around, threads));
  for (Slot slot : members) {
    for (std::uint32_t home : homes_of(slot)) {
      if (home != kNoList) lists.note_split(home);
    }
  }
}

void Postings::maintain(int threads, FairSharedMutex& lock) {
  const std::size_t longest = kLongest * list_size * replicas, shortest = std::size_t{list_size} * replicas / kShortest;
  for (std::uint32_t list = 0; list < lists.count(); ++list) {  // those that come of a split too
    const std::size_t size = lists.size(list);
    if (lists.overfull(list, longest)) {
      split(list, threads, lock);
    } else if (size > 0 && size < shortest && centroids.count() > 1) {
      std::lock_guard writing(lock);
      dissolve(list, threads);
    }
  }
  if (lists.wasted_bytes() * 2 > lists.memory_bytes()) {
    std::lock_guard writing(lock);
    lists.compact();
  }
}

}  // namespace annlib
