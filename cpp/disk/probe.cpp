#include "disk/probe.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "core/random.h"
#include "table/vectors.h"

namespace annlib::disk {
namespace {

// Lists of which a walk over centroids asks for more than it is to give.
constexpr std::size_t kSpareLists = 16;
// So many times as many lists as are wanted are read at most, where all may be results.
constexpr std::size_t kMost = 4;
// Where so many items pass for every list, something passes in nearly all lists.
constexpr std::size_t kPassingEach = 16;

// What is seen of a list lies on so many pages, for an estimate of what they take.
constexpr std::size_t kPagesOfList = 64;

// Codes wrong by more than so many times their typical error are given up: the more lists are read, the fewer, for
// either alone would come to nothing.
float errors_allowed(std::size_t lists) { return 0.9f + 0.3f * std::log2(static_cast<float>(lists)); }

simd::Rows no_rows(std::uint32_t dim) {
  simd::Rows rows;
  rows.dim = dim;
  return rows;
}

}  // namespace

Probe::Probe(const ProbeView& view, const QueryView& query, std::size_t k, std::size_t wanted, float radius, Scratch& s)
    : view_(view),
      query_(query),
      k_(k),
      wanted_(wanted),
      s_(s),
      exact_(exact_scan(view.form, no_rows(view.form.dim), query, row_)),
      vector_(vectors_.need_floats(view.form.dim)),
      allowed_(errors_allowed(wanted)),
      row_margin_(allowed_ * view.state.row_error),
      radius_(radius),
      ball_(std::isfinite(radius)),
      rest_(ball_ ? ExpectedRest(view.state.spread.dims, k, view.table.live()) : ExpectedRest(view.state.spread.dims)),
      elsewhere_((view.passing != nullptr || ball_) && !view.state.spread.rests.empty()),
      count_(view.state.centroids.count()),
      seen_(view.table.slots()) {
  lists().codes().load(query.data, query.dtype, vector_);
  tables_ = lists().codes().prepare(vector_, tables_buffer_);
  by_code_ = view.codes.none() ? exact_ : view.codes.prepare(view.form, query, vector_, code_);
  length_ = product() ? std::sqrt(simd::kernels().norm2(vector_, view.form.dim)) : 0.0f;
  if (product() && view.state.length > 0) row_margin_ *= length_ / view.state.length;
  // Of lists far smaller than the query is long, that is what errors come from.
  rounding_ = tables_.scale * std::sqrt(static_cast<float>(tables_.count) / 12.0f);
  nearest_.reset(k);
  enough_ = elsewhere_ && wanted < count_ ? at_lists(view.state.spread.rests, static_cast<double>(wanted)) : -1.0f;
  mark_lists();
  reach_ =
      wanted < count_ ? at_lists(view.state.reach, static_cast<double>(wanted)) : std::numeric_limits<float>::max();
}

std::size_t Probe::bytes(const ProbeView& view, std::size_t wanted) {
  return Seen::bytes(view.table.slots(), kPagesOfList * wanted) + 8 * view.form.dim * sizeof(float);
}

float Probe::kth() const { return nearest_.full() ? std::min(nearest_.bound().distance(), radius_) : radius_; }

bool Probe::beyond(Candidate list) const {
  return product() ? list.distance() > kth() + reach_ * length_ : list.distance() > kth() * reach_;
}

float Probe::margin_of(float width, float distance) const {
  const float compared = product() ? length_ : std::sqrt(std::max(distance / lists().codes().part(), 0.0f));
  const float margin = std::max(allowed_, 2.0f) * width * (view_.state.error * compared + rounding_);
  return std::isfinite(margin) ? margin : std::numeric_limits<float>::max();
}

// The lists in which something passes, where that is not in all.
void Probe::mark_lists() {
  few_ = view_.passing != nullptr && view_.passing->count() < kPassingEach * count_;
  if (!few_) return;
  view_.passing->for_each([&](std::size_t slot) {
    for (std::uint32_t home : view_.state.homes_of(static_cast<Slot>(slot))) {
      if (home != kNoList) marked_.push_back(home);
    }
  });
  std::sort(marked_.begin(), marked_.end());
  marked_.erase(std::unique(marked_.begin(), marked_.end()), marked_.end());
  count_ = marked_.size();
}

// Makes order_ longer than `at`; false where there are no more.
bool Probe::more_lists(std::size_t at) {
  if (at < order_.size()) return true;
  s_.cost = SearchCost();
  if (few_) {
    view_.state.centroids.rank(lists(), vector_, marked_, s_);
  } else {
    asked_ = asked_ == 0 ? wanted_ + kSpareLists : 2 * asked_;
    view_.state.centroids.search(lists(), vector_, tables_, std::min(asked_, count_), s_);
  }
  cost += s_.cost;
  // Of those that were not known to be near before, some are nearer than what has been given.
  std::vector<Slot> given;
  for (const Candidate list : order_) given.push_back(list.slot());
  std::sort(given.begin(), given.end());
  for (const Candidate list : s_.found) {
    if (std::binary_search(given.begin(), given.end(), list.slot())) continue;
    order_.push_back(list);
    const std::size_t size = view_.state.places[list.slot()].size + lists().size(list.slot());
    if (elsewhere_) rest_.expect(list.distance() / lists().codes().part(), view_.state.spread.radius, size);
  }
  rest_.beyond(count_ - std::min(count_, order_.size()));
  return order_.size() > at;
}

std::span<const Candidate> Probe::next_lists() {
  const std::size_t most = view_.passing != nullptr || ball_ ? count_ : std::min(count_, kMost * wanted_);
  const std::size_t least = std::min(count_, wanted_), round = std::max<std::size_t>(least, 1);
  if (at_ >= count_ || (at_ >= most && nearest_.full()) || !more_lists(at_)) return {};
  const std::size_t first = at_;
  std::size_t last = std::min(order_.size(), first + round);
  if (first >= least && elsewhere_ && (nearest_.full() || ball_)) {
    const double left = rest_.share(kth() / lists().codes().part());
    if (left <= static_cast<double>(enough_)) return {};
  } else if (first >= least && !elsewhere_) {
    while (last > first && beyond(order_[last - 1])) --last;
  }
  at_ = last > first ? last : count_;
  return {order_.data() + first, last - first};
}

// Of the slots of a list in the file.
std::size_t Probe::count_passing(const std::byte* bytes, std::size_t size) const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < size; ++i) count += passes(view_.list_form.slot(bytes, i));
  return count;
}

