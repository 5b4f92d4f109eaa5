#include "index/row_source.h"

#include "index/index.h"

namespace annlib {

void Index::gather(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup,
                   RowSource& source) const {
  const Table& old = table();
  std::vector<Slot>& kept = source.kept;
  kept = old.arrival_order();
  if (lookup.any) {
    Bitset replaced(old.slots());
    for (Slot slot : lookup.old) {
      if (slot != kNoSlot) replaced.set(slot);
    }
    std::erase_if(kept, [&](Slot slot) { return replaced.test(slot); });
  }
  source.count = kept.size() + ids.size();
  source.row = [&](std::size_t i) {
    if (i < kept.size()) return RowView{old.vector(kept[i]), old.dtype()};
    return RowView{vectors.row(i - kept.size()), vectors.dtype};
  };
  source.id = [&old, &kept, ids](std::size_t i) { return i < kept.size() ? old.id(kept[i]) : ids[i - kept.size()]; };
  // An item that is replaced keeps its place among the arrivals; new ones follow.
  source.arrival = [&, next = old.next_arrival()](std::size_t i) -> std::uint32_t {
    if (i < kept.size()) return old.arrival(kept[i]);
    const std::size_t item = i - kept.size();
    return lookup.old[item] != kNoSlot ? old.arrival(lookup.old[item]) : next + static_cast<std::uint32_t>(item);
  };
  source.attributes = [&](Columns& to, std::span<const std::size_t> order) {
    static const Columns none;
    ColumnsWriter writer(to, old.columns(), lookup.attributes != nullptr ? *lookup.attributes : none);
    for (std::size_t slot = 0; slot < order.size(); ++slot) {
      const bool is_kept = order[slot] < kept.size();
      const auto item = static_cast<Slot>(is_kept ? 0 : order[slot] - kept.size());
      writer.write(static_cast<Slot>(slot), is_kept ? kept[order[slot]] : lookup.old[item], is_kept ? kNoSlot : item);
    }
    writer.commit();
  };
}

}  // namespace annlib
