#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "disk/build.h"

namespace annlib::disk {

/// Bytes that a block of rows, a bucket or such may take of what the budget leaves.
std::size_t part_of(const Params& params, std::size_t n);

/// The longest stretch of rows that is read at once.
inline constexpr std::size_t kMostBlockBytes = std::size_t{32} << 20;

/// All that the parts of a build share.
struct Build {
  const Params& params;
  const Spool& rows;
  const BuildTarget& target;
  ItemCodes& codes;
  const BuildProgress& progress;
  State& state;

  std::uint32_t dim = params.lists.dim;
  std::size_t n = rows.ids().size();
  std::size_t row_bytes = dim * dtype_size(params.lists.dtype);
  const ListCodes& list_codes = state.fresh.codes();
  ListForm list_form{list_codes, codes.bytes()};
  VectorForm vector_form = state.vector_form;
  std::size_t part = part_of(params, n);

  void report(const char* phase, std::size_t done, std::size_t total) const {
    if (progress) progress(phase, done, total);
  }
  std::string path(const std::string& name) const { return target.directory + "/" + name; }
  void read_rows(std::size_t first, std::size_t count, std::vector<std::byte>& out) const {
    out.resize(count * row_bytes);
    rows.read(first, out);
  }
  std::size_t block_rows() const { return std::max<std::size_t>(1, std::min(part, kMostBlockBytes) / row_bytes); }
};

/// From stored vectors, each as though it were not there: how far away the lists of their neighbours are, and how far
/// from the truth estimates. The longer codes, where there are any, stand for the truth beside one bit a dimension.
void learn(const Build& build);

}  // namespace annlib::disk
