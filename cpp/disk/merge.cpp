#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "disk/build.h"
#include "disk/disk_index.h"
#include "table/vectors.h"

namespace annlib::disk {
namespace {

// Lists may be so many times as long as they are wanted, or a part of that, before something is done about it.
constexpr std::size_t kLongest = 3, kShortest = 8;
// Lists around one that was split whose vectors may lie nearer to its parts.
constexpr std::size_t kNeighbours = 8;
// A list is written anew without its stale items when they are more than one in so many.
constexpr std::size_t kStale = 4;
constexpr std::size_t kGrain = 16;

}  // namespace

/// What one merge works on: the lists as they were when it began, and what had come by then. Nothing else changes the
/// former; of the latter it has copies.
class DiskIndex::Merge {
 public:
  Merge(const DiskIndex& index, std::shared_ptr<State> base, int threads)
      : index_(index), base_(std::move(base)), threads_(threads) {}

  std::shared_ptr<State> base_state() const { return base_; }

  // Under lock_ and writer_.
  void begin(const Table& table, const FreshRows& fresh) {
    first_ = static_cast<Slot>(base_->on_disk);
    alive_ = table.alive_bits().copy();
    homes_.assign(base_->homes.data(), base_->homes.data() + base_->homes.size());
    for (Slot slot = first_; slot < table.slots(); ++slot) rows_.push_back(fresh.row(slot));
  }

  std::size_t slots() const { return alive_.size(); }

  /// The state that is to come. `end` is where the file of lists ends.
  std::shared_ptr<State> run(std::uint64_t end) {
    next_ = std::make_shared<State>(index_.params_, index_.table_);
    next_->clustered = base_->clustered;
    next_->reach = base_->reach;
    next_->spread = base_->spread;
    next_->error = base_->error;
    next_->vector_form = base_->vector_form;
    next_->row_error = base_->row_error;
    next_->lists_name = base_->lists_name;
    next_->vectors_name = base_->vectors_name;
    next_->lists_file = base_->lists_file;
    next_->vectors_file = base_->vectors_file;
    next_->on_disk = slots();
    count();
    choose();
    append_vectors();
    move_items();
    write_lists(end);
    next_->homes.resize(homes_.size());
    std::copy(homes_.begin(), homes_.end(), next_->homes.data());
    next_->lists_file->reader().file().look_again();
    next_->vectors_file->reader().file().look_again();
    return next_;
  }

 private:
  std::span<std::uint32_t> homes_of(Slot slot) {
    return {homes_.data() + std::size_t{slot} * base_->replicas, base_->replicas};
  }
  const ListCodes& list_codes() const { return base_->fresh.codes(); }

  // How long lists will be.
  void count() {
    const std::uint32_t lists = base_->fresh.count();
    sizes_.resize(lists);
    stale_.resize(lists);
    for (std::uint32_t l = 0; l < lists; ++l) sizes_[l] = base_->places[l].size;
    for (Slot slot = 0; slot < slots(); ++slot) {
      const bool lives = alive_.test(slot);
      for (std::uint32_t& home : homes_of(slot)) {
        if (home == kNoList) continue;
        if (slot >= first_) {
          if (lives) ++sizes_[home];
          if (!lives) home = kNoList;  // it never was in a file
        } else if (!lives) {
          ++stale_[home];
          --sizes_[home];
        }
      }
    }
  }

