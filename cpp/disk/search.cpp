#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "disk/disk_index.h"
#include "table/vectors.h"

namespace annlib::disk {
namespace {

// Lists of which a walk over centroids asks for more than it is to give.
constexpr std::size_t kSpareLists = 16;
// What is read of vectors for each result, about.
constexpr double kReadEach = 1.5;
// The longest read of a scan.
constexpr std::size_t kScanBytes = std::size_t{256} << 10;
// Units between two that are wanted which a scan reads along.
constexpr std::size_t kGap = 8;
// So many vectors are read one by one, all at the same time; more in long reads.
constexpr std::size_t kReadSingly = 1024;
// Where so many items pass for every list, something passes in nearly all lists.
constexpr std::size_t kPassingEach = 16;
// What a read takes, in nanoseconds, for people who compare plans.
constexpr double kRead = 2e4;

// Codes wrong by more than so many times their typical error are given up: the more lists are read, the fewer, for
// either alone would come to nothing.
float errors_allowed(std::size_t lists) { return 0.9f + 0.3f * std::log2(static_cast<float>(lists)); }

/// Slots that a query has seen: few, of many.
class SeenSlots {
 public:
  SeenSlots() : places_(1024, kNoSlot) {}
  /// True the first time.
  bool insert(Slot slot) {
    if (2 * ++count_ > places_.size()) grow();
    Slot& place = find(slot);
    if (place == slot) {
      --count_;
      return false;
    }
    place = slot;
    return true;
  }

 private:
  Slot& find(Slot slot) {
    std::size_t i = mix64(slot) & (places_.size() - 1);
    while (places_[i] != kNoSlot && places_[i] != slot) i = (i + 1) & (places_.size() - 1);
    return places_[i];
  }
  void grow() {
    std::vector<Slot> old(2 * places_.size(), kNoSlot);
    old.swap(places_);
    for (Slot slot : old) {
      if (slot != kNoSlot) find(slot) = slot;
    }
  }

