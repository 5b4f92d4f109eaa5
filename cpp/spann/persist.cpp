#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "index/sections.h"
#include "spann/spann_index.h"

namespace annlib {

using storage::Container;
using storage::ElementType;
using storage::SectionInfo;
using storage::SectionList;

namespace {

constexpr std::size_t kListWords = sizeof(PostingLists::List) / sizeof(std::uint32_t);

}  // namespace

void SpannIndex::append_sections(SectionList& sections) const {
  const SpannState& state = *state_;
  const std::uint64_t lists = state.lists.count();
  append_params({dim_, dtype_, metric_, {params_.list_size, params_.replicas, params_.seed, state.clustered}},
                sections);
  append_table(state.table, sections);
  sections.add("lists.centroids", ElementType::f32, {lists, dim_}, state.lists.centroids().bytes());
  sections.add("lists.places", ElementType::u32, {lists, kListWords}, state.lists.lists().bytes());
  sections.add("lists.blocks", ElementType::u8, {state.lists.blocks().size()}, state.lists.blocks().bytes());
  sections.add("lists.homes", ElementType::u32, {state.table.slots(), params_.replicas}, state.homes.bytes());
  std::vector<float> learnt(state.reach);
  learnt.push_back(state.error);
  sections.add_copy("lists.learnt", ElementType::f32, learnt);
}

std::unique_ptr<SpannIndex> SpannIndex::open(const std::shared_ptr<const Container>& file) {
  const StoredParams stored = read_params(*file, 4);
  SpannParams params;
  params.dim = stored.dim;
  params.dtype = stored.dtype;
  params.metric = stored.metric;
  params.list_size = static_cast<std::uint32_t>(std::min<std::uint64_t>(stored.more[0], 0xFFFFFFFFu));
  params.replicas = static_cast<std::uint32_t>(std::min<std::uint64_t>(stored.more[1], 0xFFFFFFFFu));
  params.seed = stored.more[2];
  std::unique_ptr<SpannIndex> index;
  try {
    index = std::make_unique<SpannIndex>(params);
  } catch (const ValueError& error) {
    throw CorruptError(std::string("the parameters are out of range: ") + error.what());
  }
  index->state_->clustered = static_cast<std::size_t>(std::min<std::uint64_t>(stored.more[3], kMaxSlots));
  index->restore(file);
  return index;
}

void SpannIndex::restore(const std::shared_ptr<const Container>& file) {
  SpannState& state = *state_;
  restore_table(file, state.table);
  const std::size_t n = state.table.slots();
  const SectionInfo& centroids = file->require("lists.centroids", ElementType::f32, 2);
  const SectionInfo& places = file->require("lists.places", ElementType::u32, 2);
  const SectionInfo& homes = file->require("lists.homes", ElementType::u32, 2);
  if (centroids.shape[1] != dim_ || places.shape[1] != kListWords || centroids.shape[0] != places.shape[0] ||
      centroids.shape[0] >= kMaxSlots) {
    throw CorruptError("the posting lists have a wrong shape");
  }
  if (homes.shape[0] != n || homes.shape[1] != params_.replicas) {
    throw CorruptError("the lists of items and the vectors differ in length");
  }
  state.lists.restore(Array<float>(load_section(file, centroids)),
                      Array<PostingLists::List>(load_section(file, places)),
                      Array<std::byte>(load_section(file, file->require("lists.blocks", ElementType::u8, 1))), n);
  state.homes = Array<std::uint32_t>(load_section(file, homes));
  // Each living item stands in the lists that it names, at least one, and nothing else stands in any.
  std::size_t named = 0, held = 0;
  for (std::size_t slot = 0; slot < n; ++slot) {
    const auto own = state.homes_of(static_cast<Slot>(slot));
    const auto count = static_cast<std::size_t>(std::count_if(own.begin(), own.end(), [&](auto home) {
      if (home != kNoList && home >= state.lists.count()) throw CorruptError("an item names a list that is not there");
      return home != kNoList;
    }));
    if ((count > 0) != state.table.alive(static_cast<Slot>(slot))) {
      throw CorruptError("an item is in no posting list, or one that is not there is in some");
    }
    named += count;
  }
  std::vector<Slot> members;
  for (std::uint32_t list = 0; list < state.lists.count(); ++list) {
    state.lists.slots_of(list, members);
    held += members.size();
    for (Slot slot : members) {
      const auto own = state.homes_of(slot);
      if (std::find(own.begin(), own.end(), list) == own.end()) {
        throw CorruptError("posting list " + std::to_string(list) + " holds an item that does not name it");
      }
    }
  }
  if (named != held) throw CorruptError("an item names a posting list that does not hold it");
  state.reach = storage::read_vector<float>(*file, "lists.learnt", ElementType::f32);
  const bool finite = std::all_of(state.reach.begin(), state.reach.end(), [](float x) { return std::isfinite(x); });
  if (state.reach.size() != (state.lists.count() > 0 ? SpannState::kReaches + 1 : 1) || !finite) {
    throw CorruptError("what was learnt of distances makes no sense");
  }
  state.error = state.reach.back();
  state.reach.pop_back();
  state.centroids.build(state.lists, 0);
}

}  // namespace annlib