  // Which lists are given up, and the centroids of those that come in their places.
  void choose() {
    const SpannParams& params = index_.params_.lists;
    const std::size_t longest = kLongest * params.list_size * params.replicas;
    const std::size_t shortest = params.list_size * params.replicas / kShortest;
    for (std::uint32_t l = 0; l < base_->fresh.count(); ++l) next_->fresh.add_list(base_->fresh.centroid(l));
    next_->places.resize(base_->places.size());
    std::copy_n(base_->places.data(), base_->places.size(), next_->places.data());
    std::vector<std::uint32_t> free = base_->given_up, gone;
    std::size_t left = base_->fresh.count() - free.size();
    std::vector<Slot> moving;
    for (std::uint32_t l = 0; l < base_->fresh.count(); ++l) {
      if (base_->is_given_up(l)) continue;
      const bool over = sizes_[l] > longest && sizes_[l] >= 2 * std::size_t{base_->places[l].split_at};
      const bool under = sizes_[l] < shortest && left > 1;
      if (!over && !under) continue;
      std::vector<Slot> members = members_of(l);
      gone.push_back(l);
      moving.insert(moving.end(), members.begin(), members.end());
      if (under) {
        --left;
        continue;
      }
      split(l, members, free);
      Scratch s;
      std::vector<NearCentroid> near;
      base_->centroids.search_squared(base_->fresh, base_->fresh.centroid(l), kNeighbours + 1, s, near);
      for (const NearCentroid& other : near) {
        if (other.centroid == l) continue;
        members = members_of(other.centroid);
        moving.insert(moving.end(), members.begin(), members.end());
      }
    }
    next_->given_up = std::move(free);
    next_->given_up.insert(next_->given_up.end(), gone.begin(), gone.end());
    std::sort(next_->given_up.begin(), next_->given_up.end());
    for (std::uint32_t l : gone) next_->places[l] = ListPlace();
    for (std::uint32_t& home : homes_) {  // those that move choose anew, the dead stand nowhere
      if (home != kNoList && next_->is_given_up(home)) home = kNoList;
    }
    std::sort(moving.begin(), moving.end());
    moving.erase(std::unique(moving.begin(), moving.end()), moving.end());
    moving_ = std::move(moving);
    std::vector<std::uint32_t> numbers;
    for (std::uint32_t l = 0; l < next_->fresh.count(); ++l) {
      if (!next_->is_given_up(l)) numbers.push_back(l);
    }
    next_->centroids.build(next_->fresh, numbers, threads_);
    next_->measure_length();
    sizes_.resize(next_->fresh.count());
    stale_.resize(next_->fresh.count());
  }

  // New lists for the parts of one, in numbers that are free.
  void split(std::uint32_t list, std::span<const Slot> members, std::vector<std::uint32_t>& free) {
    std::vector<float> rows(members.size() * index_.dim_);
    std::size_t at = 0;
    for_rows(members, [&](Slot, const std::byte* row) {
      list_codes().load(row, index_.dtype_, rows.data() + at++ * index_.dim_);
    });
    ClusterOptions options;
    options.size = (members.size() + 1) / 2;
    options.seed = index_.params_.lists.seed;
    options.threads = threads_;
    const Clusters parts = balanced_clusters({rows.data(), members.size(), index_.dim_}, options);
    for (std::size_t p = 0; p < parts.centroids.size() / index_.dim_; ++p) {
      const float* centroid = parts.centroids.data() + p * index_.dim_;
      std::uint32_t number;
      if (free.empty()) {
        number = next_->fresh.add_list(centroid);
        next_->places.resize(next_->fresh.count());
      } else {
        number = free.back();
        free.pop_back();
        next_->fresh.reset(number, centroid);
      }
      next_->places[number] = ListPlace();
      split_.emplace_back(number, list);
    }
  }

  // What a list holds that lives, in the order of slots.
  std::vector<Slot> members_of(std::uint32_t list) {
    std::vector<Slot> members;
    const ListPlace& place = base_->places[list];
    if (place.size > 0) {
      const io::BlockCache::Block bytes = read(place);
      for (std::uint32_t i = 0; i < place.size; ++i) {
        const Slot slot = list_form().slot(bytes->data(), i);
        if (slot < first_ && alive_.test(slot)) members.push_back(slot);
      }
    }
    if (fresh_members_.empty()) {
      fresh_members_.resize(base_->fresh.count());
      for (Slot slot = first_; slot < slots(); ++slot) {
        for (std::uint32_t home : homes_of(slot)) {
          if (home != kNoList) fresh_members_[home].push_back(slot);
        }
      }
    }
    members.insert(members.end(), fresh_members_[list].begin(), fresh_members_[list].end());
    std::sort(members.begin(), members.end());
    return members;
  }

