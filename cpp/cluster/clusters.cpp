#include "cluster/clusters.h"

#include <algorithm>
#include <numeric>

#include "core/parallel.h"
#include "core/random.h"
#include "simd/simd.h"

namespace annlib {
namespace {

constexpr std::size_t kBranches = 32;
constexpr int kRounds = 8;
// The first rounds are for finding out roughly where centres lie: so many rows a centre tell as much as all.
constexpr std::size_t kRowsPerCentroid = 64;
constexpr std::size_t kGrain = 256;
// A cluster of up to so many times the size that is wanted stays whole.
constexpr double kTolerance = 1.25;
// How much dearer than the mean cluster one of twice its rows is, at first, in mean squared distances.
constexpr float kPrice = 0.1f;
constexpr float kLeastPrice = 0.01f, kMostPrice = 2.0f;

void mean_of(const RowMatrix& rows, std::span<const std::uint32_t> members, float* out) {
  std::vector<double> sum(rows.dim, 0.0);
  for (std::uint32_t i : members) {
    for (std::uint32_t d = 0; d < rows.dim; ++d) sum[d] += rows.row(i)[d];
  }
  for (std::uint32_t d = 0; d < rows.dim; ++d)
    out[d] = static_cast<float>(sum[d] / static_cast<double>(members.size()));
}

/// One cluster on its way to becoming several.
class Split {
 public:
  Split(const RowMatrix& rows, std::span<std::uint32_t> members, std::size_t parts, std::uint64_t seed, int threads)
      : rows_(rows),
        members_(members),
        parts_(parts),
        threads_(threads),
        centroids_(parts * rows.dim),
        counts_(parts, 0),
        home_(members.size()) {
    // What is drawn are places among the members, which lie in an order of their own.
    std::vector<std::uint32_t> places(members.size());
    std::iota(places.begin(), places.end(), 0u);
    for (std::size_t i = 0; i < parts; ++i) {
      const auto left = static_cast<std::uint32_t>(places.size() - i);
      std::swap(places[i], places[i + to_below(random64(seed, 11, i), left)]);
      std::copy_n(rows.row(members[places[i]]), rows.dim, centroids_.data() + i * rows.dim);
    }
  }

  /// Sorts the members by part; returns where each part ends.
  std::vector<std::size_t> run() {
    const std::size_t few = std::min(members_.size(), parts_ * kRowsPerCentroid);
    for (int round = 0; round < kRounds; ++round) {
      assign(few);
      move(few);
    }
    assign(members_.size());
    std::vector<std::size_t> ends(parts_, 0);
    for (std::uint32_t home : home_) ++ends[home];
    for (std::size_t p = 1; p < parts_; ++p) ends[p] += ends[p - 1];
    std::vector<std::size_t> next(parts_, 0);
    for (std::size_t p = 1; p < parts_; ++p) next[p] = ends[p - 1];
    std::vector<std::uint32_t> sorted(members_.size());
    for (std::size_t i = 0; i < members_.size(); ++i) sorted[next[home_[i]]++] = members_[i];
    std::copy(sorted.begin(), sorted.end(), members_.begin());
    return ends;
  }

 private:
  // The first n members to the cheapest part, by the sizes of the round before.
  void assign(std::size_t n) {
    const CentroidDistances distances(centroids_.data(), rows_.dim);
    const float ideal = static_cast<float>(counted_) / static_cast<float>(parts_);
    std::vector<float> dearer(parts_, 0.0f);
    for (std::size_t p = 0; p < parts_ && counted_ > 0; ++p) {
      dearer[p] = price_ * mean_ * (static_cast<float>(counts_[p]) / ideal - 1.0f);
    }
    std::vector<double> sums((n + kGrain - 1) / kGrain, 0.0);  // by chunk, so that their order is the same for all
    parallel_for(sums.size(), 1, threads_, [&](std::size_t begin, std::size_t end, int) {
      float out[kBranches];
      for (std::size_t chunk = begin; chunk < end; ++chunk) {
        for (std::size_t i = chunk * kGrain; i < std::min(n, (chunk + 1) * kGrain); ++i) {
          distances.all(rows_.row(members_[i]), parts_, out);
          std::uint32_t best = 0;
          for (std::uint32_t p = 1; p < parts_; ++p) {
            if (out[p] + dearer[p] < out[best] + dearer[best]) best = p;
          }
          home_[i] = best;
          sums[chunk] += out[best];
        }
      }
    });
    std::fill(counts_.begin(), counts_.end(), 0);
    for (std::size_t i = 0; i < n; ++i) ++counts_[home_[i]];
    counted_ = n;
    mean_ = static_cast<float>(std::accumulate(sums.begin(), sums.end(), 0.0) / static_cast<double>(n));
    const auto largest = static_cast<float>(*std::max_element(counts_.begin(), counts_.end()));
    const bool uneven = largest * static_cast<float>(parts_) > 2.0f * static_cast<float>(n);
    price_ = std::clamp(uneven ? price_ * 1.5f : price_ / 1.25f, kLeastPrice, kMostPrice);
  }

