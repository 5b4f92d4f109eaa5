#include <algorithm>
#include <string>

#include "core/error.h"
#include "index/sections.h"
#include "spann/spann_index.h"

namespace annlib {

using storage::Container;
using storage::SectionList;

void SpannIndex::append_sections(SectionList& sections) const {
  const SpannState& state = *state_;
  append_params({dim_, dtype_, metric_, {params_.list_size, params_.replicas, params_.seed, state.postings.clustered}},
                sections);
  append_table(state.table, sections);
  state.postings.append_sections("lists.", sections);
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
  index->state_->postings.clustered = static_cast<std::size_t>(std::min<std::uint64_t>(stored.more[3], kMaxSlots));
  restore_table(file, index->state_->table);
  index->state_->postings.restore(file, "lists.");
  return index;
}

}  // namespace annlib
