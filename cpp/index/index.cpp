#include "index/index.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <shared_mutex>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"

namespace annlib {
namespace {

// Searches give way to a waiting writer after so many queries.
constexpr std::size_t kQueriesPerLock = 256;

}  // namespace

void require_distinct(std::span<const std::int64_t> ids) {
  std::vector<std::int64_t> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) throw ValueError("id " + std::to_string(*twice) + " stands twice in one call");
}

void require_rows(const Columns& attributes, std::size_t n) {
  if (attributes.empty() || attributes.slots() == n) return;
  throw ValueError("got " + std::to_string(n) + " items and attributes of " + std::to_string(attributes.slots()));
}

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

Index::Index(std::uint32_t dim, DType dtype, Metric metric, bool keep_vectors)
    : dim_(dim), dtype_(dtype), metric_(metric), keep_vectors_(keep_vectors) {
  if (dim == 0 || dim > (1u << 20)) {
    throw ValueError("dim must be between 1 and " + std::to_string(1u << 20) + ", got " + std::to_string(dim));
  }
}

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

void Index::check_block(const VectorBlock& block, const std::string& what) const {
  if (block.dim != dim_) {
    throw ValueError(what + " have dim " + std::to_string(block.dim) + ", the index has dim " + std::to_string(dim_));
  }
  require_finite(block, what);
}

void Index::add(const VectorBlock& vectors, std::span<const std::int64_t> ids, OnConflict on_conflict, int threads,
                const Progress& progress, const Columns& attributes) {
  check_block(vectors, "vectors");
  if (ids.size() != vectors.count) {
    throw ValueError("got " + std::to_string(vectors.count) + " vectors and " + std::to_string(ids.size()) + " ids");
  }
  for (std::int64_t id : ids) {
    if (id < 0) throw ValueError("ids must be non-negative, got " + std::to_string(id));
  }
  require_distinct(ids);
  require_rows(attributes, ids.size());
  std::lock_guard writer(writer_);
  require_fit(table().columns(), attributes);
  Lookup lookup;
  lookup.attributes = &attributes;
  lookup.old.reserve(ids.size());
  for (std::int64_t id : ids) {
    const Slot slot = table().find(id);
    if (slot != kNoSlot && on_conflict == OnConflict::raise) {
      throw KeyError("id " + std::to_string(id) +
                     " is in the index already; update() replaces it, and so does add(..., "
                     "on_conflict=\"update\")");
    }
    lookup.old.push_back(slot);
    lookup.any |= slot != kNoSlot;
  }
  if (ids.empty()) return;
  insert(vectors, ids, lookup, threads, progress);
}

void Index::update(const VectorBlock& vectors, std::span<const std::int64_t> ids, int threads, const Progress& progress,
                   const Columns& attributes) {
  {
    std::shared_lock reading(lock_);
    slots_of(ids);
  }
  add(vectors, ids, OnConflict::update, threads, progress, attributes);
}

void Index::remove(std::span<const std::int64_t> ids, int threads) {
  require_distinct(ids);
  std::lock_guard writer(writer_);
  const std::vector<Slot> slots = slots_of(ids);
  if (!slots.empty()) erase(slots, threads);
}

std::vector<Slot> Index::slots_of(std::span<const std::int64_t> ids) const {
  std::vector<Slot> slots;
  slots.reserve(ids.size());
  for (std::int64_t id : ids) {
    slots.push_back(table().find(id));
    if (slots.back() == kNoSlot) throw KeyError("id " + std::to_string(id) + " is not in the index");
  }
  return slots;
}

void Index::compact(int threads, const Progress& progress) {
  std::lock_guard writer(writer_);
  rebuild(threads, progress);
}

template <class Body>
SearchCost Index::for_queries(const VectorBlock& queries, const SearchRequest& request, Body&& body) const {
  check_block(queries, "queries");
  SearchCost total;
  std::mutex total_mutex;
  // A filter is evaluated once and describes one state of the index, so its batch is searched in that state.
  const std::size_t stretch = request.filter != nullptr ? std::max<std::size_t>(queries.count, 1) : kQueriesPerLock;
  for (std::size_t first = 0; first < queries.count; first += stretch) {
    const std::size_t n = std::min(stretch, queries.count - first);
    std::shared_lock reading(lock_);
    Passing passing{nullptr, table().live(), nullptr};
    if (request.filter != nullptr) passing = request.filter->evaluate(table(), filters_);
    parallel_for(n, 4, request.threads, [&](std::size_t begin, std::size_t end, int) {
      Lease lease(*this);
      Scratch& s = *lease;
      s.cost = SearchCost();
      for (std::size_t i = first + begin; i < first + end; ++i) {
        s.found.clear();
        const Slot left_out = request.left_out.empty() ? kNoSlot : table().find(request.left_out[i]);
        body(i, QueryView{queries.row(i), queries.dtype, left_out}, passing, s);
      }
      std::lock_guard guard(total_mutex);
      total += s.cost;
    });
  }
  return total;
}