void Probe::scan(Candidate list, const std::byte* bytes, const FreshRow& row) {
  std::size_t passed = 0;
  if (bytes != nullptr) {
    if (elsewhere_) passed = count_passing(bytes, view_.state.places[list.slot()].size);
    view_.list_form.has_signs() ? scan_signs(list, bytes) : scan_rows(list, bytes);
  } else if (view_.state.resident != nullptr) {
    passed = scan_resident(list);
  }
  if (lists().size(list.slot()) > 0) scan_fresh(list, row);
  nearest_.shrink();
  if (elsewhere_) rest_.scanned(passed);
  ++cost.hops;
}

void Probe::scan_signs(Candidate list, const std::byte* bytes) {
  const ListPlace& place = view_.state.places[list.slot()];
  const float margin = margin_of(place.width, list.distance());
  const float bound = kth() + margin;
  cost.estimates += place.size;
  scan_blocks(
      bytes, place.size, view_.list_form.stride(), tables_, list.distance(), bound, nullptr, simd::kernels(), [] {},
      [&](std::uint32_t, Slot slot, float estimate) {
        if (accepts(slot)) take(slot, estimate, margin);
      });
}

void Probe::scan_rows(Candidate list, const std::byte* bytes) {
  const std::uint32_t size = view_.state.places[list.slot()].size;
  score_rows(view_.list_form.rows(bytes, size), nullptr, size);
  const float bound = kth() + row_margin_;
  for (std::uint32_t i = 0; i < size; ++i) {
    if (s_.distances[i] > bound) continue;
    const Slot slot = view_.list_form.slot(bytes, i);
    if (accepts(slot)) take(slot, s_.distances[i], row_margin_);
  }
}

