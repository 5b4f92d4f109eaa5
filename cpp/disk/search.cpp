#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "disk/disk_index.h"
#include "disk/probe_batch.h"
#include "table/vectors.h"

namespace annlib::disk {
namespace {

// What is read of vectors for each result, about.
constexpr double kReadEach = 1.5;
// The longest read of a scan.
constexpr std::size_t kScanBytes = std::size_t{256} << 10;
// Units between two that are wanted which a scan reads along.
constexpr std::size_t kGap = 8;
// So many vectors are read one by one, all at the same time; more in long reads.
constexpr std::size_t kReadSingly = 1024;
// What the probes that a thread has at a time take, about.
constexpr std::size_t kProbeBytes = std::size_t{16} << 20;
// Queries that a thread finds the nearest list of at a time.
constexpr std::size_t kArranged = 16;
// The radius where none is asked for.
constexpr float kEverywhere = std::numeric_limits<float>::infinity();
// What a read takes, in nanoseconds, for people who compare plans.
constexpr double kRead = 2e4;

}  // namespace

void DiskIndex::require_open() const {
  if (closed_) throw OsError(EBADF, directory_, "the index in '" + directory_ + "' is closed");
}

// Calls take(slot, row) for slots, which ascend, as their vectors arrive.
template <class Take>
void DiskIndex::for_vectors(std::span<const Slot> slots, SearchCost& cost, Take&& take) const {
  const auto fresh = std::lower_bound(slots.begin(), slots.end(), static_cast<Slot>(state_->on_disk));
  read_vectors(*state_, {slots.begin(), fresh}, cost, take);
  for (auto at = fresh; at != slots.end(); ++at) take(*at, fresh_.row(*at));
}

// The same for all that pass, or live, in long reads past the cache.
void DiskIndex::scan_vectors(const SlotSet* passing, SearchCost& cost,
                             const std::function<void(Slot, const std::byte*)>& take) const {
  const State& state = *state_;
  const VectorForm& form = state.vector_form;
  const storage::File& file = state.vectors_file->reader().file().plain();
  const std::size_t longest = std::max<std::size_t>(1, kScanBytes / form.unit_bytes());
  std::vector<Slot> run;
  std::vector<std::byte> bytes, buffer;
  const auto read = [&] {
    if (run.empty()) return;
    const std::size_t first = form.unit(run.front()), units = form.unit(run.back()) + 1 - first;
    bytes.resize(units * form.unit_bytes());
    if (file.read_at(form.offset(first), bytes) != bytes.size()) {
      throw CorruptError(file.name() + ": ends before the vectors do");
    }
    for (std::size_t u = 0; u < units; ++u) {
      if (checksum(std::span(bytes).subspan(u * form.unit_bytes(), form.unit_bytes())) != state.sums[first + u]) {
        throw CorruptError(file.name() + ": damaged at byte " + std::to_string(form.offset(first + u)));
      }
    }
    ++cost.reads;
    cost.bytes_read += bytes.size();
    for (Slot slot : run) {
      const std::byte* at = bytes.data() + (form.unit(slot) - first) * form.unit_bytes() + form.in_unit(slot);
      take(slot, form.vector(at, buffer));
    }
    run.clear();
  };
  const auto add = [&](std::size_t at) {
    const auto slot = static_cast<Slot>(at);
    if (at >= state.on_disk) {
      read();
      take(slot, fresh_.row(slot));
      return;
    }
    if (!run.empty() &&
        (form.unit(slot) > form.unit(run.back()) + kGap || form.unit(slot) >= form.unit(run.front()) + longest)) {
      read();
    }
    run.push_back(slot);
  };
  passing != nullptr ? passing->for_each(add) : table_.alive_bits().for_each(add);
  read();
}

// The same of all that pass, however many: few are read one by one.
void DiskIndex::for_passing(const SlotSet* passing, std::size_t count, SearchCost& cost,
                            const std::function<void(Slot, const std::byte*)>& take) const {
  if (passing == nullptr || count > kReadSingly) return scan_vectors(passing, cost, take);
  std::vector<Slot> slots;
  passing->for_each([&](std::size_t slot) { slots.push_back(static_cast<Slot>(slot)); });
  for_vectors(slots, cost, take);
}

ProbeView DiskIndex::probe_view(const Bitset& accepted, const SlotSet* passing) const {
  return {*state_, table_, codes_, list_form_, row_form(), accepted, passing};
}

// How many lists are read where so many items pass.
double DiskIndex::lists_read(std::size_t wanted, std::size_t passing) const {
  const double share = static_cast<double>(passing) / static_cast<double>(table_.live());
  return std::min(static_cast<double>(wanted) / share, static_cast<double>(state_->centroids.count()));
}

void DiskIndex::fetch(std::span<const Slot> slots, std::byte* out) const {
  require_open();
  std::vector<Slot> sorted(slots.begin(), slots.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  std::vector<std::pair<Slot, std::size_t>> wanted;
  for (std::size_t i = 0; i < slots.size(); ++i) wanted.emplace_back(slots[i], i);
  std::sort(wanted.begin(), wanted.end());
  SearchCost cost;
  const std::size_t bytes = row_bytes();
  for_vectors(sorted, cost, [&](Slot slot, const std::byte* row) {
    for (auto at = std::lower_bound(wanted.begin(), wanted.end(), std::pair<Slot, std::size_t>(slot, 0));
         at != wanted.end() && at->first == slot; ++at) {
      std::memcpy(out + at->second * bytes, row, bytes);
    }
  });
}

bool DiskIndex::search_one(const QueryView& query, const SearchRequest& request, const Passing& filter, std::size_t,
                           Scratch& s, PlanReport& report) const {
  require_open();
  if (needs_graph(request.plan)) {
    throw ValueError("plan '" + name_of(request.plan) + "': the plans of a SPANN index are auto, exact, scan, walk");
  }
  const SlotSet* passing = filter.slots.get();
  const std::size_t k = std::min(request.k, filter.count), wanted = std::max<std::size_t>(request.ef, 1);
  bool scan = request.plan == Plan::exact || request.plan == Plan::scan || state_->centroids.count() == 0;
  if (request.plan == Plan::automatic && passing != nullptr) {
    // In reads: those of the vectors that pass, or of the lists that it takes to find k of them, and of what is near.
    const double walk = lists_read(wanted, filter.count) + static_cast<double>(k) * kReadEach;
    report.scan_cost = kRead * static_cast<double>(filter.count);
    report.walk_cost = kRead * walk;
    scan = scan || report.scan_cost <= report.walk_cost;
  }
  s.found.clear();
  if (scan) {
    report.plan = Plan::exact;
    simd::Rows no_rows;
    no_rows.dim = dim_;
    const Scan exact = exact_scan(row_form(), no_rows, query, s.row);
    s.nearest.reset(k);
    const auto take = [&](Slot slot, const std::byte* row) {
      if (slot == query.left_out) return;
      if (query.left_out != kNoSlot && std::memcmp(row, query.data, row_bytes()) == 0) return;
      s.nearest.push(Candidate(score_row(exact, row_form(), row), slot));
      ++s.cost.distances;
    };
    for_passing(passing, filter.count, s.cost, take);
    s.found = s.nearest.sorted();
    return true;
  }
  return false;
}

// By the nearest list: lists have numbers by where they lie. Each query looks for its lists again when its turn comes,
// which costs next to nothing beside what is not read twice.
void DiskIndex::arrange(const VectorBlock& queries, std::span<std::size_t> numbers, int threads) const {
  require_open();
  const State& state = *state_;
  if (state.resident != nullptr) return;
  std::vector<std::pair<std::uint32_t, std::size_t>> nearest(numbers.size());
  parallel_for(numbers.size(), kArranged, threads, [&](std::size_t begin, std::size_t end, int) {
    Scratch s;
    std::vector<float> query(dim_);
    for (std::size_t i = begin; i < end; ++i) {
      state.fresh.codes().load(queries.row(numbers[i]), queries.dtype, query.data());
      state.centroids.search(state.fresh, query.data(), state.fresh.codes().prepare(query.data(), s.tables), 1, s);
      nearest[i] = {s.found.empty() ? kNoList : s.found.front().slot(), numbers[i]};
    }
  });
  std::sort(nearest.begin(), nearest.end());
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = nearest[i].second;
}

void DiskIndex::search_together(std::span<const QueryView> queries, const SearchRequest& request, const Passing& filter,
                                Scratch& s, const Answer& answer) const {
  const SlotSet* passing = filter.slots.get();
  std::optional<MarkedSlots> marked;
  if (passing != nullptr) marked.emplace(*passing, s.passing);
  const Bitset& accepted = marked ? marked->bits() : table_.alive_bits();
  const ProbeView view = probe_view(accepted, passing);
  const std::size_t k = std::min(request.k, filter.count), wanted = std::max<std::size_t>(request.ef, 1);
  const std::size_t at_once = std::max<std::size_t>(1, kProbeBytes / Probe::bytes(view, wanted));
  for (std::size_t first = 0; first < queries.size(); first += at_once) {
    const auto some = queries.subspan(first, std::min(at_once, queries.size() - first));
    std::vector<std::unique_ptr<Probe>> probes;
    for (const QueryView& query : some) {
      probes.push_back(std::make_unique<Probe>(view, query, k, wanted, kEverywhere, s));
    }
    ProbeBatch(view, [&](Slot slot) { return fresh_.row(slot); }).run(probes);
    for (std::size_t i = 0; i < probes.size(); ++i) {
      answer(first + i, Plan::walk, probes[i]->cost, probes[i]->results());
    }
  }
}

ScanSpaces DiskIndex::scan_spaces(const SearchRequest&, const SlotSet*) const { return {nullptr, nullptr}; }

// Of what passes, what lists show to be near, unless less passes than lists would be read.
void DiskIndex::radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                           std::size_t matches, Scratch& s) const {
  require_open();
  const std::size_t wanted = std::max<std::size_t>(request.ef, 1);
  std::vector<Candidate> found;  // not s.found, which the index of the centroids writes to
  const auto take = [&](Candidate c) {
    if (c.distance() <= radius) found.push_back(c);
  };
  std::optional<SlotSet> near;
  if (std::isfinite(radius) && wanted < state_->centroids.count() &&
      lists_read(wanted, matches) < static_cast<double>(matches)) {
    std::optional<MarkedSlots> marked;
    if (passing != nullptr) marked.emplace(*passing, s.passing);
    const Bitset& accepted = marked ? marked->bits() : table_.alive_bits();
    const ProbeView view = probe_view(accepted, passing);
    Probe probe(view, query, matches, wanted, radius, s);
    Probe* const one = &probe;
    ProbeBatch(view, [&](Slot slot) { return fresh_.row(slot); }).scan_lists({&one, 1}, [](Probe&) {});
    const std::span<const Slot> slots = probe.near();
    near.emplace(std::vector<Slot>(slots.begin(), slots.end()), table_.slots());
    for (const Candidate c : probe.results()) take(c);
    s.cost += probe.cost;
    passing = &*near;
    matches = near->count();
  }
  simd::Rows no_rows;
  no_rows.dim = dim_;
  const Scan exact = exact_scan(row_form(), no_rows, query, s.row);
  for_passing(passing, matches, s.cost, [&](Slot slot, const std::byte* row) {
    take(Candidate(score_row(exact, row_form(), row), slot));
    ++s.cost.distances;
  });
  std::sort(found.begin(), found.end());
  s.found = std::move(found);
}

}  // namespace annlib::disk
