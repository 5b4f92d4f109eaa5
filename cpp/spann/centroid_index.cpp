#include "spann/centroid_index.h"

#include <algorithm>
#include <limits>

namespace annlib {
namespace {

// By their codes, so many more lists are looked at than are asked for.
constexpr std::size_t spare(std::size_t n) { return n + n / 2 + 16; }
// One bit a dimension tells too little of fewer, which are scored as fast as they are.
constexpr std::uint32_t kCodedFromDim = 48;
// Centroids of a group.
constexpr std::size_t kGroup = 64;

}  // namespace

Scan CentroidIndex::exact(const PostingLists& lists, const float* row) const {
  const bool product = table_->metric() == Metric::ip;
  Scan scan;
  scan.scorer = simd::kernels().scorer(product ? simd::Op::dot : simd::Op::l2, simd::Pair::f32_f32, simd::Tail::none);
  scan.query.data = row;
  scan.query.b = product ? -1.0f : lists.codes().part();
  scan.rows.data = reinterpret_cast<const std::byte*>(lists.centroids().data());
  scan.rows.stride = table_->dim() * sizeof(float);
  scan.rows.dim = table_->dim();
  scan.rows.prefetch_bytes = static_cast<std::uint32_t>(std::min<std::size_t>(scan.rows.stride, 512));
  return scan;
}

void CentroidIndex::build(const PostingLists& lists, int threads) {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t l = 0; l < lists.count(); ++l) {
    if (lists.size(l) > 0) numbers.push_back(l);
  }
  build(lists, numbers, threads);
}

void CentroidIndex::build(const PostingLists& lists, std::span<const std::uint32_t> numbers, int threads) {
  groups_ = PostingLists(table_->dim(), table_->metric());
  group_.clear();
  graph_.reset();
  count_ = 0;
  const std::uint32_t dim = table_->dim();
  if (numbers.empty()) return;
  count_ = numbers.size();
  group_.resize(lists.count(), kNoList);
  Array<float> centroids(numbers.size() * dim);  // of an Array, and not the heap, nothing is left behind
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::copy_n(lists.centroid(numbers[i]), dim, centroids.data() + i * dim);
  }
  if (numbers.size() <= kScanned) {
    ClusterOptions options;
    options.size = kGroup;
    options.threads = threads;
    const Clusters groups = balanced_clusters({centroids.data(), numbers.size(), dim}, options);
    for (std::size_t g = 0; g < groups.centroids.size() / dim; ++g) groups_.add_list(groups.centroids.data() + g * dim);
    std::vector<std::vector<Slot>> members(groups_.count());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      group_[numbers[i]] = groups.homes[i];
      members[groups.homes[i]].push_back(numbers[i]);
    }
    std::vector<float> vectors;
    for (std::uint32_t g = 0; g < members.size(); ++g) {
      vectors.clear();
      for (Slot list : members[g]) vectors.insert(vectors.end(), lists.centroid(list), lists.centroid(list) + dim);
      groups_.append(g, members[g], vectors.data());
    }
    return;
  }
  for (const std::uint32_t list : numbers) group_[list] = 0;
  HnswParams params;
  params.dim = dim;
  params.metric = table_->metric() == Metric::ip ? Metric::ip : Metric::l2;
  params.ef_construction = 100;
  params.codec = "int8";
  params.keep_vectors = false;  // the lists have them
  graph_ = std::make_unique<HnswIndex>(params);
  std::vector<std::int64_t> ids(numbers.begin(), numbers.end());
  graph_->add({centroids.data(), DType::f32, ids.size(), dim}, ids, OnConflict::raise, threads, {});
}

void CentroidIndex::add(const PostingLists& lists, std::uint32_t list) {
  const float* centroid = lists.centroid(list);
  remove(list);
  if (group_.size() <= list) group_.resize(list + 1, kNoList);
  if (graph_) {
    const std::int64_t id = list;
    graph_->add({centroid, DType::f32, 1, table_->dim()}, {&id, 1}, OnConflict::raise, 1, {});
    group_[list] = 0;
    ++count_;
    return;
  }
  if (groups_.count() == 0) groups_.add_list(centroid);
  std::vector<float> distances(groups_.count());
  CentroidDistances(groups_.centroids().data(), table_->dim()).all(centroid, distances.size(), distances.data());
  const auto group =
      static_cast<std::uint32_t>(std::min_element(distances.begin(), distances.end()) - distances.begin());
  group_[list] = group;
  groups_.append(group, {&list, 1}, centroid);
  ++count_;
}

