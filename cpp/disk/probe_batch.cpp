#include "disk/probe_batch.h"

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/block_reader.h"

namespace annlib::disk {
namespace {

// The share of its first lists after which a query has most of its nearest.
constexpr double kEarly = 0.5;

// What a thread holds of lists at a time, about, and of vectors.
constexpr std::size_t kRoundBytes = std::size_t{16} << 20, kVectorBytes = std::size_t{1} << 20;

/// What `add` makes a batch read.
template <class Add>
void count(const io::BlockBatch& batch, SearchCost& cost, Add&& add) {
  const std::size_t reads = batch.reads(), hits = batch.hits();
  const std::uint64_t bytes = batch.bytes_read();
  add();
  cost.reads += batch.reads() - reads;
  cost.bytes_read += batch.bytes_read() - bytes;
  cost.cache_hits += batch.hits() - hits;
}

}  // namespace

class ProbeBatch::Round {
 public:
  explicit Round(const ProbeView& view) : view_(view), batch_(*view.state.lists_file) {}

  /// Whoever asks for a list first pays for it.
  void ask(std::span<const Candidate> lists, SearchCost& cost) {
    requests_.clear();
    for (const Candidate list : lists) {
      const ListPlace& place = view_.state.places[list.slot()];
      if (place.size == 0 || view_.state.resident != nullptr) continue;
      const auto [at, fresh] = places_.try_emplace(list.slot(), blocks_.size());
      if (!fresh) {
        ++cost.cache_hits;
        continue;
      }
      requests_.push_back({place.offset, view_.list_form.bytes(place.size), blocks_.size(), place.crc});
      bytes_ += requests_.back().bytes;
      blocks_.emplace_back();
    }
    count(batch_, cost, [&] { batch_.add(requests_); });
  }

  /// Of all that were asked for.
  std::size_t bytes() const { return bytes_; }
  /// nullptr for a list that is not in the file.
  const std::byte* block(Candidate list) {
    const auto at = places_.find(list.slot());
    if (at == places_.end()) return nullptr;
    while (blocks_[at->second] == nullptr) {
      auto arrival = batch_.next();
      blocks_[arrival->tag] = std::move(arrival->block);
    }
    return blocks_[at->second]->data();
  }

 private:
  const ProbeView& view_;
  io::BlockBatch batch_;
  std::unordered_map<std::uint32_t, std::size_t> places_;
  std::vector<io::BlockCache::Block> blocks_;
  std::vector<io::BlockRequest> requests_;
  std::size_t bytes_ = 0;
};

class ProbeBatch::Vectors {
 public:
  Vectors(const ProbeView& view, const Probe::FreshRow& fresh)
      : view_(view), fresh_(fresh), batch_(*view.state.vectors_file) {}

  void ask(Probe& probe, std::span<const Slot> slots) {
    const State& state = view_.state;
    const VectorForm& form = state.vector_form;
    requests_.clear();
    for (const Slot slot : slots) {
      if (slot >= state.on_disk) {
        probe.take_exact(slot, fresh_(slot));
        continue;
      }
      const std::size_t unit = form.unit(slot);
      const auto [at, fresh] = places_.try_emplace(unit, waiting_.size());
      if (fresh) {
        requests_.push_back({form.offset(unit), form.unit_bytes(), waiting_.size(), state.sums[unit]});
        waiting_.emplace_back();
      }
      waiting_[at->second].emplace_back(&probe, slot);
    }
    count(batch_, probe.cost, [&] { batch_.add(requests_); });
  }

  /// Of all that were asked for.
  std::size_t bytes() const { return waiting_.size() * view_.state.vector_form.unit_bytes(); }
  void finish() {
    const VectorForm& form = view_.state.vector_form;
    while (const auto arrival = batch_.next()) {
      for (const auto& [probe, slot] : waiting_[arrival->tag]) {
        probe->take_exact(slot, form.vector(arrival->block->data() + form.in_unit(slot), buffer_));
      }
    }
  }

 private:
  const ProbeView& view_;
  const Probe::FreshRow& fresh_;
  io::BlockBatch batch_;
  std::unordered_map<std::size_t, std::size_t> places_;
  std::vector<std::vector<std::pair<Probe*, Slot>>> waiting_;
  std::vector<io::BlockRequest> requests_;
  std::vector<std::byte> buffer_;
};

void ProbeBatch::run(std::span<const std::unique_ptr<Probe>> probes) {
  std::vector<Probe*> all;
  for (const auto& probe : probes) all.push_back(probe.get());
  auto vectors = std::make_unique<Vectors>(view_, fresh_);
  const auto through = [&](Probe& probe) {
    if (vectors->bytes() >= kVectorBytes) {
      vectors->finish();
      vectors = std::make_unique<Vectors>(view_, fresh_);
    }
    vectors->ask(probe, probe.near());
  };
  scan_lists(all, through, [&](Probe& probe) { vectors->ask(probe, probe.likely()); });
  vectors->finish();
}

void ProbeBatch::scan_lists(std::span<Probe* const> probes, const Told& through, const Told& halfway) {
  bool alone = probes.size() == 1 && view_.state.resident != nullptr && halfway != nullptr;
  std::vector<Probe*> active(probes.begin(), probes.end()), left;
  std::vector<std::span<const Candidate>> lists;
  for (; !active.empty(); active = std::exchange(left, {})) {
    for (std::size_t first = 0, last = 0; first < active.size(); first = last) {
      Round round(view_);
      lists.clear();
      for (; last < active.size() && round.bytes() < kRoundBytes; ++last) {
        lists.push_back(active[last]->next_lists());
        round.ask(lists.back(), active[last]->cost);
      }
      // Each probe's lists in its own order, so that what is found does not depend on which come first. The vectors of
      // those that are through are on their way while others scan.
      for (std::size_t i = first; i < last; ++i) {
        Probe& probe = *active[i];
        std::size_t scanned = 0;
        for (const Candidate list : lists[i - first]) {
          probe.scan(list, round.block(list), fresh_);
          if (alone && static_cast<double>(++scanned) >= kEarly * static_cast<double>(lists[i - first].size())) {
            halfway(probe);
            alone = false;
          }
        }
        if (lists[i - first].empty()) {
          through(probe);
        } else {
          left.push_back(&probe);
        }
      }
    }
  }
}

}  // namespace annlib::disk
