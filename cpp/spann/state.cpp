#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <utility>

#include "core/parallel.h"
#include "spann/spann_index.h"
#include "table/vectors.h"

namespace annlib {
namespace {

// Lists around one that was split whose vectors may lie nearer to its parts.
constexpr std::size_t kNeighbours = 8;
constexpr std::size_t kGrain = 64;
// Vectors from which reaches and errors are learnt, as queries, and the lists and neighbours looked at for each.
constexpr std::size_t kLearnt = 256, kLearntLists = 64, kLearntNeighbours = 10;

}  // namespace

SpannState::SpannState(const SpannParams& params)
    : table(params.dim, params.dtype, params.metric), replicas(params.replicas), seed(params.seed) {}

std::size_t SpannState::memory_bytes() const {
  return lists.memory_bytes() + homes.bytes().size() + centroids.memory_bytes();
}

// By squared distance, whatever the metric: lists are what lies together.
void SpannState::near_lists(const float* row, std::size_t n, Scratch& s, std::vector<NearCentroid>& near) const {
  if (table.metric() == Metric::ip) {
    near.clear();
    s.need(lists.count());
    CentroidDistances(lists.centroids().data(), table.dim()).all(row, lists.count(), s.distances.data());
    for (std::uint32_t list = 0; list < lists.count(); ++list) {
      if (lists.size(list) > 0) near.push_back({s.distances[list], list});
    }
    n = std::min(n, near.size());
    std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(n), near.end());
    near.resize(n);
    return;
  }
  centroids.search_squared(lists, row, n, s, near);
}

std::vector<std::uint32_t> SpannState::homes_for(std::span<const Slot> slots, int threads) const {
  std::vector<std::uint32_t> homes(slots.size() * replicas);
  parallel_for(slots.size(), kGrain, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(table.dim());
    std::vector<NearCentroid> near;
    for (std::size_t i = begin; i < end; ++i) {
      stored.load(slots[i], row.data());
      near_lists(row.data(), kChosenAmong, s, near);
      choose_homes(near, lists.centroids(), table.dim(), {homes.data() + i * replicas, replicas});
    }
  });
  return homes;
}

void SpannState::settle(std::span<const Slot> slots, std::span<const std::uint32_t> chosen) {
  std::vector<std::pair<std::uint32_t, Slot>> moves;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto wanted = chosen.subspan(i * replicas, replicas);
    const auto has = homes_of(slots[i]);
    for (std::uint32_t home : has) {
      if (home != kNoList && std::find(wanted.begin(), wanted.end(), home) == wanted.end()) leave(home, slots[i]);
    }
    for (std::uint32_t home : wanted) {
      if (home != kNoList && std::find(has.begin(), has.end(), home) == has.end()) moves.emplace_back(home, slots[i]);
    }
    std::copy(wanted.begin(), wanted.end(), has.begin());
  }
  std::sort(moves.begin(), moves.end());
  std::vector<Slot> members;
  std::vector<float> vectors;
  for (std::size_t i = 0; i < moves.size();) {
    const std::uint32_t list = moves[i].first;
    members.clear();
    for (; i < moves.size() && moves[i].first == list; ++i) members.push_back(moves[i].second);
    vectors.resize(members.size() * table.dim());
    for (std::size_t m = 0; m < members.size(); ++m) stored.load(members[m], vectors.data() + m * table.dim());
    const bool empty = lists.size(list) == 0;
    lists.append(list, members, vectors.data());
    if (empty) centroids.add(lists, list);
  }
}

void SpannState::leave(std::uint32_t list, Slot slot) {
  lists.remove(list, slot);
  if (lists.size(list) == 0) centroids.remove(list);
}

void SpannState::leave_lists(Slot slot) {
  for (std::uint32_t& home : homes_of(slot)) {
    if (home != kNoList) leave(home, slot);
    home = kNoList;
  }
}

void SpannState::dissolve(std::uint32_t list, int threads) {
  std::vector<Slot> members;
  lists.slots_of(list, members);
  centroids.remove(list);
  const std::vector<float> centroid(lists.centroid(list), lists.centroid(list) + table.dim());
  lists.reset(list, centroid.data());
  for (Slot slot : members) std::replace(homes_of(slot).begin(), homes_of(slot).end(), list, kNoList);
  settle(members, homes_for(members, threads));
}

