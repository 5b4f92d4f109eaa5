#include "hnsw/state.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "core/parallel.h"
#include "core/random.h"

namespace annlib {
namespace {

// But for rounding, to half precision or by code.
bool same_length(double a, double b) {
  constexpr double kSame = 0.01;
  return std::fabs(a - b) <= kSame * b;
}

}  // namespace

HnswState::HnswState(const HnswParams& params, DType stored, bool fused, bool codes_alone)
    : table(params.dim, stored, params.metric),
      neighbour_codes(fused ? std::make_unique<NeighbourCodes>(table, 2 * params.m) : nullptr),
      graph(params.m, fused ? neighbour_codes->bytes() : 0),
      codes_alone(codes_alone) {
  if (std::unique_ptr<Codec> made = make_codec(params.codec_for(stored).name, params.metric, params.dim)) {
    codes = std::make_unique<CodeSpace>(table, std::move(made), codes_alone);
  }
}

std::size_t HnswState::memory_bytes() const {
  std::size_t filter_bytes = 0;
  for (const auto& [name, index] : filter_indexes) filter_bytes += index->memory_bytes();
  if (filter_lists) filter_bytes += filter_lists->memory_bytes();
  return filter_bytes + graph.memory_bytes() + nodes.words().bytes().size() + twins.memory_bytes() +
         (codes ? codes->memory_bytes() : 0);
}

Reach HnswState::reach(std::size_t k, std::size_t ef, float query_length) const {
  // Far from all the data, distances hardly grow with the rank, and a factor on them takes in everything.
  constexpr std::size_t kMostForEf = 4;
  const float doublings = std::log2(static_cast<float>(ef) / static_cast<float>(2 * k));
  const float error =
      codes && !codes_alone ? codes->error() : 0.0f;  // by which the k-th distance may well be too small
  const float times = std::exp2(spread * doublings);
  if (table.metric() != Metric::ip) return {times, error, 0, kMostForEf * ef, 0.0f};
  // Products, and what they differ by, are proportional to the query's length.
  const float scaled = length > 0 ? query_length / length : 1.0f, origin = -length * query_length;
  const bool finite = std::isfinite(scaled) && std::isfinite(origin);
  if (one_length && finite) return {times, error * scaled, 0, kMostForEf * ef, origin};
  const float beyond = (one_length ? 0.0f : spread * doublings) + error;
  return {1.0f, finite ? beyond * scaled : beyond, ef, kMostForEf * ef, 0.0f};
}

void HnswState::measure_lengths(std::span<const Slot> nodes, int threads) {
  length = 0.0f;
  one_length = false;
  if (table.metric() != Metric::ip || nodes.empty()) return;
  std::vector<float> lengths(nodes.size());
  parallel_for(nodes.size(), 1024, threads, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> row(table.dim());
    for (std::size_t i = begin; i < end; ++i) {
      truth().load(nodes[i], row.data());
      lengths[i] = std::sqrt(simd::kernels().norm2(row.data(), row.size()));
    }
  });
  const double mean = std::accumulate(lengths.begin(), lengths.end(), 0.0) / static_cast<double>(lengths.size());
  if (!(mean > 0) || !std::isfinite(static_cast<float>(mean))) return;
  length = static_cast<float>(mean);
  one_length = std::all_of(lengths.begin(), lengths.end(), [&](float own) { return same_length(own, length); });
}

bool HnswState::of_one_length(RowView row) const {
  return same_length(std::sqrt(sum_of_squares(row.data, row.dtype, table.dim())), length);
}

float HnswState::measure_spread(const Space& space, std::span<const Slot> nodes, bool one_length) const {
  constexpr std::size_t kSample = 128, kNear = 10, kDoublings = 3, kFar = kNear << kDoublings;
  const bool differences = table.metric() == Metric::ip && !one_length;
  const double least = one_length ? -static_cast<double>(length) * length : 0.0;
  Scratch s;
  double sum = 0;
  std::size_t n = 0;
  for (std::size_t i = 0; i < kSample && nodes.size() > kFar; ++i) {
    const Slot node = nodes[to_below(random64(0, 4, i), static_cast<std::uint32_t>(nodes.size()))];
    const Scan scan = space.prepare_row(node, s.query);
    s.visited.reset(graph.slots());
    s.visited.insert(node);
    s.pool.reset(2 * kFar);
    enter(scan, graph.approach(scan, 0, s), AcceptAll{}, s);
    beam_search(graph.layer(0), scan, s);
    if (s.pool.size() < kFar) continue;
    const double near = s.pool[kNear - 1].distance() - least, far = s.pool[kFar - 1].distance() - least;
    if (!differences && !(near > 0)) continue;
    sum += differences ? far - near : std::log2(far / near);
    ++n;
  }
  const double mean = n > 0 ? sum / static_cast<double>(n * kDoublings) : 0.0;
  return std::isfinite(mean) ? static_cast<float>(mean) : 0.0f;
}

void HnswState::grow_to_table() {
  graph.resize(table.slots());
  nodes.resize(table.slots());
  if (codes) codes->grow();
}

std::unique_ptr<CodeSpace> HnswState::retrained(std::span<const Slot> slots, int threads) const {
  auto fresh =
      std::make_unique<CodeSpace>(table, make_codec(codes->codec().name(), table.metric(), table.dim()), codes_alone);
  fresh->train(truth(), slots, threads);
  if (!fresh->finite()) fresh.reset();
  return fresh;
}

void HnswState::learn_neighbours(std::span<const Slot> nodes) {
  constexpr std::size_t kSample = 16384, kNodes = 1024;
  const Layer layer = graph.layer(0);
  std::vector<std::pair<Slot, Slot>> edges;
  for (Slot node : nodes.first(std::min(kNodes, nodes.size()))) {
    for (std::uint32_t j = 0; j < layer.degree(node); ++j) edges.emplace_back(node, layer.links(node)[j]);
  }
  neighbour_codes->learn(truth(), nodes.first(std::min(kSample, nodes.size())), edges);
}

void HnswState::encode_neighbours(std::span<const Slot> nodes, int threads, const Grower::Publish& publish) {
  constexpr std::size_t kAtOnce = 1024;
  const Layer layer = graph.layer(0);
  const std::size_t bytes = neighbour_codes->bytes();
  Array<std::byte> made(std::min(kAtOnce, nodes.size()) * bytes);
  for (std::size_t first = 0; first < nodes.size(); first += kAtOnce) {
    const std::size_t n = std::min(kAtOnce, nodes.size() - first);
    parallel_for(n, 8, threads, [&](std::size_t begin, std::size_t end, int) {
      QueryBuffer buffer;
      for (std::size_t i = begin; i < end; ++i) {
        const Slot node = nodes[first + i];
        neighbour_codes->encode(truth(), node, layer.links(node), layer.degree(node), &made[i * bytes], buffer);
      }
    });
    publish([&] {
      for (std::size_t i = 0; i < n; ++i) std::memcpy(layer.codes(nodes[first + i]), &made[i * bytes], bytes);
    });
  }
}

}  // namespace annlib
