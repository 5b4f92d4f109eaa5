#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "index/sections.h"
#include "spann/postings.h"

namespace annlib {

using storage::Container;
using storage::ElementType;
using storage::SectionInfo;
using storage::SectionList;

namespace {

constexpr std::size_t kListWords = sizeof(PostingLists::List) / sizeof(std::uint32_t);

}  // namespace

std::size_t Postings::memory_bytes() const {
  return lists.memory_bytes() + homes.bytes().size() + centroids.memory_bytes();
}

void Postings::append_sections(const std::string& prefix, SectionList& sections) const {
  const std::uint64_t count = lists.count();
  sections.add(prefix + "centroids", ElementType::f32, {count, table.dim()}, lists.centroids().bytes());
  sections.add(prefix + "places", ElementType::u32, {count, kListWords}, lists.lists().bytes());
  sections.add(prefix + "blocks", ElementType::u8, {lists.blocks().size()}, lists.blocks().bytes());
  sections.add(prefix + "homes", ElementType::u32, {table.slots(), replicas}, homes.bytes());
  std::vector<float> learnt(reach);
  learnt.push_back(error);
  sections.add_copy(prefix + "learnt", ElementType::f32, learnt);
  if (spread_kept_) spread.append_section(prefix + "spread", sections);
}

void Postings::restore(const std::shared_ptr<const Container>& file, const std::string& prefix) {
  const std::size_t n = table.slots();
  const SectionInfo& centers = file->require(prefix + "centroids", ElementType::f32, 2);
  const SectionInfo& places = file->require(prefix + "places", ElementType::u32, 2);
  const SectionInfo& named_homes = file->require(prefix + "homes", ElementType::u32, 2);
  if (centers.shape[1] != table.dim() || places.shape[1] != kListWords || centers.shape[0] != places.shape[0] ||
      centers.shape[0] >= kMaxSlots) {
    throw CorruptError("the posting lists have a wrong shape");
  }
  if (named_homes.shape[0] != n || named_homes.shape[1] != replicas) {
    throw CorruptError("the lists of items and the vectors differ in length");
  }
  lists.restore(Array<float>(load_section(file, centers)), Array<PostingLists::List>(load_section(file, places)),
                Array<std::byte>(load_section(file, file->require(prefix + "blocks", ElementType::u8, 1))), n);
  homes = Array<std::uint32_t>(load_section(file, named_homes));
  // Each living item stands in the lists that it names, at least one, and nothing else stands in any.
  std::size_t named = 0, held = 0;
  for (std::size_t slot = 0; slot < n; ++slot) {
    const auto own = homes_of(static_cast<Slot>(slot));
    const auto count = static_cast<std::size_t>(std::count_if(own.begin(), own.end(), [&](auto home) {
      if (home != kNoList && home >= lists.count()) throw CorruptError("an item names a list that is not there");
      return home != kNoList;
    }));
    if ((count > 0) != table.alive(static_cast<Slot>(slot))) {
      throw CorruptError("an item is in no posting list, or one that is not there is in some");
    }
    named += count;
  }
  std::vector<Slot> members;
  for (std::uint32_t list = 0; list < lists.count(); ++list) {
    lists.slots_of(list, members);
    held += members.size();
    for (Slot slot : members) {
      const auto own = homes_of(slot);
      if (std::find(own.begin(), own.end(), list) == own.end()) {
        throw CorruptError("posting list " + std::to_string(list) + " holds an item that does not name it");
      }
    }
  }
  if (named != held) throw CorruptError("an item names a posting list that does not hold it");
  reach = storage::read_vector<float>(*file, prefix + "learnt", ElementType::f32);
  const bool finite = std::all_of(reach.begin(), reach.end(), [](float x) { return std::isfinite(x); });
  if (reach.size() != (lists.count() > 0 ? kReaches + 1 : 1) || !finite) {
    throw CorruptError("what was learnt of distances makes no sense");
  }
  error = reach.back();
  reach.pop_back();
  centroids.build(lists, 0);
  spread_kept_ = file->find(prefix + "spread") != nullptr;
  if (spread_kept_) return spread.restore(*file, prefix + "spread", table.metric() == Metric::ip ? 0 : reach.size());
  // Of a file from before it was learnt, whose digest is to stay as it is.
  if (named == 0) return;
  std::vector<Slot> living;
  table.alive_bits().for_each([&](std::size_t slot) { living.push_back(static_cast<Slot>(slot)); });
  const std::vector<float> kept_reach = reach;
  const float kept_error = error;
  learn(living, 0);
  reach = kept_reach;
  error = kept_error;
}

}  // namespace annlib