void SpannState::split(std::uint32_t list, int threads, FairSharedMutex& lock) {
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
  near_lists(lists.centroid(list), kNeighbours + 1, s, near);

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

float reach_of(std::span<const float> reach, double lists) {
  const double at = std::clamp(std::log2(std::max(lists, 1.0)), 0.0, static_cast<double>(reach.size() - 1));
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, reach.size() - 1);
  const auto share = static_cast<float>(at - static_cast<double>(low));
  return reach[low] + share * (reach[high] - reach[low]);
}

namespace {

// Of vectors so long that distances are no numbers, everything is looked at.
float finite(float x) { return std::isfinite(x) ? x : std::numeric_limits<float>::max(); }

}  // namespace

// From stored vectors, each as though it were not there: how far away the lists of their neighbours are, and how far
// from the truth estimates.
void SpannState::learn(int threads) {
  const std::size_t n = table.slots(), queries = std::min(kLearnt, n);
  const std::uint32_t dim = table.dim();
  const bool product = table.metric() == Metric::ip;
  const float part = lists.codes().part();
  std::vector<std::array<float, kReaches>> reaches(queries);
  std::vector<double> errors(queries, 0.0);
  parallel_for(queries, 4, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(dim), truth;
    std::vector<Slot> slots;
    std::vector<float> estimates;
    for (std::size_t i = begin; i < end; ++i) {
      const auto self = static_cast<Slot>(i * n / queries);
      stored.load(self, row.data());
      const QueryView query{row.data(), DType::f32, kNoSlot};
      const Scan exact = stored.prepare(query, s.row);
      const simd::BlockQuery tables = lists.codes().prepare(row.data(), s.tables);
      centroids.search(lists, row.data(), tables, std::size_t{1} << (kReaches - 1), s);
      s.visited.reset(n);
      s.visited.insert(self);
      s.nearest.reset(kLearntNeighbours);
      const float length = std::sqrt(simd::kernels().norm2(row.data(), dim));
      double sum = 0, count = 0;
      for (std::size_t j = 0; j < std::min(kLearntLists, s.found.size()); ++j) {
        const Candidate list = s.found[j];
        slots.clear();
        estimates.clear();
        lists.scan(list.slot(), kNoList, tables, list.distance(), std::numeric_limits<float>::infinity(),
                   simd::kernels().scan_block, [&](Slot slot, float estimate) {
                     slots.push_back(slot);
                     estimates.push_back(estimate);
                   });
        truth.resize(slots.size());
        exact.score(slots.data(), slots.size(), truth.data());
        const float unit =
            lists.width(list.slot()) * (product ? length : std::sqrt(std::max(list.distance() / part, 0.0f)));
        for (std::size_t m = 0; m < slots.size(); ++m) {
          if (unit > 0) sum += std::pow((estimates[m] - truth[m]) / unit, 2.0), ++count;
          if (s.visited.insert(slots[m])) s.nearest.push(Candidate(truth[m], slots[m]));
        }
      }
      if (count > 0) errors[i] = sum / count;
      const float kth = s.nearest.sorted().empty() ? 0.0f : s.nearest.sorted().back().distance();
      for (std::size_t r = 0; r < kReaches; ++r) {
        const float distance = s.found[std::min(std::size_t{1} << r, s.found.size()) - 1].distance();
        reaches[i][r] = finite(product ? distance - kth : kth > 0 ? distance / kth : 1.0f);
      }
    }
  });
  double sum = 0;
  for (double e : errors) sum += e;
  error = finite(static_cast<float>(std::sqrt(sum / static_cast<double>(queries))));
  reach.resize(kReaches);
  for (std::size_t r = 0; r < kReaches; ++r) {
    const auto middle = reaches.begin() + static_cast<std::ptrdiff_t>(queries / 2);
    std::nth_element(reaches.begin(), middle, reaches.end(), [r](auto& a, auto& b) { return a[r] < b[r]; });
    reach[r] = (*middle)[r];
  }
}

}  // namespace annlib
