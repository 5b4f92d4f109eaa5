#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "core/bitset.h"
#include "core/shared_lock.h"
#include "core/types.h"
#include "filter/filter_cache.h"
#include "filter/plan.h"
#include "filter/row_filter.h"
#include "graph/beam_search.h"
#include "index/row_source.h"
#include "storage/container.h"
#include "storage/section_list.h"
#include "table/columns.h"
#include "table/table.h"
#include "table/vectors.h"

namespace annlib {

/// `done` of `total` steps; called on the thread that called the index, and may throw to stop the work.
using Progress = std::function<void(std::size_t done, std::size_t total)>;

enum class OnConflict { raise, update };

/// In SearchRequest::filter_of: everything passes.
constexpr std::uint32_t kNoFilter = ~std::uint32_t{0};

struct SearchRequest {
  std::size_t k = 10;
  std::size_t ef = 64;                      ///< graph indexes only
  std::size_t ef_filtered = 64;             ///< the same where a quarter passes or less (graph/code_walk.h)
  std::span<const RowFilter> filters = {};  ///< each evaluated once; none: everything passes
  /// For each query which of them is its own, or kNoFilter. Empty: the first is every query's.
  std::span<const std::uint32_t> filter_of = {};
  int threads = 0;
  Plan plan = Plan::automatic;
  /// Graph indexes only: for each query one of bottom_ids(), without which it is searched, and without all that equal
  /// it, as though they had never been added.
  std::span<const std::int64_t> left_out = {};
};

/// Row-major n x k. Places beyond counts[i] hold -1 and infinity.
struct SearchOutput {
  std::int64_t* ids;
  float* distances;
  std::int64_t* counts;
  PlanReport* plans = nullptr;  ///< n of them, where they are asked for
};

/// As faiss range_search: the results of query i are [lims[i], lims[i+1]) of the other two, nearest first.
struct RadiusResult {
  std::vector<std::int64_t> lims, ids;
  std::vector<float> distances;
  SearchCost cost;
};

/// What a scan goes by: the space that ranks results or, before that, shorter codes, whose margin tells which rows are
/// scored in it.
struct ScanSpaces {
  const CodeSpace* codes;  ///< nullptr: all rows are scored in `exact`
  const Space* exact;
};

/// What all indexes do alike: ids, rows, locking, batches of queries. An index is thread-safe: searches run beside
/// each other and beside writes; writes wait for one another. A call that throws has changed nothing.
class Index {
 public:
  virtual ~Index() = default;

  // -- writing ------------------------------------------------------------------------------------------------------
  /// Adds `vectors` under `ids` (non-negative, distinct; one each). KeyError for an id that is there, unless
  /// on_conflict says that its vector is to be replaced. `attributes` has a row for each item: attributes that it lacks
  /// stay as they are where a vector is replaced, and are null elsewhere. ValueError for a NaN or infinity, and for
  /// attributes of another type than those that are there.
  void add(const VectorBlock& vectors, std::span<const std::int64_t> ids, OnConflict on_conflict, int threads,
           const Progress& progress, const Columns& attributes = {});
  /// Replaces the vectors of ids that are all there already, else KeyError.
  void update(const VectorBlock& vectors, std::span<const std::int64_t> ids, int threads, const Progress& progress,
              const Columns& attributes = {});
  /// Gives the items under `ids` (distinct; KeyError unless all are there) a row of `attributes` each, which others
  /// have null in if they are new.
  void set_attributes(std::span<const std::int64_t> ids, const Columns& attributes);
  /// Puts `attributes`, a row for each item by order of ids(), in the place of those of the same names, of whatever
  /// type. ValueError for another number of rows.
  void replace_attributes(const Columns& attributes);
  /// Afterwards the index is as though these attributes had never been there, nor what was built on them. ValueError,
  /// and nothing dropped, unless all are there.
  void drop_attributes(const std::vector<std::string>& names);
  /// KeyError, and nothing deleted, unless all ids are there.
  void remove(std::span<const std::int64_t> ids, int threads);
  /// Rebuilds from the live items alone: afterwards the index depends on nothing but them, the parameters, the seed.
  void compact(int threads, const Progress& progress);