SearchCost Index::search(const VectorBlock& queries, const SearchRequest& request, const SearchOutput& out) const {
  const std::size_t k = request.k;
  return for_queries(queries, request, [&](std::size_t i, const QueryView& query, const Passing& passing, Scratch& s) {
    const SearchCost before = s.cost;
    PlanReport report;
    if (passing.count > 0) report = search_one(query, request, passing, s);
    if (out.plans != nullptr) {
      report.matches = passing.count;
      report.distances = s.cost.distances - before.distances;
      report.hops = s.cost.hops - before.hops;
      report.reranked = s.cost.reranked - before.reranked;
      out.plans[i] = report;
    }
    for (std::size_t j = 0; j < k; ++j) {
      const bool real = j < s.found.size();
      out.ids[i * k + j] = real ? table().id(s.found[j].slot()) : -1;
      out.distances[i * k + j] = real ? reported(s.found[j].distance()) : std::numeric_limits<float>::infinity();
    }
    out.counts[i] = static_cast<std::int64_t>(s.found.size());
  });
}

RadiusResult Index::search_radius(const VectorBlock& queries, float radius, const SearchRequest& request) const {
  if (std::isnan(radius)) throw ValueError("radius is NaN");
  std::vector<std::vector<std::pair<float, std::int64_t>>> found(queries.count);
  RadiusResult result;
  result.cost =
      for_queries(queries, request, [&](std::size_t i, const QueryView& query, const Passing& passing, Scratch& s) {
        if (passing.count > 0) radius_one(query, radius, request, passing.slots.get(), passing.count, s);
        for (Candidate c : s.found) found[i].emplace_back(reported(c.distance()), table().id(c.slot()));
      });
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

// What codes alone make of a distance may fall below the least that there is, and of a query too long for them is NaN.
float Index::reported(float distance) const {
  if (table().keeps_rows()) return distance;
  if (std::isnan(distance)) return std::numeric_limits<float>::infinity();
  return metric_ == Metric::ip ? distance : std::max(distance, 0.0f);
}

void Index::get(std::span<const std::int64_t> ids, std::byte* out) const {
  if (!keep_vectors_) throw ValueError("the vectors are not kept (keep_vectors=False)");
  std::shared_lock reading(lock_);
  const std::size_t bytes = table().vector_bytes();
  for (const Slot slot : slots_of(ids)) {
    std::memcpy(out, table().row(slot), bytes);
    out += bytes;
  }
}

void Index::contains(std::span<const std::int64_t> ids, bool* out) const {
  std::shared_lock reading(lock_);
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = table().find(ids[i]) != kNoSlot;
}

std::vector<std::int64_t> Index::ids() const {
  std::shared_lock reading(lock_);
  std::vector<std::int64_t> result;
  for (Slot slot : table().arrival_order()) result.push_back(table().id(slot));
  return result;
}

std::size_t Index::size() const {
  std::shared_lock reading(lock_);
  return table().live();
}

std::size_t Index::vector_bytes() const {
  std::shared_lock reading(lock_);
  return table().row_bytes().bytes().size();
}

std::size_t Index::code_bytes() const {
  std::shared_lock reading(lock_);
  return codes() != nullptr ? codes()->memory_bytes() : 0;
}

std::size_t Index::memory_bytes() const {
  std::shared_lock reading(lock_);
  return table().memory_bytes() + other_memory_bytes() + filters_.memory_bytes();
}

void Index::with_sections(
    const std::function<void(const std::string&, const std::vector<storage::SectionView>&)>& f) const {
  std::lock_guard writer(writer_);
  std::shared_lock reading(lock_);
  storage::SectionList sections;
  append_sections(sections);
  f(kind(), sections.views());
}

}  // namespace annlib
