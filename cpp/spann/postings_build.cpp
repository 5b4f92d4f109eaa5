#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "core/parallel.h"
#include "spann/home_chooser.h"
#include "spann/postings.h"

namespace annlib {
namespace {

// Centres are learnt from so many floats at most: a random sample of larger data.
constexpr std::size_t kSampleFloats = std::size_t{1} << 28;
constexpr std::size_t kGrain = 512;
// Vectors from which reaches and errors are learnt, as queries, and the lists and neighbours looked at for each.
constexpr std::size_t kLearnt = 256, kLearntLists = 64, kLearntNeighbours = 10;

// Of vectors so long that distances are no numbers, everything is looked at.
float finite(float x) { return std::isfinite(x) ? x : std::numeric_limits<float>::max(); }

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
  measure_radius();
}

// From stored vectors, each as though it were not there: how far away the lists of their neighbours are, and how far
// from the truth estimates.
void Postings::learn(std::span<const Slot> slots, int threads) {
  const std::size_t n = slots.size(), queries = std::min(kLearnt, n);
  const std::uint32_t dim = table.dim();
  const bool product = table.metric() == Metric::ip;
  const float part = lists.codes().part();
  std::vector<std::array<float, kReaches>> reaches(queries);
  std::vector<double> errors(queries, 0.0);
  parallel_for(queries, 4, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(dim), truth;
    std::vector<Slot> found;
    std::vector<float> estimates;
    for (std::size_t i = begin; i < end; ++i) {
      const Slot self = slots[i * n / queries];
      stored.load(self, row.data());
      const QueryView query{row.data(), DType::f32, kNoSlot};
      const Scan exact = stored.prepare(query, s.row);
      const simd::BlockQuery tables = lists.codes().prepare(row.data(), s.tables);
      centroids.search(lists, row.data(), tables, std::size_t{1} << (kReaches - 1), s);
      s.visited.reset(table.slots());
      s.visited.insert(self);
      s.nearest.reset(kLearntNeighbours);
      const float length = std::sqrt(simd::kernels().norm2(row.data(), dim));
      double sum = 0, count = 0;
      for (std::size_t j = 0; j < std::min(kLearntLists, s.found.size()); ++j) {
        const Candidate list = s.found[j];
        found.clear();
        estimates.clear();
        lists.scan(list.slot(), kNoList, tables, list.distance(), std::numeric_limits<float>::infinity(), nullptr,
                   simd::kernels(), [&](Slot slot, float estimate) {
                     found.push_back(slot);
                     estimates.push_back(estimate);
                   });
        truth.resize(found.size());
        exact.score(found.data(), found.size(), truth.data());
        const float unit =
            lists.width(list.slot()) * (product ? length : std::sqrt(std::max(list.distance() / part, 0.0f)));
        for (std::size_t m = 0; m < found.size(); ++m) {
          if (unit > 0) sum += std::pow((estimates[m] - truth[m]) / unit, 2.0), ++count;
          if (s.visited.insert(found[m])) s.nearest.push(Candidate(truth[m], found[m]));
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
