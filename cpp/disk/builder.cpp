#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "disk/build.h"
#include "disk/disk_index.h"

namespace annlib::disk {

Builder::Builder(const std::string& directory, const Params& params)
    : directory_((storage::create_directory(directory), directory)),
      params_(params),
      lock_(std::make_unique<storage::DirectoryLock>(directory)),
      spool_(directory + "/" + std::string(kBuild) + "rows", params.lists.dim, params.lists.dtype,
             params.lists.metric) {
  const auto names = storage::directory_names(directory);
  if (std::find(names.begin(), names.end(), kManifest) != names.end()) {
    throw OsError(EEXIST, directory, "'" + directory + "' holds an index already: open() it, or build elsewhere");
  }
}

void Builder::add(const VectorBlock& vectors, std::span<const std::int64_t> ids) {
  if (vectors.dim != params_.lists.dim || vectors.dtype != params_.lists.dtype) {
    throw ValueError("vectors have another dim or dtype than those before them");
  }
  require_finite(vectors, "vectors");
  if (ids.size() != vectors.count) throw ValueError("the numbers of vectors and ids differ");
  if (count() + ids.size() > kMaxSlots)
    throw ValueError("an index holds at most " + std::to_string(kMaxSlots) + " vectors");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) throw ValueError("ids must be non-negative, got " + std::to_string(ids[i]));
    spool_.add(vectors.row(i), ids[i]);
  }
}

std::uint64_t Builder::room(std::size_t n) const { return room_beside(params_, n); }

void Builder::finish(const Columns& attributes, const DiskIndex::Extra& extra, int threads,
                     const BuildProgress& progress) {
  room(count());
  require_distinct(spool_.ids());
  require_rows(attributes, count());
  spool_.finish();
  DiskIndex index(directory_, params_, mix64(spool_.hash() ^ mix64(params_.lists.seed)), OpenOptions());
  require_fit(index.table_.columns(), attributes);
  const BuildTarget target{directory_, index.identity_, numbered(kLists, 0), numbered(kVectors, 0), threads};
  Built built = build_files(params_, spool_, target, index.codes_, index.table_, progress);
  built.state->centroids.build(built.state->fresh, {}, threads);  // whoever opens the index makes it anew
  index.longest_ = spool_.longest();
  index.fill_table(index.table_, built, spool_.take_ids(), {}, {}, {}, attributes);
  index.fresh_.begin_at(static_cast<Slot>(built.state->on_disk));
  index.extra_ = extra;
  index.write_manifest(*built.state);
}

}  // namespace annlib::disk
