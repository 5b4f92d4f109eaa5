#include <algorithm>
#include <numeric>
#include <utility>

#include "spann/spann_index.h"
#include "table/vectors.h"

namespace annlib {

std::unique_ptr<SpannState> build_spann(const SpannParams& params, const RowSource& source, int threads,
                                        const Progress& progress) {
  const std::size_t n = source.count;
  auto state = std::make_unique<SpannState>(params);
  if (n == 0) return state;
  Postings& postings = state->postings;
  const ListCodes& codes = postings.lists.codes();
  // Three parts of about the same length.
  const auto report = [&](std::size_t thirds) {
    if (progress) progress(n * thirds / 3, n);
  };
  report(0);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(params.rank(source.id(a)), source.id(a)) < std::pair(params.rank(source.id(b)), source.id(b));
  });
  const auto load = [&](std::size_t i, float* out) {
    const RowView row = source.row(order[i]);
    codes.load(row.data, row.dtype, out);
  };
  const std::vector<std::uint32_t> homes = postings.make_lists(n, load, threads, report);
  // By list, so that what is likely to be ranked together lies together.
  std::vector<std::uint32_t> places(n);
  std::iota(places.begin(), places.end(), 0u);
  std::stable_sort(places.begin(), places.end(), [&](std::uint32_t a, std::uint32_t b) {
    return homes[a * params.replicas] < homes[b * params.replicas];
  });
  Table& table = state->table;
  table.reserve(n, threads);
  postings.homes.resize(n * params.replicas);
  std::vector<std::size_t> items;
  std::vector<Slot> slots;
  for (std::uint32_t place : places) {
    const std::size_t item = order[place];
    const Slot slot = table.append(source.row(item));
    table.reveal(slot, source.id(item), source.arrival(item));
    items.push_back(item);
    slots.push_back(slot);
    std::copy_n(homes.begin() + place * params.replicas, params.replicas, postings.homes_of(slot).begin());
  }
  table.renumber_arrivals();
  source.attributes(table.columns(), items);
  postings.fill(slots, threads);
  report(3);
  return state;
}

}  // namespace annlib
