#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "hnsw/filter_index.h"
#include "index/sections.h"

namespace annlib {

using storage::ElementType;

namespace {

// Of each filter index: number of its column, kind, least number of items, memory budget, changes.
constexpr std::size_t kNumbers = 5;

std::string section_of(std::size_t i, const char* part) { return "filter." + std::to_string(i) + "." + part; }

// As texts one behind the other: where a group's values begin, and where they end unless they are open.
struct Bounds {
  std::vector<std::uint64_t> ends;
  std::vector<std::uint8_t> open;
  std::vector<char> texts;

  void add(const std::string& text) {
    texts.insert(texts.end(), text.begin(), text.end());
    ends.push_back(texts.size());
  }
};

}  // namespace

void append_filter_indexes(const FilterIndexes& indexes, const Columns& columns, storage::SectionList& sections) {
  if (indexes.empty()) return;
  std::vector<std::uint64_t> numbers;
  for (const auto& [name, index] : indexes) {
    const auto column = std::distance(columns.all().begin(), columns.all().find(name));
    numbers.insert(numbers.end(), {static_cast<std::uint64_t>(column), static_cast<std::uint64_t>(index->params.kind),
                                   index->params.min_items, index->params.memory_budget, index->changes});
  }
  sections.add_copy("filters", ElementType::u64, numbers);
  std::size_t i = 0;
  for (const auto& [name, index] : indexes) {
    Bounds bounds;
    std::vector<std::uint64_t> stretches;
    for (const FilterIndex::Group& group : index->groups) {
      bounds.add(group.values.begin);
      bounds.add(group.values.end.value_or(""));
      bounds.open.push_back(!group.values.end);
      stretches.push_back(group.end);
    }
    const std::uint64_t members = index->members.size();
    sections.add_copy(section_of(i, "groups"), ElementType::u64, stretches);
    sections.add_copy(section_of(i, "open"), ElementType::u8, bounds.open);
    sections.add_copy(section_of(i, "ends"), ElementType::u64, bounds.ends);
    sections.add_copy(section_of(i, "texts"), ElementType::u8, bounds.texts);
    sections.add(section_of(i, "members"), ElementType::u32, {members}, index->members.bytes());
    sections.add(section_of(i, "links"), ElementType::u32, {members, index->width}, index->links.bytes());
    sections.add(section_of(i, "changed"), ElementType::u64, {index->changed.words().size()},
                 index->changed.words().bytes());
    ++i;
  }
}

namespace {

void restore_groups(const storage::Container& file, std::size_t i, FilterIndex& index) {
  const auto groups = storage::read_vector<std::uint64_t>(file, section_of(i, "groups"), ElementType::u64);
  const auto open = storage::read_vector<std::uint8_t>(file, section_of(i, "open"), ElementType::u8);
  const auto ends = storage::read_vector<std::uint64_t>(file, section_of(i, "ends"), ElementType::u64);
  const auto texts = storage::read_vector<char>(file, section_of(i, "texts"), ElementType::u8);
  if (open.size() != groups.size() || ends.size() != 2 * groups.size() ||
      (ends.empty() ? 0 : ends.back()) != texts.size() ||
      (groups.empty() ? 0 : groups.back()) != index.members.size()) {
    throw CorruptError("the groups of a filter index differ in number");
  }
  std::uint64_t begin = 0, text = 0;
  const auto next_text = [&](std::size_t at) {
    if (ends[at] < text || ends[at] > texts.size()) throw CorruptError("the bounds of a filter index do not ascend");
    std::string found(texts.data() + text, ends[at] - text);
    text = ends[at];
    return found;
  };
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (groups[g] <= begin || groups[g] > index.members.size()) {
      throw CorruptError("the groups of a filter index do not ascend");
    }
    IntervalSet::Interval values{next_text(2 * g), next_text(2 * g + 1)};
    if (open[g] != 0) values.end.reset();
    if ((values.end && *values.end <= values.begin) || (g > 0 && values.begin < index.groups.back().values.begin)) {
      throw CorruptError("the values of a filter index are out of order");
    }
    for (std::size_t row = begin; row < groups[g]; ++row) {
      const Slot* list = &index.links[row * index.width];
      for (std::uint32_t l = 0; l < index.width && list[l] != kNoSlot; ++l) {
        if (list[l] >= groups[g] - begin) throw CorruptError("a link leads out of a sub-graph");
      }
    }
    index.groups.push_back({std::move(values), begin, groups[g]});
    begin = groups[g];
  }
}

}  // namespace

FilterIndexes restore_filter_indexes(const std::shared_ptr<const storage::Container>& file, const Columns& columns,
                                     std::uint32_t width) {
  FilterIndexes indexes;
  if (file->find("filters") == nullptr) return indexes;
  const auto numbers = storage::read_vector<std::uint64_t>(*file, "filters", ElementType::u64);
  if (numbers.empty() || numbers.size() % kNumbers != 0) throw CorruptError("the list of filter indexes is wrong");
  for (std::size_t i = 0; i < numbers.size() / kNumbers; ++i) {
    const std::uint64_t* number = &numbers[i * kNumbers];
    if (number[0] >= columns.all().size() || number[1] > static_cast<std::uint64_t>(FilterIndexKind::range) ||
        number[2] == 0 || number[4] > kMaxSlots) {
      throw CorruptError("a filter index is on no attribute or of no kind that there is");
    }
    const auto& [name, column] = *std::next(columns.all().begin(), static_cast<std::ptrdiff_t>(number[0]));
    auto index = std::make_unique<FilterIndex>();
    index->params = {static_cast<FilterIndexKind>(number[1]), number[2], number[3]};
    index->changes = number[4];
    index->width = width;
    try {
      require_indexable(name, column.type(), index->params.kind);
    } catch (const ValueError& error) {
      throw CorruptError(error.what());
    }
    const storage::SectionInfo& links = file->require(section_of(i, "links"), ElementType::u32, 2);
    index->members = Array<Slot>(load_section(file, file->require(section_of(i, "members"), ElementType::u32, 1)));
    index->links = Array<Slot>(load_section(file, links));
    if (links.shape[0] != index->members.size() || links.shape[1] != width) {
      throw CorruptError("the lists of a filter index have a wrong length");
    }
    for (const Slot slot : index->members) {
      if (slot >= columns.slots()) throw CorruptError("a member of a filter index is no slot");
    }
    const auto changed = storage::read_vector<std::uint64_t>(*file, section_of(i, "changed"), ElementType::u64);
    if (changed.size() != Bitset::words_for(columns.slots())) {
      throw CorruptError("the changes of a filter index have a wrong length");
    }
    index->changed.resize(columns.slots());
    for (std::size_t slot = 0; slot < changed.size() * 64; ++slot) {
      if ((changed[slot / 64] >> (slot % 64) & 1) == 0) continue;
      if (slot >= columns.slots()) throw CorruptError("a change of a filter index is of no slot");
      index->changed.set(slot);
    }
    restore_groups(*file, i, *index);
    if (!indexes.emplace(name, std::move(index)).second) throw CorruptError("an attribute has two filter indexes");
  }
  return indexes;
}

}  // namespace annlib
