#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "index/index.h"
#include "index/timing.h"

namespace annlib {
namespace {

// Searches without filters give way to a waiting writer after so many queries.
constexpr std::size_t kQueriesPerLock = 256;
// Queries of a group that one thread takes at a time: enough to share what they look at, few enough to keep their
// pools in its cache.
constexpr std::size_t kLeastChunk = 4, kMostChunk = 128;
// Sets of so many bytes, were they all bitmaps, are held at once, beside those that the cache keeps.
constexpr std::size_t kSetBytes = std::size_t{64} << 20;

}  // namespace

/// A scratch out of the index's store, for as long as a thread works on one chunk of queries.
class Index::Lease {
 public:
  explicit Lease(const Index& index) : index_(index), scratch_(index.borrow()) {}
  ~Lease() { index_.give_back(std::move(scratch_)); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Scratch& operator*() { return *scratch_; }

 private:
  const Index& index_;
  std::unique_ptr<Scratch> scratch_;
};

std::unique_ptr<Scratch> Index::borrow() const {
  std::lock_guard guard(scratch_mutex_);
  if (scratches_.empty()) return std::make_unique<Scratch>();
  std::unique_ptr<Scratch> scratch = std::move(scratches_.back());
  scratches_.pop_back();
  return scratch;
}

void Index::give_back(std::unique_ptr<Scratch> scratch) const {
  std::lock_guard guard(scratch_mutex_);
  scratches_.push_back(std::move(scratch));
}

// Filters that come to the same, of which the cache gives one set, share a group.
std::vector<Index::Group> Index::evaluated(std::span<const RowFilter> filters,
                                           std::span<const std::vector<std::size_t>> queries, int threads) const {
  std::vector<Passing> passing(filters.size());
  parallel_for(filters.size(), 1, threads, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t f = begin; f < end; ++f) passing[f] = filters[f].evaluate(table(), filters_);
  });
  std::vector<Group> groups;
  std::unordered_map<const SlotSet*, std::size_t> known;
  for (std::size_t f = 0; f < filters.size(); ++f) {
    const auto [at, fresh] = known.try_emplace(passing[f].slots.get(), groups.size());
    if (fresh) groups.push_back({passing[f], {}});
    std::vector<std::size_t>& members = groups[at->second].queries;
    members.insert(members.end(), queries[f].begin(), queries[f].end());
  }
  return groups;
}

template <class Body>
SearchCost Index::for_groups(std::span<const Group> groups, int threads, Body&& body) const {
  struct Chunk {
    const Group* group;
    std::span<const std::size_t> queries;
  };
  std::size_t n = 0;
  for (const Group& group : groups) n += group.queries.size();
  std::size_t most = kLeastChunk;
  if (n > kLeastChunk) {
    const auto workers = static_cast<std::size_t>(threads > 0 ? threads : num_threads());
    most = std::clamp(n / (2 * workers), kLeastChunk, kMostChunk);
  }
  std::vector<Chunk> chunks;
  for (const Group& group : groups) {
    std::span<const std::size_t> rest(group.queries);
    for (std::size_t left = (rest.size() + most - 1) / most; left > 0; --left) {
      const std::size_t size = rest.size() / left;
      chunks.push_back({&group, rest.first(size)});
      rest = rest.subspan(size);
    }
  }
  SearchCost total;
  std::mutex total_mutex;
  parallel_for(chunks.size(), 1, threads, [&](std::size_t begin, std::size_t end, int) {
    Lease lease(*this);
    SearchCost cost;
    for (std::size_t c = begin; c < end; ++c) cost += body(chunks[c].queries, chunks[c].group->passing, *lease);
    std::lock_guard guard(total_mutex);
    total += cost;
  });
  return total;
}

// The sum of body(queries, passing, scratch) of some queries under one filter at a time.
template <class Body>
SearchCost Index::for_queries(const VectorBlock& queries, const SearchRequest& request, Body&& body) const {
  check_block(queries, "queries");
  const auto numbers = [](std::size_t first, std::size_t n) {
    std::vector<std::size_t> all(n);
    std::iota(all.begin(), all.end(), first);
    return all;
  };
  const auto unfiltered = [&](std::vector<std::size_t> chosen) {
    const Group all{{nullptr, table().live(), nullptr}, std::move(chosen)};
    return for_groups({&all, 1}, request.threads, body);
  };
  const auto arranged = [&](std::vector<std::size_t> chosen) {
    if (chosen.size() > kLeastChunk) arrange(queries, chosen, request.threads);
    return chosen;
  };
  SearchCost total;
  if (request.filters.empty()) {
    std::vector<std::size_t> order;
    {
      std::shared_lock reading(lock_);
      order = arranged(numbers(0, queries.count));
    }
    for (std::size_t first = 0; first < order.size(); first += kQueriesPerLock) {
      const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
      const std::size_t n = std::min(kQueriesPerLock, order.size() - first);
      std::shared_lock reading(lock_);
      total += unfiltered({begin, begin + static_cast<std::ptrdiff_t>(n)});
    }
    return total;
  }
  std::vector<std::vector<std::size_t>> by_filter(request.filters.size());
  std::vector<std::size_t> without;
  if (request.filter_of.empty()) by_filter.front() = numbers(0, queries.count);
  for (std::size_t i = 0; i < request.filter_of.size(); ++i) {
    const std::uint32_t f = request.filter_of[i];
    (f == kNoFilter ? without : by_filter[f]).push_back(i);
  }
  // Filters describe one state of the index, so their batch is searched in that state.
  std::shared_lock reading(lock_);
  const std::size_t at_once = std::max<std::size_t>(1, kSetBytes / (table().slots() / 8 + 1));
  for (std::size_t first = 0; first < by_filter.size(); first += at_once) {
    const std::size_t n = std::min(at_once, by_filter.size() - first);
    std::vector<Group> groups =
        evaluated(request.filters.subspan(first, n), std::span(by_filter).subspan(first, n), request.threads);
    for (Group& group : groups) group.queries = arranged(std::move(group.queries));
    total += for_groups(groups, request.threads, body);
  }
  if (!without.empty()) total += unfiltered(arranged(std::move(without)));
  return total;
}

