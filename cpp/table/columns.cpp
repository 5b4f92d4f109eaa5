#include "table/columns.h"

#include <set>
#include <utility>

#include "core/error.h"

namespace annlib {
namespace {

ValueError too_many() { return ValueError("an index has at most " + std::to_string(Columns::kMost) + " attributes"); }

}  // namespace

const Column* Columns::find(std::string_view name) const {
  const auto at = columns_.find(name);
  return at == columns_.end() ? nullptr : &at->second;
}

const Column& Columns::require(std::string_view name, const std::string& where) const {
  if (const Column* column = find(name)) return *column;
  std::string there;
  for (const auto& [known, column] : columns_) {
    there += (there.empty() ? "" : ", ") + known + " (" + name_of(column.type()) + ")";
  }
  throw ValueError("no attribute '" + std::string(name) + "'" + where +
                   "; there are: " + (there.empty() ? "none" : there));
}

void Columns::resize(std::size_t slots) {
  slots_ = slots;
  for (auto& [name, column] : columns_) column.resize(slots);
}

void Columns::copy(Slot from, Slot to) noexcept {
  for (auto& [name, column] : columns_) {
    column.copy(from, to);
    column.touch();
  }
}

void Columns::tidy() {
  for (auto& [name, column] : columns_) column.tidy();
}

void Columns::put(const std::string& name, Column column) {
  if (name.empty() || name.size() > kLongestName || !is_utf8(name)) {
    throw ValueError("the name of an attribute has 1 to " + std::to_string(kLongestName) + " bytes of UTF-8");
  }
  if (find(name) == nullptr && columns_.size() >= kMost) throw too_many();
  slots_ = column.slots();
  columns_.insert_or_assign(name, std::move(column));
}

std::size_t Columns::memory_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [name, column] : columns_) bytes += column.memory_bytes();
  return bytes;
}

void Columns::take(Columns&& others) noexcept {
  for (auto& [name, column] : columns_) {
    const auto other = others.columns_.find(name);
    if (other != others.columns_.end()) column = std::move(other->second);
  }
  columns_.merge(others.columns_);
}

void require_room(const Columns& there, const Columns& given) {
  std::size_t columns = there.all().size();
  for (const auto& [name, column] : given.all()) columns += there.find(name) == nullptr;
  if (columns > Columns::kMost) throw too_many();
}

void require_fit(const Columns& there, const Columns& given) {
  for (const auto& [name, column] : given.all()) {
    const Column* known = there.find(name);
    if (known != nullptr && !fits(column.type(), known->type())) {
      throw ValueError("attribute '" + name + "' holds " + name_of(known->type()) + ", got " + name_of(column.type()));
    }
  }
  require_room(there, given);
}

ColumnsWriter::ColumnsWriter(Columns& to, const Columns& kept, const Columns& given) : columns_(to) {
  std::set<std::string_view> names;
  for (const auto& [name, column] : kept.all()) names.insert(name);
  for (const auto& [name, column] : given.all()) names.insert(name);
  for (const std::string_view name : names) {
    const Column *old = kept.find(name), *fresh = given.find(name);
    const auto known = to.columns_.find(name);
    Column& target =
        known != to.columns_.end()
            ? known->second
            : added_.try_emplace(std::string(name), (old != nullptr ? old : fresh)->type(), to.slots_).first->second;
    target.touch();
    targets_.push_back({&target, {}, {}});
    if (old != nullptr) targets_.back().kept.emplace(target, *old);
    if (fresh != nullptr) targets_.back().given.emplace(target, *fresh);
  }
}

void ColumnsWriter::write(Slot to, Slot kept_slot, Slot given_row) {
  for (Target& target : targets_) {
    if (target.given && given_row != kNoSlot) {
      (*target.given)(given_row, to);
    } else if (target.kept && kept_slot != kNoSlot) {
      (*target.kept)(kept_slot, to);
    } else {
      target.to->clear(to);
    }
  }
}

void ColumnsWriter::commit() noexcept { columns_.columns_.merge(added_); }

}  // namespace annlib
