#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>

#include "core/error.h"
#include "disk/disk_index.h"
#include "index/sections.h"

namespace annlib::disk {

using storage::Container;
using storage::ElementType;
using storage::SectionInfo;
using storage::SectionList;

namespace {

constexpr std::size_t kPlaceWords = sizeof(ListPlace);

/// The logs of a directory by the numbers of their first changes.
std::vector<std::pair<std::uint64_t, std::string>> logs_in(const std::string& directory) {
  std::vector<std::pair<std::uint64_t, std::string>> logs;
  for (const std::string& name : storage::directory_names(directory)) {
    if (!name.starts_with(kLog)) continue;
    const std::uint64_t number = number_of(name, kLog);
    if (number != kNoNumber) logs.emplace_back(number, name);
  }
  std::sort(logs.begin(), logs.end());
  return logs;
}

/// The numbers of the section "params" behind those that all indexes have.
enum Number : std::size_t {
  kListSize,
  kReplicas,
  kSeed,
  kBudget,
  kClustered,
  kIdentity,
  kChanges,
  kOnDisk,
  kListsEnd,
  kLongest,
  kNumbers
};

std::string text_of(const Container& file, std::string_view name) {
  const auto text = storage::read_vector<char>(file, name, ElementType::u8);
  return {text.begin(), text.end()};
}

void add_text(SectionList& sections, const std::string& name, const std::string& text) {
  sections.add_copy(name, ElementType::u8, std::vector<char>(text.begin(), text.end()));
}

std::string file_name(const Container& file, std::string_view section, std::string_view prefix) {
  const std::string name = text_of(file, section);
  if (!name.starts_with(prefix) || number_of(name, prefix) == kNoNumber) {
    throw CorruptError("a file has a name that it cannot have");
  }
  return name;
}

}  // namespace

DiskIndex::DiskIndex(const std::string& directory, const Params& params, std::uint64_t identity,
                     const OpenOptions& options)
    : Index(params.lists.dim, params.lists.dtype, params.lists.metric, true),
      directory_(directory),
      params_(params),
      options_(options),
      identity_(identity),
      list_form_(ListCodes(params.lists.dim, params.lists.metric), ItemCodes(params).bytes()),
      codes_(params),
      table_(params.lists.dim, params.lists.dtype, params.lists.metric),
      fresh_(params.lists.dim * dtype_size(params.lists.dtype)),
      cache_(options.cache_bytes > 0 ? std::make_shared<io::BlockCache>(options.cache_bytes) : nullptr) {
  table_.drop_rows();
}

DiskIndex::~DiskIndex() = default;

void DiskIndex::append_sections(SectionList& sections) const { append_state(*state_, sections); }

void DiskIndex::append_state(const State& state, SectionList& sections) const {
  StoredParams params{dim_, dtype_, metric_, std::vector<std::uint64_t>(kNumbers)};
  params.more[kListSize] = params_.lists.list_size;
  params.more[kReplicas] = params_.lists.replicas;
  params.more[kSeed] = params_.lists.seed;
  params.more[kBudget] = params_.memory_budget;
  params.more[kClustered] = state.clustered;
  params.more[kIdentity] = identity_;
  params.more[kChanges] = changes_;
  params.more[kOnDisk] = state.on_disk;
  params.more[kListsEnd] = state.lists_end;
  params.more[kLongest] = std::bit_cast<std::uint32_t>(longest_);
  append_params(params, sections);
  add_text(sections, "disk.codec", params_.codec);
  add_text(sections, "disk.lists", state.lists_name);
  add_text(sections, "disk.vectors", state.vectors_name);
  if (state.vector_form.narrow()) append_stored_dtype(state.vector_form.stored(), sections);
  append_table(table_, sections);
  const std::uint64_t lists = state.fresh.count(), slots = table_.slots(), since = slots - state.on_disk;
  sections.add("lists.centroids", ElementType::f32, {lists, dim_}, state.fresh.centroids().bytes());
  sections.add("lists.places", ElementType::u8, {lists, kPlaceWords}, state.places.bytes());
  sections.add_copy("lists.given_up", ElementType::u32, state.given_up);
  sections.add("lists.homes", ElementType::u32, {slots, params_.lists.replicas}, state.homes.bytes());
  std::vector<float> learnt(state.reach);
  learnt.push_back(state.error);
  learnt.push_back(state.row_error);
  sections.add_copy("lists.learnt", ElementType::f32, learnt);
  if (!state.spread.rests.empty()) state.spread.append_section("lists.spread", sections);
  sections.add_copy("codec.params", ElementType::f32, codes_.params());
  sections.add("vectors.sums", ElementType::u32, {state.sums.size()}, state.sums.bytes());
  std::vector<std::byte> rows;
  for (std::uint64_t i = 0; i < since; ++i) {
    const std::byte* row = fresh_.row(static_cast<Slot>(state.on_disk + i));
    rows.insert(rows.end(), row, row + row_bytes());
  }
  sections.add_copy("vectors.fresh", ElementType::u8, rows);
}

// With writer_ held, or by the one thread that knows of the index.
void DiskIndex::write_manifest(const State& state) {
  storage::sync_directory(directory_);  // the names of what it names
  SectionList sections;
  append_state(state, sections);
  append_by_id(table_, sections);
  std::vector<storage::SectionView> all = sections.views();
  const SectionList extra = extra_ ? extra_() : SectionList();
  all.insert(all.end(), extra.views().begin(), extra.views().end());
  storage::write_container(path(kManifest), kind(), all);
}

// Searches do not look at the order of arrival, the hash by id, nor without a filter at the lists of each item: these
// arrays become mappings of a manifest that holds just what they do. With writer_ held, as write_manifest().
void DiskIndex::leave_in_file(const Container& file) {
  TablePlaces places(file);
  Array<std::uint32_t> homes(file.map(file.require("lists.homes", ElementType::u32, 2), false));
  std::lock_guard writing(lock_);
  table_.swap_places(places.arrivals, places.by_id);
  std::swap(state_->homes, homes);
}

std::string DiskIndex::next_name(const std::string& name) const {
  const std::string_view prefix = std::string_view(name).starts_with(kLists) ? kLists : kVectors;
  std::uint64_t number = number_of(name, prefix);
  // A manifest that could not be made durable may name a later one all the same.
  for (const std::string& other : storage::directory_names(directory_)) {
    if (other.starts_with(prefix) && number_of(other, prefix) != kNoNumber) {
      number = std::max(number, number_of(other, prefix));
    }
  }
  return numbered(prefix, number + 1);
}

void DiskIndex::open_files(State& state) const {
  for (const auto& [name, kind, file] : {std::tuple(&state.lists_name, "lists", &state.lists_file),
                                         std::tuple(&state.vectors_name, "vectors", &state.vectors_file)}) {
    if (*file == nullptr) {
      // A vector is seldom read twice: only where all lists have room are vectors kept, too.
      const bool room = ResidentLists::all_bytes(state, list_form_) < options_.cache_bytes;
      const bool kept = file == &state.lists_file || room;
      *file = std::make_shared<io::BlockReader>(path(*name), options_.engine, options_.direct, kept ? cache_ : nullptr);
      check_header((*file)->reader().file().plain(), {kind, identity_});
    }
    (*file)->reader().file().look_again();
  }
}

// What the cache may take besides.
void DiskIndex::share_cache(const State& state) const {
  if (cache_ == nullptr) return;
  const std::size_t resident = state.resident != nullptr ? state.resident->bytes() : 0;
  cache_->set_capacity(options_.cache_bytes - std::min(resident, options_.cache_bytes));
}

std::unique_ptr<DiskIndex> DiskIndex::open(const std::string& directory, const OpenOptions& options,
                                           const Replayed& replayed) {
  // A writer may publish and clear away while this reads.
  constexpr int kAttempts = 5;
  std::unique_ptr<storage::DirectoryLock> lock;
  const std::string manifest = directory + "/" + kManifest;
  for (int attempt = 1;; ++attempt) {
    std::uint64_t changes = 0;
    std::vector<std::pair<std::string, std::shared_ptr<const Container>>> records;
    const Replayed keep = [&](const std::string& kind, const std::shared_ptr<const Container>& record) {
      records.emplace_back(kind, record);
    };
    // There is another manifest since, and the logs before it may be gone.
    const auto overtaken = [&] {
      return options.read_only && read_params(*Container::open(manifest, false), kNumbers).more[kChanges] != changes;
    };
    try {
      std::shared_ptr<const Container> file = Container::open(manifest, false);
      if (!options.read_only && lock == nullptr) {
        lock = std::make_unique<storage::DirectoryLock>(directory);
        file = Container::open(manifest, false);
      }
      if (file->kind() != "spann-disk") throw CorruptError(manifest + ": not the index of a directory");
      const StoredParams stored = read_params(*file, kNumbers);
      Params params;
      params.lists.dim = stored.dim;
      params.lists.dtype = stored.dtype;
      params.lists.metric = stored.metric;
      params.lists.list_size = static_cast<std::uint32_t>(std::min<std::uint64_t>(stored.more[kListSize], 0xFFFFFFFFu));
      params.lists.replicas = static_cast<std::uint32_t>(std::min<std::uint64_t>(stored.more[kReplicas], 0xFFFFFFFFu));
      params.lists.seed = stored.more[kSeed];
      params.memory_budget = stored.more[kBudget];
      params.codec = text_of(*file, "disk.codec");
      try {
        SpannIndex check(params.lists);
        if (codec_for(params.codec, params.lists.dim) != params.codec)
          throw ValueError("the codec is one to be chosen");
      } catch (const ValueError& error) {
        throw CorruptError(std::string("the parameters are out of range: ") + error.what());
      }
      std::unique_ptr<DiskIndex> index(new DiskIndex(directory, params, stored.more[kIdentity], options));
      index->changes_ = index->logged_from_ = changes = stored.more[kChanges];
      index->manifest_ = file;
      index->restore(file);
      index->directory_lock_ = std::move(lock);
      index->replay(keep);
      if (overtaken()) {
        if (attempt < kAttempts) continue;
        throw OsError(EAGAIN, directory, "'" + directory + "' is written to faster than it can be read");
      }
      for (const auto& [kind, record] : records) {
        if (replayed) replayed(kind, record);
      }
      return index;
    } catch (const OsError& error) {
      if (error.errno_code != ENOENT || !options.read_only || attempt == kAttempts) throw;
    } catch (const CorruptError& error) {
      if (attempt < kAttempts && overtaken()) continue;
      if (std::string_view(error.what()).starts_with(directory)) throw;
      throw CorruptError(manifest + ": " + error.what());
    }
  }
}

void DiskIndex::restore(const std::shared_ptr<const Container>& file) {
  const StoredParams stored = read_params(*file, kNumbers);
  state_ = std::make_shared<State>(params_, table_);
  State& state = *state_;
  restore_table(file, table_);
  const std::size_t n = table_.slots();
  state.clustered = static_cast<std::size_t>(std::min<std::uint64_t>(stored.more[kClustered], kMaxSlots));
  state.lists_end = stored.more[kListsEnd];
  longest_ = std::bit_cast<float>(static_cast<std::uint32_t>(stored.more[kLongest]));
  const std::optional<DType> narrow = read_stored_dtype(*file);
  if (narrow && is_integer(dtype_)) throw CorruptError("rows of vectors are of two types");
  state.vector_form = VectorForm(dim_, dtype_, narrow.value_or(dtype_));
  if (!(longest_ >= 0) || stored.more[kOnDisk] > n || stored.more[kOnDisk] % state.vector_form.rows_in_unit() != 0) {
    throw CorruptError("the numbers of vectors make no sense");
  }
  state.on_disk = static_cast<std::size_t>(stored.more[kOnDisk]);
  state.lists_name = file_name(*file, "disk.lists", kLists);
  state.vectors_name = file_name(*file, "disk.vectors", kVectors);
  const SectionInfo& centroids = file->require("lists.centroids", ElementType::f32, 2);
  const SectionInfo& places = file->require("lists.places", ElementType::u8, 2);
  const SectionInfo& homes = file->require("lists.homes", ElementType::u32, 2);
  if (centroids.shape[1] != dim_ || places.shape[1] != kPlaceWords || centroids.shape[0] != places.shape[0] ||
      centroids.shape[0] >= kMaxSlots || homes.shape[0] != n || homes.shape[1] != params_.lists.replicas) {
    throw CorruptError("the posting lists have a wrong shape");
  }
  const auto lists = static_cast<std::uint32_t>(centroids.shape[0]);
  {
    const Array<float> around(load_section(file, centroids));
    for (float x : around) {
      if (!std::isfinite(x)) throw CorruptError("a centroid is not finite");
    }
    for (std::uint32_t l = 0; l < lists; ++l) state.fresh.add_list(around.data() + std::size_t{l} * dim_);
  }
  state.places = Array<ListPlace>(load_section(file, places));
  open_files(state);
  const std::uint64_t end = state.lists_file->reader().file().size();
  if (state.lists_end > end || state.lists_end < kHeaderBytes) throw CorruptError("the file of lists is too short");
  for (std::uint32_t l = 0; l < lists; ++l) {
    const ListPlace& place = state.places[l];
    if (place.size == 0) continue;
    if (place.size > n || place.offset % io::kAlignment != 0 || place.offset < kHeaderBytes ||
        place.offset > state.lists_end || list_form_.bytes(place.size) > state.lists_end - place.offset ||
        !(place.width >= 0) || !std::isfinite(place.width)) {
      throw CorruptError("posting list " + std::to_string(l) + " does not lie within the lists");
    }
  }
  state.given_up = storage::read_vector<std::uint32_t>(*file, "lists.given_up", ElementType::u32);
  const auto& gone = state.given_up;
  if (std::adjacent_find(gone.begin(), gone.end(), std::greater_equal<>()) != gone.end() ||
      (!state.given_up.empty() && state.given_up.back() >= lists)) {
    throw CorruptError("a list was given up that is not there");
  }
  state.homes = Array<std::uint32_t>(file->map(homes, true));
  for (std::size_t slot = 0; slot < n; ++slot) {
    bool any = false;
    for (std::uint32_t home : state.homes_of(static_cast<Slot>(slot))) {
      if (home != kNoList && (home >= lists || state.is_given_up(home))) {
        throw CorruptError("an item names a list that is not there");
      }
      any = any || home != kNoList;
    }
    if (!any && lists > state.given_up.size() && table_.alive(static_cast<Slot>(slot))) {
      throw CorruptError("an item is in no posting list");
    }
  }
  state.reach = storage::read_vector<float>(*file, "lists.learnt", ElementType::f32);
  const bool finite = std::all_of(state.reach.begin(), state.reach.end(), [](float x) { return std::isfinite(x); });
  if (state.reach.size() != (lists > 0 ? Postings::kReaches : 0) + 2 || !finite) {
    throw CorruptError("what was learnt of distances makes no sense");
  }
  state.row_error = state.reach.back();
  state.reach.pop_back();
  state.error = state.reach.back();
  state.reach.pop_back();
  if (file->find("lists.spread") != nullptr) state.spread.restore(*file, "lists.spread", state.reach.size());
  if (!codes_.restore(storage::read_vector<float>(*file, "codec.params", ElementType::f32)) && lists > 0) {
    throw CorruptError("the codec's parameters do not fit the vectors");
  }
  const SectionInfo& sums = file->require("vectors.sums", ElementType::u32, 1);
  state.sums = Array<std::uint32_t>(load_section(file, sums));
  if (state.sums.size() != state.vector_form.units(state.on_disk) ||
      state.vectors_file->reader().file().size() < state.vector_form.offset(state.sums.size())) {
    throw CorruptError("the file of vectors is too short");
  }
  const auto rows = storage::read_vector<std::byte>(*file, "vectors.fresh", ElementType::u8);
  const std::size_t bytes = row_bytes(), since = n - state.on_disk;
  if (rows.size() != since * bytes) throw CorruptError("vectors that are in no list yet are missing");
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t l = 0; l < lists; ++l) {
    if (!state.is_given_up(l)) numbers.push_back(l);
  }
  leave_in_file(*file);  // once more: the pages that were looked at are the kernel's again
  state.centroids.build(state.fresh, numbers, 0);
  state.measure_length();
  fresh_.begin_at(static_cast<Slot>(state.on_disk));
  std::vector<Slot> slots;
  std::vector<const std::byte*> at;
  for (std::size_t i = 0; i < since; ++i) {
    try {
      require_finite({rows.data() + i * bytes, dtype_, 1, dim_}, "vectors");
    } catch (const ValueError&) {
      throw CorruptError("a vector is not finite");
    }
    fresh_.append(rows.data() + i * bytes);
    const auto slot = static_cast<Slot>(state.on_disk + i);
    if (!table_.alive(slot)) continue;
    slots.push_back(slot);
    at.push_back(fresh_.row(slot));
  }
  put_in_lists(state, slots, at);
  state.resident = ResidentLists::load(state, list_form_, nullptr, options_.cache_bytes);
  share_cache(state);
}