SearchCost Index::search(const VectorBlock& queries, const SearchRequest& request, const SearchOutput& out) const {
  const auto write = [&](std::size_t i, const Passing& passing, PlanReport& report, const SearchCost& cost,
                         std::span<const Candidate> found) {
    for (std::size_t j = 0; j < request.k; ++j) {
      const bool real = j < found.size();
      out.ids[i * request.k + j] = real ? table().id(found[j].slot()) : -1;
      out.distances[i * request.k + j] = real ? reported(found[j].distance()) : std::numeric_limits<float>::infinity();
    }
    out.counts[i] = static_cast<std::int64_t>(found.size());
    if (out.plans == nullptr) return;
    report.matches = passing.count;
    report.distances = cost.distances;
    report.hops = cost.hops;
    report.reranked = cost.reranked;
    report.reads = cost.reads;
    report.bytes_read = cost.bytes_read;
    report.cache_hits = cost.cache_hits;
    out.plans[i] = report;
  };
  struct Left {
    std::size_t query;
    PlanReport report;
    SearchCost cost;
  };
  const auto search_chunk = [&](std::span<const std::size_t> chunk, const Passing& passing, Scratch& s) {
    SearchCost total;
    const auto answered = [&](Left& one, std::size_t together) {
      s.found.clear();
      s.cost = one.cost;
      const Clock::time_point begin = out.plans != nullptr ? Clock::now() : Clock::time_point();
      const bool found = passing.count == 0 ||
                         search_one(view(queries, request, one.query), request, passing, together, s, one.report);
      if (out.plans != nullptr) one.report.took += nanoseconds_since(begin);
      one.cost = s.cost;
      if (!found) return false;
      write(one.query, passing, one.report, s.cost, s.found);
      total += s.cost;
      return true;
    };
    std::vector<Left> left;
    for (const std::size_t i : chunk) {
      Left one{i, {}, {}};
      if (!answered(one, chunk.size())) left.push_back(one);
    }
    // What few queries are left to scan for is not the little that it is for many.
    if (request.plan == Plan::automatic && left.size() < chunk.size()) {
      const std::size_t together = left.size();
      std::erase_if(left, [&](Left& one) { return answered(one, together); });
    }
    if (left.empty()) return total;
    std::vector<QueryView> views;
    for (const Left& one : left) views.push_back(view(queries, request, one.query));
    const Clock::time_point begin = Clock::now();
    search_together(views, request, passing, s,
                    [&](std::size_t i, Plan plan, const SearchCost& cost, std::span<const Candidate> found) {
                      left[i].report.plan = plan;
                      left[i].cost += cost;
                      write(left[i].query, passing, left[i].report, left[i].cost, found);
                      total += left[i].cost;
                    });
    if (out.plans != nullptr) {
      const double each = nanoseconds_since(begin) / static_cast<double>(left.size());
      for (const Left& one : left) out.plans[one.query].took += each;
    }
    return total;
  };
  return for_queries(queries, request, search_chunk);
}

void Index::search_together(std::span<const QueryView> queries, const SearchRequest& request, const Passing& filter,
                            Scratch& s, const Answer& answer) const {
  const SlotSet* slots = filter.slots.get();
  const ScanSpaces spaces = scan_spaces(request, slots);
  scan_nearest(spaces, queries, std::min(request.k, filter.count), slots, table().alive_bits(), s);
  const Plan plan = spaces.codes != nullptr ? Plan::scan : Plan::exact;
  for (std::size_t i = 0; i < queries.size(); ++i) answer(i, plan, s.scanned[i].cost, s.scanned[i].nearest.sorted());
}

RadiusResult Index::search_radius(const VectorBlock& queries, float radius, const SearchRequest& request) const {
  if (std::isnan(radius)) throw ValueError("radius is NaN");
  std::vector<std::vector<std::pair<float, std::int64_t>>> found(queries.count);
  RadiusResult result;
  const auto search_chunk = [&](std::span<const std::size_t> chunk, const Passing& passing, Scratch& s) {
    s.cost = SearchCost();
    for (const std::size_t i : chunk) {
      s.found.clear();
      if (passing.count > 0) {
        radius_one(view(queries, request, i), radius, request, passing.slots.get(), passing.count, s);
      }
      for (Candidate c : s.found) found[i].emplace_back(reported(c.distance()), table().id(c.slot()));
    }
    return s.cost;
  };
  result.cost = for_queries(queries, request, search_chunk);
  result.lims.push_back(0);
  for (const auto& one : found) {
    for (const auto& [distance, id] : one) {
      result.ids.push_back(id);
      result.distances.push_back(distance);
    }
    result.lims.push_back(static_cast<std::int64_t>(result.ids.size()));
  }
  return result;
}

QueryView Index::view(const VectorBlock& queries, const SearchRequest& request, std::size_t i) const {
  const Slot left_out = request.left_out.empty() ? kNoSlot : table().find(request.left_out[i]);
  return {queries.row(i), queries.dtype, left_out};
}

// What codes alone make of a distance may fall below the least that there is, and of a query too long for them is NaN.
float Index::reported(float distance) const {
  if (table().keeps_rows()) return distance;
  if (std::isnan(distance)) return std::numeric_limits<float>::infinity();
  return metric_ == Metric::ip ? distance : std::max(distance, 0.0f);
}

}  // namespace annlib
