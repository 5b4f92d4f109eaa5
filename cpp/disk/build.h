#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "disk/spool.h"
#include "disk/state.h"

namespace annlib::disk {

/// `done` of `total` of a phase of a build, by its name; may throw to stop it.
using BuildProgress = std::function<void(const char* phase, std::size_t done, std::size_t total)>;

/// Where a build writes, and what it may take.
struct BuildTarget {
  std::string directory;
  std::uint64_t identity = 0;
  std::string lists_name, vectors_name;
  int threads = 0;
};

struct Built {
  std::unique_ptr<State> state;
  /// Of each slot the row that it holds.
  std::vector<std::uint32_t> rows;
};

/// Bytes that the budget leaves a build of n vectors beside the least that it can do with, which is about what the
/// index takes that is made, too. ValueError where it is less than that.
std::uint64_t room_beside(const Params& params, std::size_t n);

/// Clusters a random sample, finds the lists of all rows, and writes both files, block by block, in the memory that
/// the parameters name. What comes of it is a function of the parameters and the set of (id, vector). `codes` are
/// trained, `form` is a table of the index's dim and metric that outlives the state.
Built build_files(const Params& params, const Spool& rows, const BuildTarget& target, ItemCodes& codes,
                  const Table& form, const BuildProgress& progress);

}  // namespace annlib::disk