// Changes that the log holds and the manifest does not.
void DiskIndex::replay(const Replayed& replayed) {
  replaying_ = true;
  const auto logs = logs_in(directory_);
  std::vector<std::string> needed;  // one that could not be begun may lie behind the one that went on in its place
  for (std::size_t i = 0; i < logs.size(); ++i) {
    const auto& [first, name] = logs[i];
    std::uint64_t number = first;
    const auto take = [&](const std::string& change, const std::shared_ptr<const Container>& record) {
      if (number++ < changes_) return;
      if (number != changes_ + 1) throw CorruptError(path(name) + ": changes before it are missing");
      try {
        apply(change, record);
        replayed(change, record);
      } catch (const ValueError& error) {
        throw CorruptError(path(name) + ": " + error.what());
      } catch (const KeyError& error) {
        throw CorruptError(path(name) + ": " + error.what());
      }
      changes_ = number;
    };
    if (options_.read_only || i + 1 < logs.size()) {
      storage::read_log(path(name), identity_, take);
    } else {
      log_ = std::make_unique<storage::Log>(path(name), identity_, take);
      log_name_ = name;
      // One that ends before the manifest does was written by nobody: its next change would have an old number.
      if (number < changes_) log_.reset();
    }
    if (number > logged_from_) needed.push_back(name);
  }
  replaying_ = false;
  if (options_.read_only) return;
  if (log_ == nullptr) begin_log();
  log_bytes_ = log_->bytes();
  remove_others(needed);
}

void DiskIndex::begin_log() {
  const std::string name = numbered(kLog, changes_);
  log_ = std::make_unique<storage::Log>(path(name), identity_,
                                        [](const std::string&, const std::shared_ptr<const Container>&) {});
  log_bytes_ = log_->bytes();
  log_name_ = name;
}

// What a build or a merge that did not come to its end has left, and what the index does not need any more: of logs all
// but these and the one that goes on.
void DiskIndex::remove_others(std::span<const std::string> logs) const {
  for (const std::string& name : storage::directory_names(directory_)) {
    const bool old_file = (name.starts_with(kLists) && name != state_->lists_name) ||
                          (name.starts_with(kVectors) && name != state_->vectors_name);
    const bool old_log =
        name.starts_with(kLog) && name != log_name_ && std::find(logs.begin(), logs.end(), name) == logs.end();
    if (old_file || old_log || name.starts_with(kBuild) || storage::is_left_over(name)) {
      storage::remove_file(path(name));
    }
  }
}

}  // namespace annlib::disk
