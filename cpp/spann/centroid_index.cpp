#include "spann/centroid_index.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace annlib {
namespace {

// By their codes, so many more lists are looked at than are asked for.
constexpr std::size_t spare(std::size_t n) { return n + n / 4 + 8; }
// Exact distances of centroids are computed so many at a time.
constexpr std::size_t kBlock = 256;

}  // namespace

Scan CentroidIndex::exact(const PostingLists& lists, const float* row) const {
  const bool product = table_->metric() == Metric::ip;
  Scan scan;
  scan.scorer = simd::kernels().scorer(product ? simd::Op::dot : simd::Op::l2, simd::Pair::f32_f32, simd::Tail::none);
  scan.query.data = row;
  scan.query.b = product ? -1.0f : table_->metric() == Metric::cosine ? 0.5f : 1.0f;
  scan.rows.data = reinterpret_cast<const std::byte*>(lists.centroids().data());
  scan.rows.stride = table_->dim() * sizeof(float);
  scan.rows.dim = table_->dim();
  scan.rows.prefetch_bytes = static_cast<std::uint32_t>(std::min<std::size_t>(scan.rows.stride, 512));
  return scan;
}

void CentroidIndex::build(const PostingLists& lists, int threads) {
  codes_ = PostingLists(table_->dim(), table_->metric());
  graph_.reset();
  const std::uint32_t dim = table_->dim();
  std::vector<Slot> numbers;
  for (std::uint32_t l = 0; l < lists.count(); ++l) {
    if (lists.size(l) > 0) numbers.push_back(l);
  }
  if (numbers.empty()) return;
  std::vector<float> centroids(numbers.size() * dim);
  std::vector<double> sum(dim, 0.0);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::copy_n(lists.centroid(numbers[i]), dim, centroids.data() + i * dim);
    for (std::uint32_t d = 0; d < dim; ++d) sum[d] += centroids[i * dim + d];
  }
  if (numbers.size() <= kScanned) {
    std::vector<float> mean(dim);
    for (std::uint32_t d = 0; d < dim; ++d) mean[d] = static_cast<float>(sum[d] / static_cast<double>(numbers.size()));
    codes_.add_list(mean.data());
    codes_.append(0, numbers, centroids.data());
    return;
  }
  HnswParams params;
  params.dim = dim;
  params.metric = table_->metric() == Metric::ip ? Metric::ip : Metric::l2;
  params.ef_construction = 100;
  graph_ = std::make_unique<HnswIndex>(params);
  std::vector<std::int64_t> ids(numbers.begin(), numbers.end());
  graph_->add({centroids.data(), DType::f32, ids.size(), dim}, ids, OnConflict::raise, threads, {});
}

void CentroidIndex::add(const PostingLists& lists, std::uint32_t list) {
  const float* centroid = lists.centroid(list);
  if (graph_) {
    const std::int64_t id = list;
    graph_->add({centroid, DType::f32, 1, table_->dim()}, {&id, 1}, OnConflict::update, 1, {});
    return;
  }
  if (codes_.count() == 0) codes_.add_list(centroid);
  codes_.remove(0, list);
  codes_.append(0, {&list, 1}, centroid);
}

void CentroidIndex::remove(std::uint32_t list) {
  const std::int64_t id = list;
  graph_ ? graph_->remove({&id, 1}, 1) : codes_.remove(0, list);
}

void CentroidIndex::search(const PostingLists& lists, const float* row, const simd::BlockQuery& tables, std::size_t n,
                           Scratch& s) const {
  s.found.clear();
  n = std::min(n, count());
  if (n == 0) return;
  const Scan scan = exact(lists, row);
  if (graph_) {
    std::vector<std::int64_t> ids(n);
    std::int64_t given = 0;
    SearchRequest request;
    request.k = n;
    request.ef = spare(n);
    request.threads = 1;
    const float part = table_->metric() == Metric::cosine ? 0.5f : 1.0f;
    s.need(n);
    s.cost += graph_->search({row, DType::f32, 1, table_->dim()}, request, {ids.data(), s.distances.data(), &given});
    for (std::int64_t i = 0; i < given; ++i) {
      s.found.emplace_back(part * s.distances[static_cast<std::size_t>(i)],
                           static_cast<Slot>(ids[static_cast<std::size_t>(i)]));
    }
    return;
  }
  const std::size_t more = std::min(spare(n), count());
  // The query's distance from the mean, by which all estimates are off alike, is not needed but under ip.
  float base;
  exact(codes_, row).score_range(0, 1, &base);
  s.nearest.reset(more);
  const simd::ScanBlock scan_block = simd::kernels().scan_block;
  float bound = std::numeric_limits<float>::infinity();
  s.cost.estimates += codes_.scan(0, kNoList, tables, base, bound, scan_block, [&](Slot list, float estimate) {
    s.nearest.push(Candidate(estimate, list));
    if (s.nearest.full()) bound = s.nearest.bound().distance();
  });
  std::vector<Slot> all;
  // Estimates of vectors that are too long for floats are no numbers.
  if (s.nearest.sorted().size() < more) codes_.slots_of(0, all);
  s.need(std::max(more, all.size()));
  std::size_t at = 0;
  for (Candidate c : s.nearest.sorted()) s.slots[at++] = c.slot();
  if (!all.empty()) at = static_cast<std::size_t>(std::copy(all.begin(), all.end(), s.slots.begin()) - s.slots.begin());
  scan.score(s.slots.data(), at, s.distances.data());
  s.cost.distances += at;
  for (std::size_t i = 0; i < at; ++i) s.found.emplace_back(s.distances[i], s.slots[i]);
  std::sort(s.found.begin(), s.found.end());
  s.found.resize(std::min(s.found.size(), n));
}

}  // namespace annlib