// An item's row is at hand by its slot. To score it in each of its lists takes less than to know that it was; what was
// too far away is so all the more later on. Returns how many pass, where that is asked for.
std::size_t Probe::scan_resident(Candidate list) {
  const ResidentLists& resident = *view_.state.resident;
  const std::size_t size = resident.lists().size(list.slot());
  s_.need(size);
  Slot* slots = s_.slots.data();
  resident.lists().unpack(list.slot(), slots);
  std::size_t count = size;
  if (view_.passing != nullptr) {
    count = static_cast<std::size_t>(std::remove_if(slots, slots + size, [&](Slot s) { return !passes(s); }) - slots);
  }
  score_rows(resident.rows(), slots, count);
  ++cost.cache_hits;
  const float bound = kth() + row_margin_;
  for (std::size_t i = 0; i < count; ++i) {
    if (s_.distances[i] <= bound && accepts(slots[i])) take(slots[i], s_.distances[i], row_margin_);
  }
  if (view_.passing != nullptr || !elsewhere_) return count;
  return static_cast<std::size_t>(std::count_if(slots, slots + count, [&](Slot s) { return passes(s); }));
}

// Into s_.distances: of the rows of these slots or, without any, of the first n.
void Probe::score_rows(const std::byte* rows, const Slot* slots, std::size_t n) {
  s_.need(n);
  cost.distances += n;
  if (view_.codes.raw()) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t place = slots != nullptr ? slots[i] : i;
      s_.distances[i] = score_row(exact_, view_.form, rows + place * view_.list_form.row_bytes());
    }
    return;
  }
  view_.codes.at(by_code_, rows);
  if (slots != nullptr) {
    by_code_.score(slots, n, s_.distances.data());
  } else {
    by_code_.score_range(0, n, s_.distances.data());
  }
}

void Probe::take(Slot slot, float distance, float margin) {
  waiting_.push_back({distance, margin, slot});
  nearest_.push(Candidate(distance, slot));
}

// What came since the lists were written is in memory, and its distance is known.
void Probe::scan_fresh(Candidate list, const FreshRow& row) {
  const float bound = kth() + row_margin_ + margin_of(lists().width(list.slot()), list.distance());
  cost.estimates += lists().scan(list.slot(), kNoList, tables_, list.distance(), bound, nullptr, simd::kernels(),
                                 [&](Slot slot, float) {
                                   if (!accepts(slot)) return;
                                   take(slot, score_row(exact_, view_.form, row(slot)), row_margin_);
                                 });
}

std::span<const Slot> Probe::likely() {
  nearest_.shrink();
  if (view_.codes.raw() || !nearest_.full()) return {};
  for (const Waiting& w : waiting_) {
    if (w.distance <= kth()) early_.push_back(w.slot);
  }
  std::sort(early_.begin(), early_.end());
  cost.reranked += early_.size();
  return early_;
}

std::span<const Slot> Probe::near() {
  nearest_.shrink();
  const float limit = kth();
  const bool known = view_.codes.raw() && query_.left_out == kNoSlot;
  slots_.clear();
  for (const Waiting& w : waiting_) {
    if (w.distance - w.margin > limit) continue;
    if (known) {
      found_.emplace_back(w.distance, w.slot);
    } else {
      slots_.push_back(w.slot);
    }
  }
  std::sort(slots_.begin(), slots_.end());
  if (!early_.empty()) {
    std::vector<Slot> rest, mistaken;
    std::set_difference(slots_.begin(), slots_.end(), early_.begin(), early_.end(), std::back_inserter(rest));
    std::set_difference(early_.begin(), early_.end(), slots_.begin(), slots_.end(), std::back_inserter(mistaken));
    slots_.swap(rest);
    early_.swap(mistaken);
  }
  cost.reranked += slots_.size();
  return slots_;
}

void Probe::take_exact(Slot slot, const std::byte* row) {
  if (query_.left_out != kNoSlot && std::memcmp(row, query_.data, view_.form.dim * dtype_size(view_.form.dtype)) == 0)
    return;
  found_.emplace_back(score_row(exact_, view_.form, row), slot);
}

std::span<const Candidate> Probe::results() {
  // A query finds the same whether its vectors were asked for early or not.
  if (!early_.empty()) {
    std::erase_if(found_, [&](Candidate c) { return std::binary_search(early_.begin(), early_.end(), c.slot()); });
  }
  std::sort(found_.begin(), found_.end());
  return std::span(found_).first(std::min(found_.size(), k_));
}

}  // namespace annlib::disk