  const ListForm& list_form() const { return index_.list_form_; }
  io::BlockCache::Block read(const ListPlace& place) const {
    io::BlockBatch batch(*base_->lists_file);
    const io::BlockRequest request{place.offset, list_form().bytes(place.size), 0, place.crc};
    batch.add({&request, 1});
    return batch.next()->block;
  }

  // Calls take(slot, row) for slots, which ascend, in their order.
  template <class Take>
  void for_rows(std::span<const Slot> slots, Take&& take) const {
    const auto fresh = std::lower_bound(slots.begin(), slots.end(), first_);
    const std::span<const Slot> old(slots.begin(), fresh);
    const std::size_t bytes = index_.row_bytes();
    constexpr std::size_t kAtOnce = 1024;
    std::vector<std::byte> rows;
    SearchCost cost;
    for (std::size_t begin = 0; begin < old.size(); begin += kAtOnce) {
      const auto some = old.subspan(begin, std::min(kAtOnce, old.size() - begin));
      rows.resize(some.size() * bytes);
      read_vectors(*base_, some, cost, [&](Slot slot, const std::byte* row) {
        const auto at = std::lower_bound(some.begin(), some.end(), slot) - some.begin();
        std::memcpy(rows.data() + static_cast<std::size_t>(at) * bytes, row, bytes);
      });
      for (std::size_t i = 0; i < some.size(); ++i) take(some[i], rows.data() + i * bytes);
    }
    for (auto at = fresh; at != slots.end(); ++at) take(*at, rows_[*at - first_]);
  }

  void append_vectors() {
    next_->sums.resize(base_->vector_form.units(slots()));
    std::copy_n(base_->sums.data(), base_->sums.size(), next_->sums.data());
    if (rows_.empty()) return;
    storage::File file = storage::File::open(index_.path(base_->vectors_name), O_WRONLY);
    VectorWriter writer(file, base_->vector_form, base_->sums.size());
    for (const std::byte* row : rows_) writer.add(row);
    const std::vector<std::uint32_t> sums = writer.finish();
    std::copy(sums.begin(), sums.end(), next_->sums.data() + base_->sums.size());
    file.sync();
  }

  /// What a list gets: who, and its code with what stands besides.
  struct Posting {
    Slot slot;
    float add, times;
    std::vector<std::uint8_t> signs;
    std::vector<std::byte> row;
  };

  // Items whose lists are given up, or lie around those that were split, choose anew; what has come joins its lists.
  void move_items() {
    std::vector<std::pair<Slot, std::uint32_t>> joining;
    const auto join = [&](std::span<const Slot> slots, std::span<const std::byte* const> rows) {
      std::vector<Posting> made(joining.size());
      parallel_for(joining.size(), kGrain, threads_, [&](std::size_t begin, std::size_t end, int) {
        std::vector<float> vector(index_.dim_), memory(list_codes().center_floats() + list_codes().put_floats());
        for (std::size_t i = begin; i < end; ++i) {
          const auto [slot, list] = joining[i];
          const auto at = std::lower_bound(slots.begin(), slots.end(), slot) - slots.begin();
          const std::byte* row = rows[static_cast<std::size_t>(at)];
          list_codes().load(row, index_.dtype_, vector.data());
          const auto around = list_codes().center(next_->fresh.centroid(list), memory.data());
          const ListCodes::Code code =
              list_codes().encode(around, vector.data(), memory.data() + list_codes().center_floats());
          Posting& posting = made[i];
          posting = {slot, code.add, code.times, {code.signs, code.signs + list_codes().tables()}, {}};
          posting.row.resize(index_.codes_.bytes());
          index_.codes_.encode(vector.data(), row, posting.row.data());
        }
      });
      for (std::size_t i = 0; i < joining.size(); ++i) joined_[joining[i].second].push_back(std::move(made[i]));
      joining.clear();
    };
    // Those that stay where they are first: all that came and is not among those that move.
    std::vector<Slot> came;
    std::vector<const std::byte*> came_rows;
    for (Slot slot = first_; slot < slots(); ++slot) {
      if (!alive_.test(slot) || std::binary_search(moving_.begin(), moving_.end(), slot)) continue;
      came.push_back(slot);
      came_rows.push_back(rows_[slot - first_]);
      for (std::uint32_t home : homes_of(slot)) {
        if (home != kNoList) joining.emplace_back(slot, home);
      }
    }
    join(came, came_rows);
    constexpr std::size_t kAtOnce = 4096;
    for (std::size_t begin = 0; begin < moving_.size(); begin += kAtOnce) {
      const auto some = std::span(moving_).subspan(begin, std::min(kAtOnce, moving_.size() - begin));
      std::vector<std::byte> bytes;
      for_rows(some, [&](Slot, const std::byte* row) { bytes.insert(bytes.end(), row, row + index_.row_bytes()); });
      std::vector<const std::byte*> rows;
      for (std::size_t i = 0; i < some.size(); ++i) rows.push_back(bytes.data() + i * index_.row_bytes());
      const std::vector<std::uint32_t> chosen = index_.homes_for(*next_, rows, threads_);
      for (std::size_t i = 0; i < some.size(); ++i) {
        const auto has = homes_of(some[i]);
        const std::span wanted(chosen.data() + i * base_->replicas, base_->replicas);
        for (std::uint32_t home : has) {
          if (home != kNoList && std::find(wanted.begin(), wanted.end(), home) == wanted.end()) left_.push_back(home);
        }
        for (std::uint32_t home : wanted) {
          // What is new has not joined what it had chosen.
          const bool there = some[i] < first_ && std::find(has.begin(), has.end(), home) != has.end();
          if (home != kNoList && !there) joining.emplace_back(some[i], home);
        }
        std::copy(wanted.begin(), wanted.end(), has.begin());
      }
      join(some, rows);
    }
  }

