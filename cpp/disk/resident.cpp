#include "disk/resident.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "disk/state.h"

namespace annlib::disk {
namespace {

// Lists that lie side by side are read together, up to so many bytes.
constexpr std::size_t kReadBytes = std::size_t{1} << 20;

/// Calls take(list, bytes) for lists, in the order in which they lie in the file.
template <class Take>
void read_lists(const State& state, const ListForm& form, std::vector<std::uint32_t> lists, Take&& take) {
  std::sort(lists.begin(), lists.end(),
            [&](std::uint32_t x, std::uint32_t y) { return state.places[x].offset < state.places[y].offset; });
  const storage::File& file = state.lists_file->reader().file().plain();
  std::vector<std::byte> bytes;
  for (std::size_t at = 0; at < lists.size();) {
    const std::uint64_t begin = state.places[lists[at]].offset;
    std::uint64_t end = begin;
    std::size_t last = at;
    for (; last < lists.size(); ++last) {
      const ListPlace& place = state.places[lists[last]];
      const std::uint64_t own = place.offset + form.bytes(place.size);
      if (last > at && (place.offset > end || own - begin > kReadBytes)) break;
      end = std::max(end, own);
    }
    bytes.resize(end - begin);
    if (file.read_at(begin, bytes) != bytes.size()) throw CorruptError(file.name() + ": ends before the lists do");
    for (; at < last; ++at) {
      const ListPlace& place = state.places[lists[at]];
      const auto list = std::span(std::as_const(bytes)).subspan(place.offset - begin, form.bytes(place.size));
      if (checksum(list) != place.crc) {
        throw CorruptError(file.name() + ": damaged at byte " + std::to_string(place.offset));
      }
      take(lists[at], list.data());
    }
  }
}

}  // namespace

void PackedSlots::set(std::size_t list, std::span<const Slot> ascending) {
  std::size_t end = packed_.size();
  lists_[list] = {end, ascending.size()};
  postings_ += ascending.size();
  packed_.resize(end + 5 * ascending.size());  // a run takes two numbers and has two slots
  const auto put = [&](std::uint64_t number) {
    for (; number >= 128; number >>= 7) packed_[end++] = static_cast<std::uint8_t>(number | 128);
    packed_[end++] = static_cast<std::uint8_t>(number);
  };
  Slot last = 0;
  for (std::size_t i = 0, next; i < ascending.size(); i = next) {
    for (next = i + 1; next < ascending.size() && ascending[next] == ascending[next - 1] + 1;) ++next;
    put(std::uint64_t{ascending[i] - last} * 2 + (next > i + 1));
    if (next > i + 1) put(next - i);
    last = ascending[next - 1];
  }
  packed_.resize(end);
}

void PackedSlots::unpack(std::size_t list, Slot* out) const {
  const std::uint8_t* at = packed_.data() + lists_[list].begin;
  const auto get = [&at] {
    std::uint64_t byte = *at++, number = byte & 127;
    for (unsigned shift = 7; byte >= 128; shift += 7) {
      byte = *at++;
      number |= (byte & 127) << shift;
    }
    return number;
  };
  Slot slot = 0;
  for (Slot* const end = out + lists_[list].size; out != end; ++out) {
    const std::uint64_t number = get();
    *out = slot += static_cast<Slot>(number / 2);
    if (number % 2 == 0) continue;
    for (std::uint64_t more = get(); more > 1; --more) *++out = ++slot;
  }
}

std::size_t ResidentLists::all_bytes(const State& state, const ListForm& form) {
  if (form.has_signs()) return state.lists_end + state.lists_end / 4;  // which fill shards of a cache unevenly
  std::size_t postings = 0;
  for (const ListPlace& place : state.places) postings += place.size;
  return state.on_disk * form.row_bytes() + postings;
}

std::unique_ptr<ResidentLists> ResidentLists::load(const State& state, const ListForm& form, const State* before,
                                                   std::size_t most) {
  if (form.has_signs() || all_bytes(state, form) > most) return nullptr;
  const bool beside = before != nullptr && before->resident != nullptr && before->lists_name == state.lists_name;
  std::unique_ptr<ResidentLists> made(new ResidentLists(state.places.size()));
  made->rows_ = beside ? before->resident->rows_ : std::make_shared<Array<std::byte>>();
  const std::size_t known = beside ? before->on_disk : 0, row_bytes = form.row_bytes();
  made->came_.resize((state.on_disk - known) * row_bytes);
  std::vector<std::uint32_t> others;
  std::vector<Slot> slots;
  for (std::uint32_t l = 0; l < state.places.size(); ++l) {
    if (state.places[l].size == 0) continue;
    if (beside && l < before->places.size() && state.places[l].offset == before->places[l].offset) {
      slots.resize(before->resident->lists_.size(l));
      before->resident->lists_.unpack(l, slots.data());
      made->lists_.set(l, slots);
    } else {
      others.push_back(l);
    }
  }
  const auto take = [&](std::uint32_t l, const std::byte* bytes) {
    const std::uint32_t size = state.places[l].size;
    slots.clear();
    for (std::uint32_t i = 0; i < size; ++i) {
      const Slot slot = form.slot(bytes, i);
      if (slot >= state.on_disk) continue;  // of no item
      slots.push_back(slot);
      if (slot < known) continue;
      std::memcpy(made->came_.data() + (slot - known) * row_bytes, form.rows(bytes, size) + i * row_bytes, row_bytes);
    }
    std::sort(slots.begin(), slots.end());
    made->lists_.set(l, slots);
  };
  try {
    read_lists(state, form, std::move(others), take);
  } catch (const OsError&) {
    return nullptr;
  } catch (const CorruptError&) {
    return nullptr;
  }
  if (!beside) made->join();
  if (made->bytes() > most) return nullptr;
  return made;
}

void ResidentLists::join() {
  if (rows_->empty()) {
    *rows_ = std::move(came_);
  } else {
    const std::size_t known = rows_->size();
    rows_->resize(known + came_.size());
    std::copy_n(came_.data(), came_.size(), rows_->data() + known);
  }
  came_ = {};
}

}  // namespace annlib::disk
