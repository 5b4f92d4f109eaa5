#include <algorithm>
#include <mutex>
#include <new>
#include <utility>

#include "core/error.h"
#include "disk/build.h"
#include "disk/disk_index.h"

namespace annlib::disk {

// With writer_ held: what came while lists were being written finds its place in the new ones, all of it becomes
// durable, and then searches see it.
void DiskIndex::publish(const std::shared_ptr<State>& next, int threads) {
  const std::size_t known = next->homes.size();
  next->homes.resize(table_.slots() * next->replicas);
  std::fill(next->homes.data() + known, next->homes.data() + next->homes.size(), kNoList);
  std::vector<Slot> since;
  std::vector<const std::byte*> rows;
  for (auto slot = static_cast<Slot>(next->on_disk); slot < table_.slots(); ++slot) {
    if (!table_.alive(slot)) continue;
    since.push_back(slot);
    rows.push_back(fresh_.row(slot));
  }
  const std::vector<std::uint32_t> homes = homes_for(*next, rows, threads);
  for (std::size_t i = 0; i < since.size(); ++i) {
    std::copy_n(homes.data() + i * next->replicas, next->replicas, next->homes_of(since[i]).begin());
  }
  put_in_lists(*next, since, rows);
  if (next->lists_name == state_->lists_name) lists_end_ = next->lists_end;
  write_manifest(*next);
  {
    std::lock_guard writing(lock_);
    fresh_.drop_first(next->on_disk - state_->on_disk);
    try {
      if (next->resident != nullptr) next->resident->join();
    } catch (const std::bad_alloc&) {
      next->resident = nullptr;  // the state is the manifest's already, and is as good without
    }
    state_ = next;
    share_cache(*next);
  }
  lists_end_ = next->lists_end;
  logged_from_ = changes_;
  begin_log();
  remove_others({});
  leave_in_file(*storage::Container::open(path(kManifest), false));
}

void DiskIndex::rebuild(int threads, const Progress& progress) {
  require_open();
  rebuild_now(threads, progress);
}

// With writer_ held.
void DiskIndex::rebuild_now(int threads, const Progress& progress) {
  const std::size_t total = std::max<std::size_t>(table_.live(), 1);
  Spool spool(path(".build-rows"), dim_, dtype_, metric_);
  std::vector<Slot> kept;
  std::vector<std::uint32_t> arrivals;
  SearchCost cost;
  scan_vectors(nullptr, cost, [&](Slot slot, const std::byte* row) {
    spool.add(row, table_.id(slot));
    kept.push_back(slot);
    arrivals.push_back(table_.arrival(slot));
  });
  spool.finish();
  ItemCodes codes(params_);
  const BuildTarget target{directory_, identity_, next_name(state_->lists_name), next_name(state_->vectors_name),
                           threads};
  const auto report = [&](const char*, std::size_t done, std::size_t of) {
    if (progress) progress(of > 0 ? done * total / of : 0, total);
  };
  Built built = build_files(params_, spool, target, codes, table_, report);
  open_files(*built.state);
  Table fresh(dim_, dtype_, metric_);
  fresh.drop_rows();
  fill_table(fresh, built, spool.take_ids(), arrivals, table_.columns(), kept, {});
  const std::shared_ptr<State> next = std::move(built.state);
  next->resident = ResidentLists::load(*next, list_form_, nullptr, options_.cache_bytes);
  {
    std::lock_guard writing(lock_);
    std::swap(table_, fresh);
    std::swap(codes_, codes);
    fresh_.drop_first(fresh_.count());
    fresh_.begin_at(static_cast<Slot>(next->on_disk));
    state_ = next;
    share_cache(*next);
    longest_ = spool.longest();
    table_.touch();
  }
  lists_end_ = next->lists_end;
  write_manifest(*next);
  logged_from_ = changes_;
  begin_log();
  remove_others({});
  leave_in_file(*storage::Container::open(path(kManifest), false));
}

// The items of a build, in its order, and their attributes: of `given` by rows, or of `kept` by slots.
void DiskIndex::fill_table(Table& table, const Built& built, std::vector<std::int64_t> ids,
                           std::span<const std::uint32_t> arrivals, const Columns& kept,
                           std::span<const Slot> kept_slots, const Columns& given) const {
  const std::size_t slots = built.state->on_disk;
  Table::Parts parts;
  parts.ids.resize(slots);
  parts.arrival.resize(slots);
  parts.alive.resize(Bitset::words_for(slots));
  for (std::size_t slot = 0; slot < built.rows.size(); ++slot) {
    const std::uint32_t row = built.rows[slot];
    parts.ids[slot] = ids[row];
    parts.arrival[slot] = arrivals.empty() ? row : arrivals[row];
    parts.alive[slot / 64] |= std::uint64_t{1} << (slot % 64);
  }
  ids = {};  // before a hash by id takes as much
  table.restore(std::move(parts));
  if (!arrivals.empty()) table.renumber_arrivals();
  ColumnsWriter writer(table.columns(), kept, given);
  for (std::size_t slot = 0; slot < built.rows.size(); ++slot) {
    const std::uint32_t row = built.rows[slot];
    writer.write(static_cast<Slot>(slot), kept_slots.empty() ? kNoSlot : kept_slots[row],
                 kept_slots.empty() ? static_cast<Slot>(row) : kNoSlot);
  }
  table.columns().tidy();
  writer.commit();
}

}  // namespace annlib::disk