  // Lists that changed, behind all others; or all, into a new file, where most of the old one is of no use any more.
  void write_lists(std::uint64_t end) {
    std::uint64_t used = 0;
    for (const ListPlace& place : next_->places) used += list_form().bytes(place.size);
    const bool anew = end > 2 * used + (std::uint64_t{1} << 20);
    std::vector<std::uint32_t> changed;
    for (std::uint32_t l = 0; l < next_->places.size(); ++l) {
      if (next_->is_given_up(l)) continue;
      const bool stale = stale_[l] * kStale > next_->places[l].size;
      const bool moved = std::find(left_.begin(), left_.end(), l) != left_.end();
      if (anew || stale || moved || joined_.contains(l)) changed.push_back(l);
    }
    if (changed.empty()) {
      next_->lists_end = base_->lists_end;
      return;
    }
    if (anew) next_->lists_name = index_.next_name(base_->lists_name);
    const int flags = anew ? O_WRONLY | O_CREAT | O_TRUNC : O_WRONLY;
    storage::File file = storage::File::open(index_.path(next_->lists_name), flags, 0666);
    if (anew) {
      write_header(file, {"lists", index_.identity_});
      end = kHeaderBytes;
    }
    ListWriter writer(file, list_form(), end);
    std::vector<std::byte> list;
    std::vector<std::uint32_t> kept;
    const std::vector<Posting> none;
    for (std::uint32_t l : changed) {
      const ListPlace old = next_->places[l];
      io::BlockCache::Block bytes;
      kept.clear();
      if (old.size > 0) {
        bytes = read(old);
        for (std::uint32_t i = 0; i < old.size; ++i) {
          const Slot slot = list_form().slot(bytes->data(), i);
          if (slot >= first_) continue;
          const auto own = homes_of(slot);
          const auto at = std::find(own.begin(), own.end(), l);
          if (at == own.end()) continue;
          if (alive_.test(slot)) {
            kept.push_back(i);
          } else {
            *at = kNoList;
          }
        }
      }
      const auto found = joined_.find(l);
      const std::vector<Posting>& joined = found == joined_.end() ? none : found->second;
      const std::size_t size = kept.size() + joined.size();
      list.assign(list_form().bytes(size), std::byte{0});
      for (std::size_t i = 0; i < kept.size(); ++i) {
        if (list_form().has_signs()) {
          move_sign_code(list_form().block(bytes->data(), kept[i]), kept[i] % simd::kBlockRows,
                         list_form().block(list.data(), i), static_cast<std::uint32_t>(i % simd::kBlockRows),
                         list_codes().tables());
        }
        *list_form().slot(list.data(), i) = list_form().slot(bytes->data(), kept[i]);
        std::memcpy(list_form().row(list.data(), size, i),
                    list_form().rows(bytes->data(), old.size) + kept[i] * list_form().row_bytes(),
                    list_form().row_bytes());
      }
      for (std::size_t j = 0; j < joined.size(); ++j) {
        const std::size_t i = kept.size() + j;
        if (list_form().has_signs()) {
          list_codes().put({joined[j].add, joined[j].times, joined[j].signs.data()}, list_form().block(list.data(), i),
                           static_cast<std::uint32_t>(i % simd::kBlockRows));
        }
        *list_form().slot(list.data(), i) = joined[j].slot;
        std::copy(joined[j].row.begin(), joined[j].row.end(), list_form().row(list.data(), size, i));
      }
      next_->places[l] = size > 0 ? writer.write(list, size) : ListPlace();
      next_->places[l].split_at = old.split_at;
    }
    // Parts that are as long as what they came of were split in vain: of equal vectors, as a rule.
    for (const auto& [part, whole] : split_) {
      if (next_->places[part].size * 2 > sizes_[whole]) next_->places[part].split_at = next_->places[part].size;
    }
    writer.flush();
    file.sync();
    next_->lists_end = writer.end();
    if (anew) {
      next_->lists_file = nullptr;
      index_.open_files(*next_);
    }
  }

