#include <algorithm>
#include <utility>

#include "core/parallel.h"
#include "spann/home_chooser.h"
#include "spann/postings.h"

namespace annlib {
namespace {

// Centres are learnt from so many floats at most: a random sample of larger data.
constexpr std::size_t kSampleFloats = std::size_t{1} << 28;
constexpr std::size_t kGrain = 512;

}  // namespace

std::vector<std::uint32_t> Postings::make_lists(std::size_t n, const std::function<void(std::size_t, float*)>& load,
                                                int threads, const std::function<void(std::size_t)>& report) {
  const std::uint32_t dim = table.dim();
  const std::size_t sampled = std::min(n, std::max<std::size_t>(kSampleFloats / dim, 1));
  Array<float> sample(sampled * dim);
  parallel_for(sampled, kGrain, threads, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) load(i, sample.data() + i * dim);
  });
  ClusterOptions options;
  options.size = std::max<std::size_t>(1, list_size * sampled / n);
  options.seed = seed;
  options.threads = threads;
  const Array<float> centers = find_centroids({sample.data(), sampled, dim}, options, [&] { report(1); });
  sample = Array<float>();
  report(2);
  for (std::size_t l = 0; l < centers.size() / dim; ++l) lists.add_list(centers.data() + l * dim);
  const HomeChooser chooser(lists, centroids, table.metric(), threads);
  std::vector<std::uint32_t> chosen(n * replicas);
  parallel_for(n, kGrain, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(dim);
    std::vector<NearCentroid> near;
    for (std::size_t i = begin; i < end; ++i) {
      load(i, row.data());
      chooser.choose(row.data(), s, near, {chosen.data() + i * replicas, replicas});
    }
  });
  clustered = n;
  return chosen;
}

void Postings::build(std::span<const Slot> slots, int threads) {
  const auto load = [&](std::size_t i, float* out) { lists.codes().load(table.row(slots[i]), table.dtype(), out); };
  const std::vector<std::uint32_t> chosen = make_lists(slots.size(), load, threads, [](std::size_t) {});
  homes.resize(0);
  homes.resize(table.slots() * replicas, kNoList);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    std::copy_n(chosen.data() + i * replicas, replicas, homes_of(slots[i]).begin());
  }
  fill(slots, threads);
}

std::unique_ptr<FilterLists> make_filter_lists(const Table& table, std::uint64_t seed) {
  // Where most rows of a list do not pass, longer lists cost little, and fewer of them less to find.
  constexpr std::uint32_t kListSize = 256;
  return std::make_unique<Postings>(table, kListSize, 1, seed);
}

void Postings::fill(std::span<const Slot> slots, int threads) {
  std::vector<std::vector<Slot>> members(lists.count());
  for (const Slot slot : slots) {
    for (const std::uint32_t home : homes_of(slot)) {
      if (home != kNoList) members[home].push_back(slot);
    }
  }
  for (std::size_t l = 0; l < members.size(); ++l) lists.reserve(static_cast<std::uint32_t>(l), members[l].size());
  parallel_for(members.size(), 4, threads, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> vectors;
    for (std::size_t l = begin; l < end; ++l) {
      vectors.resize(members[l].size() * table.dim());
      for (std::size_t i = 0; i < members[l].size(); ++i) {
        stored.load(members[l][i], vectors.data() + i * table.dim());
      }
      lists.append(static_cast<std::uint32_t>(l), members[l], vectors.data());
    }
  });
  const auto filled = std::count_if(members.begin(), members.end(), [](const auto& own) { return !own.empty(); });
  // Rows chose among all lists, but what is empty is nobody's.
  if (centroids.count() != static_cast<std::size_t>(filled)) centroids.build(lists, threads);
  learn(slots, threads);
}

}  // namespace annlib