  // Centres to the means of their members; one without any to a member of the largest.
  void move(std::size_t n) {
    std::vector<std::vector<std::uint32_t>> own(parts_);
    for (std::size_t i = 0; i < n; ++i) own[home_[i]].push_back(members_[i]);
    parallel_for(parts_, 1, threads_, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t p = begin; p < end; ++p) {
        if (!own[p].empty()) mean_of(rows_, own[p], centroids_.data() + p * rows_.dim);
      }
    });
    const auto largest = std::max_element(counts_.begin(), counts_.end()) - counts_.begin();
    std::size_t from = 0;
    for (std::size_t p = 0; p < parts_; ++p) {
      if (counts_[p] != 0) continue;
      while (from < n && home_[from] != static_cast<std::uint32_t>(largest)) ++from;
      if (from == n) return;
      std::copy_n(rows_.row(members_[from++]), rows_.dim, centroids_.data() + p * rows_.dim);
    }
  }

  const RowMatrix& rows_;
  std::span<std::uint32_t> members_;
  std::size_t parts_;
  int threads_;
  Array<float> centroids_;
  std::vector<std::uint32_t> counts_;
  std::size_t counted_ = 0;
  std::vector<std::uint32_t> home_;
  float price_ = kPrice, mean_ = 0;
};

std::uint32_t nearest(const float* row, const CentroidDistances& distances, const CentroidGraph& graph,
                      std::uint32_t centroid, std::vector<float>& out) {
  for (;;) {
    const auto around = graph.of(centroid);
    distances.some(row, around.data(), around.size(), out.data());
    const auto best = std::min_element(out.begin(), out.end());
    if (!(*best < out.front())) return centroid;  // equal centres would send it to and fro
    centroid = around[static_cast<std::size_t>(best - out.begin())];
  }
}

struct Piece {
  std::size_t begin = 0, end = 0;
};

}  // namespace

Clusters balanced_clusters(const RowMatrix& rows, const ClusterOptions& options) {
  std::vector<std::uint32_t> order(rows.count);
  std::iota(order.begin(), order.end(), 0u);
  std::vector<Piece> whole, next, pieces{{0, rows.count}};
  const auto small = [&](const Piece& piece) {
    return static_cast<double>(piece.end - piece.begin) <= kTolerance * static_cast<double>(options.size);
  };
  for (std::uint64_t level = 0; !pieces.empty(); ++level) {
    std::vector<std::vector<Piece>> parts(pieces.size());
    // Few large pieces are split one after another by all threads, many small ones side by side.
    parallel_for(pieces.size(), 1, options.threads, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t i = begin; i < end; ++i) {
        const Piece piece = pieces[i];
        const std::size_t size = piece.end - piece.begin;
        const std::size_t wanted = (size + options.size - 1) / options.size;
        const std::span<std::uint32_t> members(order.data() + piece.begin, size);
        Split split(rows, members, std::min({wanted, kBranches, size}), random64(options.seed, level, piece.begin),
                    options.threads);
        std::size_t first = 0;
        for (std::size_t last : split.run()) {
          if (last > first) parts[i].push_back({piece.begin + first, piece.begin + last});
          first = last;
        }
        if (parts[i].size() > 1) continue;
        // All of them are equal, or as good as: any split is as good as another.
        parts[i].clear();
        for (std::size_t at = 0; at < size; at += options.size) {
          parts[i].push_back({piece.begin + at, piece.begin + std::min(size, at + options.size)});
        }
      }
    });
    next.clear();
    for (const auto& some : parts) {
      for (const Piece& piece : some) (small(piece) ? whole : next).push_back(piece);
    }
    pieces.swap(next);
  }
  std::sort(whole.begin(), whole.end(), [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  Clusters clusters;
  clusters.centroids.resize(whole.size() * rows.dim);
  clusters.homes.resize(rows.count);
  parallel_for(whole.size(), 16, options.threads, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t c = begin; c < end; ++c) {
      const std::span<const std::uint32_t> members(order.data() + whole[c].begin, whole[c].end - whole[c].begin);
      mean_of(rows, members, clusters.centroids.data() + c * rows.dim);
      for (std::uint32_t i : members) clusters.homes[i] = static_cast<std::uint32_t>(c);
    }
  });
  return clusters;
}

void refine(const RowMatrix& rows, Clusters& clusters, const CentroidGraph& graph, int rounds, int threads) {
  Array<float>& centroids = clusters.centroids;
  std::vector<std::uint32_t>& homes = clusters.homes;
  const std::size_t count = centroids.size() / rows.dim;
  const CentroidDistances distances(centroids.data(), rows.dim);
  for (int round = 0; round < rounds; ++round) {
    parallel_for(rows.count, kGrain, threads, [&](std::size_t begin, std::size_t end, int) {
      std::vector<float> out(graph.width);
      for (std::size_t i = begin; i < end; ++i) homes[i] = nearest(rows.row(i), distances, graph, homes[i], out);
    });
    std::vector<std::vector<std::uint32_t>> members(count);
    for (std::size_t i = 0; i < rows.count; ++i) members[homes[i]].push_back(static_cast<std::uint32_t>(i));
    parallel_for(count, 16, threads, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t c = begin; c < end; ++c) {
        if (!members[c].empty()) mean_of(rows, members[c], centroids.data() + c * rows.dim);
      }
    });
  }
}

}  // namespace annlib