  // -- reading ------------------------------------------------------------------------------------------------------
  SearchCost search(const VectorBlock& queries, const SearchRequest& request, const SearchOutput& out) const;
  RadiusResult search_radius(const VectorBlock& queries, float radius, const SearchRequest& request) const;
  /// Copies the vectors of `ids`, as they were given, to `out`. KeyError for an unknown id, ValueError if vectors are
  /// not kept.
  void get(std::span<const std::int64_t> ids, std::byte* out) const;
  void contains(std::span<const std::int64_t> ids, bool* out) const;
  /// The ids of live items by order of arrival: row i of a mask filter is the i-th of them.
  std::vector<std::int64_t> ids() const;
  /// How many items pass.
  std::size_t count(const RowFilter& filter) const;
  /// All attributes, by name, of `ids`. KeyError for an unknown id.
  std::map<std::string, AttributeRows> attributes(std::span<const std::int64_t> ids) const;
  std::map<std::string, AttributeType> attribute_types() const;
  struct AttributeStats {
    AttributeType type;
    std::size_t nulls = 0, bytes = 0, order_bytes = 0;
  };
  std::map<std::string, AttributeStats> attribute_stats() const;
  std::size_t size() const;
  std::size_t memory_bytes() const;
  std::uint32_t dim() const { return dim_; }
  DType dtype() const { return dtype_; }
  Metric metric() const { return metric_; }
  /// If not, codes are all that is left of the vectors once there are kLearntRows of them, or after compact(), and
  /// distances are what codes make of them.
  bool keeps_vectors() const { return keep_vectors_; }
  std::size_t vector_bytes() const;
  std::size_t code_bytes() const;

  /// Calls f(kind, sections) with the arrays that make up the index, while no writer can change them.
  void with_sections(const std::function<void(const std::string&, const std::vector<storage::SectionView>&)>& f) const;

 protected:
  Index(std::uint32_t dim, DType dtype, Metric metric, bool keep_vectors);

  struct Lookup {
    std::vector<Slot> old;  ///< for each item the live slot that it replaces, or kNoSlot
    bool any = false;
    const Columns* attributes = nullptr;  ///< a row for each item
  };

  /// Everything that lives and is not replaced, and the new items, as one source, which must not outlive the arguments.
  void gather(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup,
              RowSource& source) const;
  /// The one table, or the newest; read under lock_ or by the writer.
  virtual const Table& table() const = 0;
  virtual Table& table() = 0;
  /// Under lock_: gives slots that are hidden still their items' attributes.
  void write_attributes(std::span<const Slot> fresh, const Lookup& lookup);
  /// Of its rows; nullptr where there are none.
  virtual const CodeSpace* codes() const = 0;
  /// Called with nothing held, ahead of a change: may wait until there is room for it, or refuse it.
  virtual void before_write() {}
  /// Adds items, replacing those in `lookup.old`. Called with writer_ held and nothing else.
  virtual void insert(const VectorBlock& vectors, std::span<const std::int64_t> ids, const Lookup& lookup, int threads,
                      const Progress& progress) = 0;
  /// Called with writer_ held and nothing else.
  virtual void erase(std::span<const Slot> slots, int threads) = 0;
  virtual void rebuild(int threads, const Progress& progress) = 0;
  /// Called with writer_ held and nothing else, before attributes of live slots change (and are kept where `attributes`
  /// has none), or go: what throws here leaves them as they are.
  virtual void will_set_attributes(std::span<const Slot>, const Columns&, bool /*keep*/) {}
  virtual void will_drop_attributes(const std::vector<std::string>&) {}
  /// Called with writer_ and lock_ held: live slots have new values of the attributes that `columns` names.
  virtual void note_attributes(std::span<const Slot>, const Columns&) {}
  /// Called with writer_ held and nothing else, after it.
  virtual void follow_attributes() {}
  /// Called with writer_ and lock_ held: there is no attribute of this name any more.
  virtual void forget_attribute(const std::string&) {}
  /// One query, under lock_ shared. Appends at most k candidates to s.found, nearest first, with exact distances (or
  /// without vectors, with those of codes); or returns false, which leaves the query to search_together(), which would
  /// answer up to `together` queries. Of the report, plan, what was given up and estimates. A query may come again,
  /// where fewer were left than that: `report` is what it was then.
  virtual bool search_one(const QueryView& query, const SearchRequest& request, const Passing& filter,
                          std::size_t together, Scratch& s, PlanReport& report) const = 0;
  /// Puts the numbers of queries into an order in which those that look at the same things are side by side. Under
  /// lock_ shared.
  virtual void arrange(const VectorBlock&, std::span<std::size_t>, int /*threads*/) const {}
  /// The queries that search_one() has left, under the same filter; calls answer() for each. Under lock_ shared. Unless
  /// an index knows better, by a scan of all that passes, and what that goes by is scan_spaces().
  using Answer = std::function<void(std::size_t query, Plan plan, const SearchCost& cost, std::span<const Candidate>)>;
  virtual void search_together(std::span<const QueryView> queries, const SearchRequest& request, const Passing& filter,
                               Scratch& s, const Answer& answer) const;
  virtual ScanSpaces scan_spaces(const SearchRequest& request, const SlotSet* passing) const = 0;
  /// As search_one(). `passing` is nullptr, or the live slots that the filter lets through, `matches` of them.
  virtual void radius_one(const QueryView& query, float radius, const SearchRequest& request, const SlotSet* passing,
                          std::size_t matches, Scratch& s) const = 0;
  /// Copies the vectors of slots, as they were given, to `out`. Under lock_ shared, if vectors are kept.
  virtual void fetch(std::span<const Slot> slots, std::byte* out) const;
  virtual std::string kind() const = 0;
  /// Called under lock_ shared.
  virtual void append_sections(storage::SectionList& sections) const = 0;
  virtual std::size_t other_memory_bytes() const { return 0; }