  const DiskIndex& index_;
  std::shared_ptr<State> base_, next_;
  int threads_;
  Slot first_ = 0;
  Bitset alive_;
  std::vector<std::uint32_t> homes_;
  std::vector<const std::byte*> rows_;  ///< of slots from first_ on
  std::vector<std::size_t> sizes_, stale_;
  std::vector<std::vector<Slot>> fresh_members_;
  std::vector<Slot> moving_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> split_;  ///< parts, and what they come of
  std::vector<std::uint32_t> left_;                             ///< lists that something has left
  std::map<std::uint32_t, std::vector<Posting>> joined_;
};

// Whether the file of vectors can take what has come. Codes learnt from whole numbers tell little of others, so where
// it cannot all is built anew.
bool DiskIndex::holds_fresh() const {
  const VectorForm& form = state_->vector_form;
  Slot slot = fresh_.first();
  while (slot < table_.slots() && form.holds(fresh_.row(slot))) ++slot;
  return slot == table_.slots();
}

void DiskIndex::merge(int threads) {
  require_open();
  if (options_.read_only)
    throw OsError(EROFS, directory_, "the index in '" + directory_ + "' was opened for reading only");
  std::lock_guard one(merging_);
  std::unique_ptr<Merge> merge;
  {
    std::lock_guard writer(writer_);
    require_open();
    if (fresh_.count() == 0 && changes_ == logged_from_) return write_manifest(*state_);
    const std::size_t dead = state_->on_disk - std::min(state_->on_disk, table_.live());
    const bool outgrown = table_.live() >= 2 * state_->clustered || dead * 2 > table_.slots();
    if (state_->centroids.count() == 0 || outgrown || !holds_fresh()) return rebuild_now(threads, {});
    std::lock_guard writing(lock_);
    // Vectors go to the file in whole units.
    while (table_.slots() % state_->vector_form.rows_in_unit() != 0) {
      table_.append(nullptr);
      fresh_.append(nullptr);
    }
    const std::size_t known = state_->homes.size();
    state_->homes.resize(table_.slots() * state_->replicas);
    std::fill(state_->homes.data() + known, state_->homes.data() + state_->homes.size(), kNoList);
    merge = std::make_unique<Merge>(*this, state_, threads);
    merge->begin(table_, fresh_);
  }
  const std::shared_ptr<State> base = merge->base_state();
  const std::shared_ptr<State> next = merge->run(std::max(lists_end_, base->lists_end));
  next->resident = ResidentLists::load(*next, list_form_, base.get(), options_.cache_bytes);
  std::lock_guard writer(writer_);
  // Somebody may have built everything anew meanwhile.
  if (state_ == base && !closed_) publish(next, threads);
}

}  // namespace annlib::disk
