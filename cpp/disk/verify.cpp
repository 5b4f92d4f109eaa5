#include <algorithm>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "disk/disk_index.h"

namespace annlib::disk {

std::vector<std::string> DiskIndex::damage() const {
  std::shared_lock reading(lock_);
  require_open();
  const State& state = *state_;
  std::vector<std::string> found;
  std::vector<std::byte> bytes;
  const auto read = [&](const storage::File& file, std::uint64_t offset, std::size_t n, std::uint32_t crc,
                        const std::string& what) {
    bytes.resize(n);
    if (file.read_at(offset, bytes) != n) {
      found.push_back(file.name() + ": " + what + ": the file ends before it");
    } else if (checksum(bytes) != crc) {
      found.push_back(file.name() + ": " + what + ": damaged, at byte " + std::to_string(offset));
    } else {
      return true;
    }
    return false;
  };
  const storage::File& lists = state.lists_file->reader().file().plain();
  std::vector<std::uint32_t> held(table_.slots(), 0), wanted(table_.slots(), 0);
  for (std::uint32_t l = 0; l < state.places.size(); ++l) {
    const ListPlace& place = state.places[l];
    const std::string what = "posting list " + std::to_string(l);
    if (place.size == 0 || !read(lists, place.offset, list_form_.bytes(place.size), place.crc, what)) continue;
    for (std::uint32_t i = 0; i < place.size; ++i) {
      const Slot slot = list_form_.slot(std::as_const(bytes).data(), i);
      if (slot >= state.on_disk) {
        found.push_back(lists.name() + ": " + what + ": holds what is not there");
        break;
      }
      const auto homes = std::as_const(state).homes_of(slot);
      held[slot] += std::find(homes.begin(), homes.end(), l) != homes.end();
    }
  }
  for (Slot slot = 0; slot < state.on_disk; ++slot) {
    for (std::uint32_t home : std::as_const(state).homes_of(slot)) wanted[slot] += home != kNoList;
    if (found.empty() && table_.alive(slot) && held[slot] != wanted[slot]) {
      found.push_back(lists.name() + ": the item " + std::to_string(table_.id(slot)) + " is missing from a list");
    }
  }
  const storage::File& vectors = state.vectors_file->reader().file().plain();
  for (std::size_t unit = 0; unit < state.sums.size(); ++unit) {
    read(vectors, state.vector_form.offset(unit), state.vector_form.unit_bytes(), state.sums[unit],
         "the vectors from slot " + std::to_string(unit * state.vector_form.rows_in_unit()) + " on");
  }
  return found;
}

}  // namespace annlib::disk
