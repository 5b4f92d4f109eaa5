#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "disk/build_parts.h"
#include "graph/beam_search.h"
#include "spann/spread.h"
#include "table/vectors.h"

namespace annlib::disk {
namespace {

// What estimates by one bit a dimension are off by where nothing is measured, as Postings::error: for a vector at an
// angle of arccos 0.8 to its code, as of random directions (Gao & Long, RaBitQ, theorem 3.2), it is 0.6.
constexpr float kSignError = 0.75f;
// Vectors from which reaches and errors are learnt, as queries, the lists looked at for each, its neighbours, and those
// whose exact distances are compared with those of their codes.
constexpr std::size_t kLearnt = 128, kLearntLists = 32, kNeighbours = Around::kNearest, kCompared = 32;

float finite(float x) { return std::isfinite(x) ? x : std::numeric_limits<float>::max(); }

Around lists_around(const State& state, std::span<const Candidate> lists, float part) {
  Around around;
  for (const Candidate list : lists) {
    around.lists.push_back({list.distance() / part, 0, state.places[list.slot()].size});
  }
  around.known = std::min(kLearntLists, lists.size());
  around.rows.resize(around.known);
  around.beyond = state.centroids.count() - lists.size();
  return around;
}

}  // namespace

void learn(const Build& b) {
  State& state = b.state;
  const Metric metric = b.params.lists.metric;
  const bool product = metric == Metric::ip;
  const std::size_t queries = std::min(kLearnt, b.n);
  const storage::File lists = storage::File::open(b.path(b.target.lists_name), O_RDONLY);
  const storage::File vectors = storage::File::open(b.path(b.target.vectors_name), O_RDONLY);
  const float part = b.list_codes.part();
  const RowForm form{b.dim, b.params.lists.dtype, metric, b.rows.longest()};
  std::vector<std::array<float, Postings::kReaches>> reaches(queries);
  std::vector<double> errors(queries, 0.0), row_errors(queries, 0.0);
  std::vector<Around> around(queries);
  const auto read = [](const storage::File& file, std::uint64_t offset, std::span<std::byte> out) {
    if (file.read_at(offset, out) != out.size()) throw CorruptError(file.name() + ": shorter than it was written");
  };
  parallel_for(queries, 4, b.target.threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> row(b.dim), truth;
    std::vector<std::byte> raw(b.row_bytes), list, other(b.row_bytes), stored(b.vector_form.vector_bytes());
    struct Seen {
      Slot slot;
      float estimate, unit;
      std::size_t list;
    };
    std::vector<Seen> seen;
    std::vector<Slot> places;
    const auto read_vector = [&](Slot slot, std::vector<std::byte>& out) {
      read(vectors, b.vector_form.offset(b.vector_form.unit(slot)) + b.vector_form.in_unit(slot), stored);
      b.vector_form.get(stored.data(), out.data());
    };
    for (std::size_t i = begin; i < end; ++i) {
      const auto self = static_cast<Slot>(i * b.n / queries);
      read_vector(self, raw);
      b.list_codes.load(raw.data(), form.dtype, row.data());
      const QueryView query{raw.data(), form.dtype, kNoSlot};
      simd::Rows none;
      none.dim = b.dim;
      const Scan exact = exact_scan(form, none, query, s.row);
      const auto distance_of = [&](Slot slot) {
        read_vector(slot, other);
        return score_row(exact, form, other.data());
      };
      QueryBuffer buffer;
      Scan by_code = b.codes.none() ? exact : b.codes.prepare(form, query, row.data(), buffer);
      const simd::BlockQuery tables = b.list_codes.prepare(row.data(), s.tables);
      state.centroids.search(state.fresh, row.data(), tables, std::size_t{1} << (Postings::kReaches - 1), s);
      s.nearest.reset(std::max(kNeighbours, kCompared));
      const float length = std::sqrt(simd::kernels().norm2(row.data(), b.dim));
      seen.clear();
      truth.clear();
      for (std::size_t j = 0; j < std::min(kLearntLists, s.found.size()); ++j) {
        const ListPlace& place = state.places[s.found[j].slot()];
        if (place.size == 0) continue;
        list.resize(b.list_form.bytes(place.size));
        read(lists, place.offset, list);
        const float distance = s.found[j].distance();
        const float unit = place.width * (product ? length : std::sqrt(std::max(distance / part, 0.0f)));
        places.clear();
        const auto see = [&](std::uint32_t at, Slot slot, float estimate) {
          places.push_back(at);
          seen.push_back({slot, estimate, unit, j});
        };
        if (b.list_form.has_signs()) {
          scan_blocks(
              list.data(), place.size, b.list_form.stride(), tables, distance, std::numeric_limits<float>::infinity(),
              nullptr, simd::kernels(), [] {}, see);
        } else {
          for (std::uint32_t at = 0; at < place.size; ++at)
            see(at, b.list_form.slot(std::as_const(list).data(), at), 0);
        }
        const std::size_t known = truth.size();
        truth.resize(seen.size());
        if (b.codes.none()) {
          for (std::size_t m = known; m < seen.size(); ++m) truth[m] = distance_of(seen[m].slot);
        } else if (!b.codes.raw()) {
          b.codes.at(by_code, b.list_form.rows(list.data(), place.size));
          by_code.score(places.data(), places.size(), truth.data() + known);
        } else {
          for (std::size_t m = known; m < seen.size(); ++m) {
            truth[m] = score_row(
                exact, form, b.list_form.rows(list.data(), place.size) + places[m - known] * b.list_form.row_bytes());
          }
        }
      }
      double sum = 0, count = 0;
      std::vector<Candidate> all;
      for (std::size_t m = 0; m < seen.size(); ++m) {
        if (seen[m].slot == self) continue;
        if (seen[m].unit > 0) sum += std::pow((seen[m].estimate - truth[m]) / seen[m].unit, 2.0), ++count;
        all.emplace_back(truth[m], seen[m].slot);
      }
      if (count > 0) errors[i] = sum / count;
      around[i] = lists_around(state, s.found, part);
      std::unordered_set<Slot> met{self};
      for (std::size_t m = 0; m < seen.size(); ++m) {
        if (met.insert(seen[m].slot).second) around[i].rows[seen[m].list].push_back(truth[m] / part);
      }
      std::sort(all.begin(), all.end());
      all.erase(std::unique(all.begin(), all.end()), all.end());
      const std::size_t compared = std::min(kCompared, all.size());
      sum = 0;
      for (std::size_t m = 0; m < compared && !b.codes.none() && !b.codes.raw(); ++m) {
        sum += std::pow(all[m].distance() - distance_of(all[m].slot()), 2.0);
      }
      if (compared > 0) row_errors[i] = sum / static_cast<double>(compared);
      const float kth = all.empty() ? 0.0f : all[std::min(kNeighbours, all.size()) - 1].distance();
      for (std::size_t r = 0; r < Postings::kReaches; ++r) {
        const float distance = s.found[std::min(std::size_t{1} << r, s.found.size()) - 1].distance();
        reaches[i][r] = finite(product ? (distance - kth) / length : kth > 0 ? distance / kth : 1.0f);
      }
    }
  });
  const auto root_of_mean = [&](const std::vector<double>& squares) {
    const double sum = std::accumulate(squares.begin(), squares.end(), 0.0);
    return finite(static_cast<float>(std::sqrt(sum / static_cast<double>(queries))));
  };
  state.error = b.list_form.has_signs() ? root_of_mean(errors) : kSignError;
  state.row_error = root_of_mean(row_errors);
  state.reach.resize(Postings::kReaches);
  for (std::size_t r = 0; r < Postings::kReaches; ++r) {
    const auto middle = reaches.begin() + static_cast<std::ptrdiff_t>(queries / 2);
    std::nth_element(reaches.begin(), middle, reaches.end(), [r](auto& x, auto& y) { return x[r] < y[r]; });
    state.reach[r] = (*middle)[r];
  }
  if (product) return;
  // Of a list on disk it is not known how far its own rows are.
  const float radius = typical_radius(around);
  for (Around& query : around) {
    for (Around::List& list : query.lists) list.radius = radius;
  }
  state.spread = learn_spread(around, state.replicas, Postings::kReaches);
}

}  // namespace annlib::disk