  std::vector<Slot> places_;
  std::size_t count_ = 0;
};

struct AcceptItems {
  const Bitset& slots;
  Slot left_out;
  bool operator()(Slot slot) const { return slots.test(slot) && slot != left_out; }
};

}  // namespace

void DiskIndex::require_open() const {
  if (closed_) throw OsError(EBADF, directory_, "the index in '" + directory_ + "' is closed");
}

// Calls take(slot, row) for slots, which ascend, as their vectors arrive.
template <class Take>
void DiskIndex::for_vectors(std::span<const Slot> slots, SearchCost& cost, Take&& take) const {
  const auto fresh = std::lower_bound(slots.begin(), slots.end(), static_cast<Slot>(state_->on_disk));
  read_vectors(*state_, vector_form_, {slots.begin(), fresh}, cost, take);
  for (auto at = fresh; at != slots.end(); ++at) take(*at, fresh_.row(*at));
}

// The same for all that pass, or live, in long reads past the cache.
void DiskIndex::scan_vectors(const SlotSet* passing, SearchCost& cost,
                             const std::function<void(Slot, const std::byte*)>& take) const {
  const State& state = *state_;
  const storage::File& file = state.vectors_file->reader().file().plain();
  const std::size_t longest = std::max<std::size_t>(1, kScanBytes / vector_form_.unit_bytes());
  std::vector<Slot> run;
  std::vector<std::byte> bytes;
  const auto read = [&] {
    if (run.empty()) return;
    const std::size_t first = vector_form_.unit(run.front()), units = vector_form_.unit(run.back()) + 1 - first;
    bytes.resize(units * vector_form_.unit_bytes());
    if (file.read_at(vector_form_.offset(first), bytes) != bytes.size()) {
      throw CorruptError(file.name() + ": ends before the vectors do");
    }
    for (std::size_t u = 0; u < units; ++u) {
      if (checksum(std::span(bytes).subspan(u * vector_form_.unit_bytes(), vector_form_.unit_bytes())) !=
          state.sums[first + u]) {
        throw CorruptError(file.name() + ": damaged at byte " + std::to_string(vector_form_.offset(first + u)));
      }
    }
    ++cost.reads;
    cost.bytes_read += bytes.size();
    for (Slot slot : run) {
      take(slot,
           bytes.data() + (vector_form_.unit(slot) - first) * vector_form_.unit_bytes() + vector_form_.in_unit(slot));
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
    if (!run.empty() && (vector_form_.unit(slot) > vector_form_.unit(run.back()) + kGap ||
                         vector_form_.unit(slot) >= vector_form_.unit(run.front()) + longest)) {
      read();
    }
    run.push_back(slot);
  };
  passing != nullptr ? passing->for_each(add) : table_.alive_bits().for_each(add);
  read();
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
  const std::size_t bytes = vector_form_.vector_bytes();
  for_vectors(sorted, cost, [&](Slot slot, const std::byte* row) {
    for (auto at = std::lower_bound(wanted.begin(), wanted.end(), std::pair<Slot, std::size_t>(slot, 0));
         at != wanted.end() && at->first == slot; ++at) {
      std::memcpy(out + at->second * bytes, row, bytes);
    }
  });
}

// Exact distances of these slots, in any order, appended to s.found; but for what equals `equal`, where that is given.
void DiskIndex::read_exact(const Scan& exact, std::span<const Slot> slots, const void* equal, Scratch& s) const {
  std::vector<Slot> sorted(slots.begin(), slots.end());
  std::sort(sorted.begin(), sorted.end());
  const RowForm form = row_form();
  for_vectors(sorted, s.cost, [&](Slot slot, const std::byte* row) {
    if (equal != nullptr && std::memcmp(row, equal, vector_form_.vector_bytes()) == 0) return;
    s.found.emplace_back(score_row(exact, form, row), slot);
  });
  s.cost.reranked += slots.size();
}

// The nearest k items that pass, appended to s.found in any order: from about `wanted` lists, from fewer where what was
// found is near and from more where it is far. As many as are wanted are asked for at once, others when it is known how
// near results are: what is read together takes little longer than one of it.
template <class Accept>
void DiskIndex::probe(const QueryView& query, std::size_t k, std::size_t wanted, const SlotSet* passing,
                      const Accept& accept, Scratch& s) const {
  const State& state = *state_;
  const PostingLists& lists = state.fresh;
  const bool product = metric_ == Metric::ip;
  const float part = lists.codes().part();
  const RowForm form = row_form();
  const simd::ScanBlock scan_block = simd::kernels().scan_block;
  simd::Rows no_rows;
  no_rows.dim = dim_;
  const Scan exact = exact_scan(form, no_rows, query, s.row);
  float* row = s.query.need_floats(dim_);
  lists.codes().load(query.data, query.dtype, row);
  const simd::BlockQuery tables = lists.codes().prepare(row, s.tables);
  Scan by_code = codes_.none() ? exact : codes_.prepare(form, query, row, s.codes);
  const float length = product ? std::sqrt(simd::kernels().norm2(row, dim_)) : 0.0f;
  // What rounding the query to 7 bits does: of lists far smaller than it is long, that is what errors come from.
  const float rounding = tables.scale * std::sqrt(static_cast<float>(tables.count) / 12.0f);
  const float allowed = errors_allowed(wanted), row_margin = allowed * state.row_error;

  // Lists in which something passes, where that is not in all.
  std::size_t count = state.centroids.count();
  std::vector<std::uint32_t> marked;
  const bool few = passing != nullptr && passing->count() < kPassingEach * count;
  if (few) {
    passing->for_each([&](std::size_t slot) {
      for (std::uint32_t home : state.homes_of(static_cast<Slot>(slot))) {
        if (home != kNoList) marked.push_back(home);
      }
    });
    std::sort(marked.begin(), marked.end());
    marked.erase(std::unique(marked.begin(), marked.end()), marked.end());
    count = marked.size();
  }
  const float reach = wanted < count ? state.reach_of(static_cast<double>(wanted)) : std::numeric_limits<float>::max();
  const std::size_t most = passing != nullptr ? count : std::min(count, 4 * wanted), least = std::min(count, wanted);

  struct Waiting {
    float distance, margin;
    Slot slot;
  };
  std::vector<Waiting> waiting;
  std::vector<Candidate> order;
  std::vector<io::BlockRequest> requests;
  std::vector<io::BlockCache::Block> blocks;
  std::vector<Slot> slots;
  SeenSlots seen;
  s.nearest.reset(k);
  const auto kth = [&] {
    return s.nearest.full() ? s.nearest.bound().distance() : std::numeric_limits<float>::infinity();
  };
  const auto beyond = [&](Candidate list) {
    return product ? list.distance() > kth() + reach : list.distance() > kth() * reach;
  };
  const auto margin_of = [&](float width, float distance) {
    const float compared = product ? length : std::sqrt(std::max(distance / part, 0.0f));
    const float margin = std::max(allowed, 2.0f) * width * (state.error * compared + rounding);
    return std::isfinite(margin) ? margin : std::numeric_limits<float>::max();
  };
  const auto scan_list = [&](Candidate list, const std::byte* bytes) {
    const ListPlace& place = state.places[list.slot()];
    s.cost.estimates += place.size;
    if (list_form_.has_signs()) {
      const float margin = margin_of(place.width, list.distance());
      const float bound = kth() + margin;
      scan_blocks(
          bytes, place.size, list_form_.stride(), tables, list.distance(), bound, scan_block, [] {},
          [&](std::uint32_t, Slot slot, float estimate) {
            if (slot >= table_.slots() || !accept(slot) || !seen.insert(slot)) return;
            waiting.push_back({estimate, margin, slot});
            s.nearest.push(Candidate(estimate, slot));
          });
      return;
    }
    s.need(place.size);
    const std::byte* rows = list_form_.rows(bytes, place.size);
    if (codes_.raw()) {
      for (std::uint32_t i = 0; i < place.size; ++i) {
        s.distances[i] = score_row(exact, form, rows + i * list_form_.row_bytes());
      }
    } else {
      codes_.at(by_code, rows);
      by_code.score_range(0, place.size, s.distances.data());
    }
    s.cost.distances += place.size;
    const float bound = kth() + row_margin;
    for (std::uint32_t i = 0; i < place.size; ++i) {
      if (s.distances[i] > bound) continue;
      const Slot slot = list_form_.slot(bytes, i);
      if (slot >= table_.slots() || !accept(slot) || !seen.insert(slot)) continue;
      waiting.push_back({s.distances[i], row_margin, slot});
      s.nearest.push(Candidate(s.distances[i], slot));
    }
  };
  // What came since is in memory, and its distance is known.
  const auto scan_fresh = [&](Candidate list) {
    const float margin = margin_of(lists.width(list.slot()), list.distance());
    const float bound = kth() + row_margin + margin;
    s.cost.estimates +=
        lists.scan(list.slot(), kNoList, tables, list.distance(), bound, scan_block, [&](Slot slot, float) {
          if (!accept(slot) || !seen.insert(slot)) return;
          const float distance = score_row(exact, form, fresh_.row(slot));
          waiting.push_back({distance, row_margin, slot});
          s.nearest.push(Candidate(distance, slot));
        });
  };

  std::size_t at = 0, asked = 0;
  while (at < count && (at < most || !s.nearest.full())) {
    if (at == order.size()) {
      if (few) {
        state.centroids.rank(lists, row, marked, s);
      } else {
        asked = asked == 0 ? wanted + kSpareLists : 2 * asked;
        state.centroids.search(lists, row, tables, std::min(asked, count), s);
      }
      if (s.found.size() <= at) break;
      order.assign(s.found.begin(), s.found.end());
    }
    const std::size_t first = at;
    std::size_t last = std::min(order.size(), at + std::max<std::size_t>(least, 1));
    if (at >= least) {
      while (last > at && beyond(order[last - 1])) --last;
      if (last == at) break;
    }
    requests.clear();
    blocks.assign(last - first, nullptr);
    for (std::size_t i = first; i < last; ++i) {
      const ListPlace& place = state.places[order[i].slot()];
      if (place.size > 0) requests.push_back({place.offset, list_form_.bytes(place.size), i - first, place.crc});
    }
    io::BlockBatch batch(*state.lists_file);
    batch.add(requests);
    for (; at < last; ++at) {  // by their order, so that what is found does not depend on which comes first
      if (state.places[order[at].slot()].size > 0) {
        while (blocks[at - first] == nullptr) {
          auto arrival = batch.next();
          blocks[arrival->tag] = std::move(arrival->block);
        }
        scan_list(order[at], blocks[at - first]->data());
      }
      if (lists.size(order[at].slot()) > 0) scan_fresh(order[at]);
      s.nearest.shrink();
      ++s.cost.hops;
    }
    s.cost.reads += batch.reads();
    s.cost.bytes_read += batch.bytes_read();
    s.cost.cache_hits += batch.hits();
  }

  // Exact distances, all at once: of what may be among the k nearest by what its code is likely to be off by.
  s.found.clear();
  s.nearest.shrink();
  const void* equal = query.left_out != kNoSlot ? query.data : nullptr;
  const float limit = kth();
  slots.clear();
  for (const Waiting& w : waiting) {
    if (w.distance - w.margin > limit) continue;
    if (codes_.raw() && equal == nullptr) {
      s.found.emplace_back(w.distance, w.slot);
    } else {
      slots.push_back(w.slot);
    }
  }
  read_exact(exact, slots, equal, s);
}

bool DiskIndex::search_one(const QueryView& query, const SearchRequest& request, const Passing& filter, std::size_t,
                           Scratch& s, PlanReport& report) const {
  require_open();
  if (request.plan == Plan::subgraph) {
    throw ValueError("plan 'subgraph': a SPANN index has no graph; its plans are auto, exact, scan, walk");
  }
  const State& state = *state_;
  const SlotSet* passing = filter.slots.get();
  const std::size_t k = std::min(request.k, filter.count), wanted = std::max<std::size_t>(request.ef, 1);
  const std::size_t count = state.centroids.count();
  bool scan = request.plan == Plan::exact || request.plan == Plan::scan || count == 0;
  if (request.plan == Plan::automatic && passing != nullptr) {
    // In reads: those of the vectors that pass, or of the lists that it takes to find k of them, and of what is near.
    const double share = static_cast<double>(filter.count) / static_cast<double>(table_.live());
    const double walk =
        std::min(static_cast<double>(wanted) / share, static_cast<double>(count)) + static_cast<double>(k) * kReadEach;
    report.scan_cost = kRead * static_cast<double>(filter.count);
    report.walk_cost = kRead * walk;
    scan = scan || report.scan_cost <= report.walk_cost;
  }
  s.found.clear();
  const AcceptItems alive{table_.alive_bits(), query.left_out};
  if (scan) {
    report.plan = Plan::exact;
    simd::Rows no_rows;
    no_rows.dim = dim_;
    const Scan exact = exact_scan(row_form(), no_rows, query, s.row);
    s.nearest.reset(k);
    const auto take = [&](Slot slot, const std::byte* row) {
      if (slot == query.left_out) return;
      if (query.left_out != kNoSlot && std::memcmp(row, query.data, vector_form_.vector_bytes()) == 0) return;
      s.nearest.push(Candidate(score_row(exact, row_form(), row), slot));
      ++s.cost.distances;
    };
    if (passing != nullptr && filter.count <= kReadSingly) {
      std::vector<Slot> slots;
      passing->for_each([&](std::size_t slot) { slots.push_back(static_cast<Slot>(slot)); });
      for_vectors(slots, s.cost, take);
    } else {
      scan_vectors(passing, s.cost, take);
    }
    s.found = s.nearest.sorted();
    return true;
  }
  report.plan = Plan::walk;
  if (passing == nullptr) {
    probe(query, k, wanted, nullptr, alive, s);
  } else {
    const MarkedSlots marked(*passing, s.passing);
    probe(query, k, wanted, passing, AcceptItems{marked.bits(), query.left_out}, s);
  }
  std::sort(s.found.begin(), s.found.end());
  s.found.resize(std::min(s.found.size(), k));
  return true;
}

ScanSpaces DiskIndex::scan_spaces(const SearchRequest&, const SlotSet*) const { return {nullptr, nullptr}; }

void DiskIndex::radius_one(const QueryView& query, float radius, const SearchRequest&, const SlotSet* passing,
                           std::size_t, Scratch& s) const {
  require_open();
  simd::Rows no_rows;
  no_rows.dim = dim_;
  const Scan exact = exact_scan(row_form(), no_rows, query, s.row);
  scan_vectors(passing, s.cost, [&](Slot slot, const std::byte* row) {
    const float distance = score_row(exact, row_form(), row);
    ++s.cost.distances;
    if (distance <= radius) s.found.emplace_back(distance, slot);
  });
  std::sort(s.found.begin(), s.found.end());
}

}  // namespace annlib::disk