void CentroidIndex::remove(std::uint32_t list) {
  if (list >= group_.size() || group_[list] == kNoList) return;
  if (graph_) {
    const std::int64_t id = list;
    graph_->remove({&id, 1}, 1);
  } else {
    groups_.remove(group_[list], list);
  }
  group_[list] = kNoList;
  --count_;
}

void CentroidIndex::search(const PostingLists& lists, const float* row, const simd::BlockQuery& tables, std::size_t n,
                           Scratch& s) const {
  s.found.clear();
  n = std::min(n, count());
  if (n == 0) return;
  const Scan scan = exact(lists, row);
  const std::size_t more = std::min(spare(n), count());
  const auto cut = [&] {
    const auto end = s.found.begin() + static_cast<std::ptrdiff_t>(std::min(n, s.found.size()));
    std::partial_sort(s.found.begin(), end, s.found.end());
    s.found.erase(end, s.found.end());
  };
  // Of those that codes show to be near.
  const auto rank = [&](std::size_t near) {
    scan.score(s.slots.data(), near, s.distances.data());
    s.cost.distances += near;
    for (std::size_t i = 0; i < near; ++i) s.found.emplace_back(s.distances[i], s.slots[i]);
    cut();
  };
  if (graph_) {
    std::vector<std::int64_t> ids(more);
    std::int64_t given = 0;
    SearchRequest request;
    request.k = request.ef = more;
    request.threads = 1;
    s.need(more);
    s.cost += graph_->search({row, DType::f32, 1, table_->dim()}, request, {ids.data(), s.distances.data(), &given});
    std::copy_n(ids.begin(), given, s.slots.begin());
    return rank(static_cast<std::size_t>(given));
  }
  if (table_->dim() < kCodedFromDim) {
    s.need(lists.count());
    scan.score_range(0, lists.count(), s.distances.data());
    s.cost.distances += lists.count();
    for_each([&](std::uint32_t list) { s.found.emplace_back(s.distances[list], list); });
    return cut();
  }
  s.need(groups_.count());
  exact(groups_, row).score_range(0, groups_.count(), s.distances.data());
  s.lists.reset(more);
  float bound = std::numeric_limits<float>::infinity();
  for (std::uint32_t g = 0; g < groups_.count(); ++g) {
    const std::uint32_t next = g + 1 < groups_.count() ? g + 1 : kNoList;
    s.cost.estimates +=
        groups_.scan(g, next, tables, s.distances[g], bound, nullptr, simd::kernels(), [&](Slot list, float estimate) {
          s.lists.push(Candidate(estimate, list));
          if (s.lists.full()) bound = s.lists.bound().distance();
        });
  }
  std::vector<Slot> all;
  // Estimates of vectors that are too long for floats are no numbers.
  if (s.lists.sorted().size() < more) for_each([&](std::uint32_t list) { all.push_back(list); });
  s.need(std::max(more, all.size()));
  std::size_t at = 0;
  for (Candidate c : s.lists.sorted()) s.slots[at++] = c.slot();
  if (!all.empty()) at = static_cast<std::size_t>(std::copy(all.begin(), all.end(), s.slots.begin()) - s.slots.begin());
  rank(at);
}

void CentroidIndex::search_squared(const PostingLists& lists, const float* row, std::size_t n, Scratch& s,
                                   std::vector<NearCentroid>& near) const {
  near.clear();
  if (table_->metric() == Metric::ip) {
    s.need(lists.count());
    CentroidDistances(lists.centroids().data(), lists.dim()).all(row, lists.count(), s.distances.data());
    for_each([&](std::uint32_t list) { near.push_back({s.distances[list], list}); });
    n = std::min(n, near.size());
    std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(n), near.end());
    near.resize(n);
    return;
  }
  search(lists, row, lists.codes().prepare(row, s.tables), n, s);
  for (Candidate c : s.found) near.push_back({c.distance() / lists.codes().part(), c.slot()});
}

void CentroidIndex::rank(const PostingLists& lists, const float* row, std::span<const std::uint32_t> numbers,
                         Scratch& s) const {
  s.found.clear();
  s.need(numbers.size());
  exact(lists, row).score(numbers.data(), numbers.size(), s.distances.data());
  s.cost.distances += numbers.size();
  for (std::size_t i = 0; i < numbers.size(); ++i) s.found.emplace_back(s.distances[i], numbers[i]);
  std::sort(s.found.begin(), s.found.end());
}

}  // namespace annlib
