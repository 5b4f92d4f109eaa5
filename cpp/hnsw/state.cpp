#include "hnsw/state.h"

#include <utility>

namespace annlib {

HnswState::HnswState(const HnswParams& params, const std::string& codec)
    : table(params.dim, params.dtype, params.metric), graph(params.m) {
  if (std::unique_ptr<Codec> made = make_codec(codec, params.metric, params.dim)) {
    codes = std::make_unique<CodeSpace>(table, std::move(made));
  }
}

std::size_t HnswState::memory_bytes() const {
  return graph.memory_bytes() + nodes.words().bytes().size() + twins.memory_bytes() +
         (codes ? codes->memory_bytes() : 0);
}

void HnswState::grow_to_table() {
  graph.resize(table.slots());
  nodes.resize(table.slots());
  if (codes) codes->grow();
}

}  // namespace annlib