  const std::uint32_t dim_;
  const DType dtype_;
  const Metric metric_;
  const bool keep_vectors_;
  mutable FairSharedMutex lock_;  ///< shared: reading; exclusive: the short moments in which a writer changes things
  mutable std::mutex writer_;     ///< one writer at a time; taken before lock_

 private:
  class Lease;
  /// Queries of a batch, by their numbers, that are under one filter.
  struct Group {
    Passing passing;
    std::vector<std::size_t> queries;
  };

  /// KeyError unless all ids are there.
  std::vector<Slot> slots_of(std::span<const std::int64_t> ids) const;
  void store_attributes(std::span<const Slot> slots, const Columns& attributes, bool keep);
  void check_block(const VectorBlock& block, const std::string& what) const;
  float reported(float distance) const;
  QueryView view(const VectorBlock& queries, const SearchRequest& request, std::size_t i) const;
  std::vector<Group> evaluated(std::span<const RowFilter> filters, std::span<const std::vector<std::size_t>> queries,
                               int threads) const;
  template <class Body>
  SearchCost for_groups(std::span<const Group> groups, int threads, Body&& body) const;
  template <class Body>
  SearchCost for_queries(const VectorBlock& queries, const SearchRequest& request, Body&& body) const;
  std::unique_ptr<Scratch> borrow() const;
  void give_back(std::unique_ptr<Scratch> scratch) const;

  mutable FilterCache filters_;
  mutable std::mutex scratch_mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> scratches_;
};

/// ValueError unless `attributes` are none or have n rows.
void require_rows(const Columns& attributes, std::size_t n);
void require_distinct(std::span<const std::int64_t> ids);

/// The nearest k of the passing slots, or of all live ones if that is nullptr, to each of some queries, with exact
/// distances, as s.scanned[i].nearest for query i, and what it cost. A block of rows is scored for all queries, so it
/// comes from memory once; what a query finds does not depend on those beside it.
void scan_nearest(const ScanSpaces& spaces, std::span<const QueryView> queries, std::size_t k, const SlotSet* passing,
                  const Bitset& alive, Scratch& s);
/// All within a radius of one query, appended to s.found, nearest first.
void scan_radius(const ScanSpaces& spaces, const QueryView& query, float radius, const SlotSet* passing,
                 const Bitset& alive, Scratch& s);

}  // namespace annlib
