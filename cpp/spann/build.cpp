#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "spann/home_chooser.h"
#include "spann/spann_index.h"
#include "table/vectors.h"

namespace annlib {
namespace {

// Centres are learnt from so many floats at most: a random sample of larger data.
constexpr std::size_t kSampleFloats = std::size_t{1} << 28;
constexpr std::size_t kGrain = 512;

}  // namespace

std::unique_ptr<SpannState> build_spann(const SpannParams& params, const RowSource& source, int threads,
                                        const Progress& progress) {
  const std::size_t n = source.count;
  const std::uint32_t dim = params.dim;
  auto state = std::make_unique<SpannState>(params);
  if (n == 0) return state;
  const ListCodes& codes = state->lists.codes();
  // Three parts of about the same length.
  const auto report = [&](std::size_t thirds) {
    if (progress) progress(n * thirds / 3, n);
  };
  report(0);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(params.rank(source.id(a)), source.id(a)) < std::pair(params.rank(source.id(b)), source.id(b));
  });
  const std::size_t sampled = std::min(n, std::max<std::size_t>(kSampleFloats / dim, 1));
  Array<float> sample(sampled * dim);
  parallel_for(sampled, kGrain, threads, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) codes.load(source.row(order[i]), params.dtype, sample.data() + i * dim);
  });
  const RowMatrix rows{sample.data(), sampled, dim};
  ClusterOptions options;
  options.size = std::max<std::size_t>(1, params.list_size * sampled / n);
  options.seed = params.seed;
  options.threads = threads;
  const Array<float> centroids = find_centroids(rows, options, [&] { report(1); });
  sample = Array<float>();
  report(2);
  const std::size_t lists = centroids.size() / dim;
  for (std::size_t l = 0; l < lists; ++l) state->lists.add_list(centroids.data() + l * dim);
  const HomeChooser chooser(state->lists, state->centroids, params.metric, threads);
  std::vector<std::uint32_t> homes(n * params.replicas);
  parallel_for(n, kGrain, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(dim);
    std::vector<NearCentroid> near;
    for (std::size_t i = begin; i < end; ++i) {
      codes.load(source.row(order[i]), params.dtype, row.data());
      chooser.choose(row.data(), s, near, {homes.data() + i * params.replicas, params.replicas});
    }
  });
  // By list, so that what is likely to be ranked together lies together.
  std::vector<std::uint32_t> places(n);
  std::iota(places.begin(), places.end(), 0u);
  std::stable_sort(places.begin(), places.end(), [&](std::uint32_t a, std::uint32_t b) {
    return homes[a * params.replicas] < homes[b * params.replicas];
  });
  Table& table = state->table;
  table.reserve(n);
  state->homes.resize(n * params.replicas);
  std::vector<std::size_t> items;
  std::vector<std::vector<Slot>> members(lists);
  for (std::uint32_t place : places) {
    const std::size_t item = order[place];
    const Slot slot = table.append(source.row(item));
    table.reveal(slot, source.id(item), source.arrival(item));
    items.push_back(item);
    for (std::uint32_t r = 0; r < params.replicas; ++r) {
      const std::uint32_t home = homes[place * params.replicas + r];
      state->homes_of(slot)[r] = home;
      if (home != kNoList) members[home].push_back(slot);
    }
  }
  table.renumber_arrivals();
  source.attributes(table.columns(), items);
  for (std::size_t l = 0; l < lists; ++l) {
    state->lists.reserve(static_cast<std::uint32_t>(l), members[l].size());
  }
  parallel_for(lists, 4, threads, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> vectors;
    for (std::size_t l = begin; l < end; ++l) {
      vectors.resize(members[l].size() * dim);
      for (std::size_t i = 0; i < members[l].size(); ++i) {
        codes.load(table.row(members[l][i]), params.dtype, vectors.data() + i * dim);
      }
      state->lists.append(static_cast<std::uint32_t>(l), members[l], vectors.data());
    }
  });
  const auto filled = std::count_if(members.begin(), members.end(), [](const auto& own) { return !own.empty(); });
  // Rows chose among all lists, but what is empty is nobody's.
  if (state->centroids.count() != static_cast<std::size_t>(filled)) state->centroids.build(state->lists, threads);
  state->clustered = n;
  state->learn(threads);
  report(3);
  return state;
}

}  // namespace annlib
