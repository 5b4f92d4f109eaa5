#include "spann/spread.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace annlib {
namespace {

// Numbers of dimensions that rows may be spread over: the first, how many there are, and the ratio of one to the next.
constexpr double kFirstDims = 2, kDimsRatio = 1.15;
constexpr std::size_t kDimsTried = 60;
float dims_tried(std::size_t i) { return static_cast<float>(kFirstDims * std::pow(kDimsRatio, i)); }

// What a filter lets pass may lie apart from a query: not in the first of the lists that are known, of so many one.
constexpr std::size_t kAround = 4;

// In how many dimensions rows are spread, if that is to make it most likely that the nearest lie in the lists that they
// do: of those known, all or but for the first of them.
float likeliest_dims(std::span<const Around> queries, bool apart) {
  std::array<double, kDimsTried> likely{};
  for (const Around& query : queries) {
    const std::size_t skipped = apart ? query.known / kAround : 0;
    const float kth = query.kth(skipped);
    std::vector<double> near;
    for (std::size_t i = skipped; i < query.known; ++i) near.push_back(static_cast<double>(query.near(i, kth)));
    for (std::size_t d = 0; d < likely.size(); ++d) {
      ExpectedRest rest(dims_tried(d));
      query.expect(skipped, query.known, rest);
      double all = 0, found = 0;
      for (std::size_t i = 0; i < near.size(); ++i) {
        const double weight = std::max(rest.weight(i, kth), std::numeric_limits<double>::min());
        all += static_cast<double>(query.lists[skipped + i].size) * weight;
        found += near[i];
        likely[d] += near[i] * std::log(weight);
      }
      if (all > 0) likely[d] -= found * std::log(all);
    }
  }
  return dims_tried(static_cast<std::size_t>(std::max_element(likely.begin(), likely.end()) - likely.begin()));
}

// The share of the nearest rows that are in none of the first 1, 2, 4 ... lists: of those known, and as expected of
// all.
struct Left {
  double known = 0, expected = 0;
};
std::vector<Left> left_by(std::span<const Around> queries, std::size_t rests, float dims) {
  std::vector<Left> left(rests);
  double all = 0;
  for (const Around& query : queries) {
    const float kth = query.kth(0);
    std::vector<double> near;
    for (std::size_t i = 0; i < query.known; ++i) near.push_back(static_cast<double>(query.near(i, kth)));
    ExpectedRest rest(dims);
    query.expect(0, query.lists.size(), rest);
    rest.beyond(query.beyond);
    double unseen = std::accumulate(near.begin(), near.end(), 0.0);
    all += unseen;
    std::size_t scanned = 0;
    for (std::size_t r = 0; r < rests; ++r) {
      for (; scanned < std::min(std::size_t{1} << r, query.lists.size()); ++scanned) {
        rest.scanned(query.lists[scanned].size);
        if (scanned < near.size()) unseen -= near[scanned];
      }
      left[r].known += unseen;
      left[r].expected += rest.share(kth);
    }
  }
  for (Left& one : left) {
    one.known = all > 0 ? one.known / all : 0;
    one.expected /= static_cast<double>(queries.size());
  }
  return left;
}

}  // namespace

float at_lists(std::span<const float> known, double lists) {
  const double at = std::clamp(std::log2(std::max(lists, 1.0)), 0.0, static_cast<double>(known.size() - 1));
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, known.size() - 1);
  return std::lerp(known[low], known[high], static_cast<float>(at - static_cast<double>(low)));
}

void Spread::append_section(const std::string& name, storage::SectionList& sections) const {
  std::vector<float> all(rests);
  all.insert(all.end(), {radius, dims});
  sections.add_copy(name, storage::ElementType::f32, all);
}

void Spread::restore(const storage::Container& file, const std::string& name, std::size_t count) {
  rests = storage::read_vector<float>(file, name, storage::ElementType::f32);
  const bool numbers = std::all_of(rests.begin(), rests.end(), [](float x) { return std::isfinite(x) && x >= 0; });
  if (rests.size() != count + 2 || !numbers || rests.back() == 0) {
    throw CorruptError("what was learnt of where rows lie makes no sense");
  }
  dims = rests.back();
  rests.pop_back();
  radius = rests.back();
  rests.pop_back();
}

float Around::kth(std::size_t skipped) const {
  std::vector<float> all;
  for (std::size_t i = skipped; i < known; ++i) all.insert(all.end(), rows[i].begin(), rows[i].end());
  if (all.empty()) return 0;
  const std::size_t last = std::min(kNearest, all.size()) - 1;
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(last), all.end());
  return all[last];
}

std::size_t Around::near(std::size_t list, float kth) const {
  const std::vector<float>& own = rows[list];
  return static_cast<std::size_t>(std::count_if(own.begin(), own.end(), [&](float row) { return row <= kth; }));
}

void Around::expect(std::size_t first, std::size_t last, ExpectedRest& rest) const {
  for (std::size_t i = first; i < std::min(last, lists.size()); ++i) {
    rest.expect(lists[i].distance, lists[i].radius, lists[i].size);
  }
}

float typical_radius(std::span<const Around> queries) {
  double squares = 0;
  for (const Around& query : queries) {
    squares += query.lists.empty() ? 0.0 : static_cast<double>(query.lists.front().distance);
  }
  const double radius = std::sqrt(squares / static_cast<double>(std::max<std::size_t>(queries.size(), 1)));
  return std::isfinite(radius) ? static_cast<float>(radius) : std::numeric_limits<float>::max();
}

Spread learn_spread(std::span<const Around> queries, std::size_t replicas, std::size_t rests) {
  Spread spread;
  spread.rests.assign(rests, 0.0f);
  if (queries.empty()) return spread;
  std::size_t known = std::numeric_limits<std::size_t>::max();
  for (const Around& query : queries) known = std::min(known, query.known);
  spread.radius = typical_radius(queries);
  spread.dims = std::min(likeliest_dims(queries, false), likeliest_dims(queries, true));
  const std::vector<Left> left = left_by(queries, rests, spread.dims);
  // Rows that stand in several lists are expected in each, but left only where none of these is scanned: there what is
  // known is what counts, as far as it goes. Otherwise searches are off by as much as this is, and it does not matter.
  double ratio = 1;
  for (std::size_t r = 0; r < rests; ++r) {
    const auto [seen, expected] = left[r];
    if (replicas > 1 && (std::size_t{2} << r) <= known && expected > 0) ratio = std::min(ratio, seen / expected);
    spread.rests[r] = static_cast<float>(ratio * expected);
  }
  return spread;
}

}  // namespace annlib
