#include "disk/build.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/heap.h"
#include "core/parallel.h"
#include "disk/build_parts.h"
#include "graph/beam_search.h"
#include "spann/home_chooser.h"
#include "table/vectors.h"

namespace annlib::disk {
namespace {

// How many parts of what the budget leaves are there at a time, each a block of rows, a bucket or what waits for one.
constexpr std::size_t kParts = 5, kLeastPart = std::size_t{1} << 20;
// An interpreter with numpy and this library. What it really is must not matter: the sample depends on what is left.
constexpr std::size_t kProcessBytes = std::size_t{48} << 20;
constexpr std::size_t kMostSampleBytes = std::size_t{1} << 30;
// Of a centroid in the graph that clustering needs, and in that by which rows find their lists: links, codes and what
// is around it.
constexpr std::size_t kNeighbourBytes = 1280, kCentroidBytes = 512;
constexpr std::size_t kGrain = 64;
constexpr std::size_t kTrained = 65536;

// There are about 1.4 for each list that is asked for.
std::size_t centroids_for(const SpannParams& lists, std::size_t n) { return 7 * n / (5 * lists.list_size); }

// What is there anyway: the process, the centroids, under ip twice (HomeChooser), and numbers for each item: its id,
// its place and twice its lists while they are brought into that order, or once beside a table being filled.
std::size_t taken_by(const Params& params, std::size_t n) {
  const SpannParams& lists = params.lists;
  const std::size_t homes = sizeof(std::uint32_t) * lists.replicas;
  const std::size_t item = std::max(12 + 2 * homes, 24 + homes);
  const std::size_t copies = lists.metric == Metric::ip ? 2 : 1;
  const std::size_t centroid = lists.dim * (copies * sizeof(float) + 1) + kCentroidBytes;
  return kProcessBytes + n * item + centroids_for(lists, n) * centroid;
}

}  // namespace

std::uint64_t room_beside(const Params& params, std::size_t n) {
  const std::uint64_t least = taken_by(params, n) + kParts * kLeastPart;
  if (params.memory_budget < least) {
    throw ValueError("a directory of " + std::to_string(n) + " vectors of " + std::to_string(params.lists.dim) +
                     " dimensions takes a memory_budget of at least " + std::to_string(least) + " bytes, got " +
                     std::to_string(params.memory_budget));
  }
  return params.memory_budget - least;
}

std::size_t part_of(const Params& params, std::size_t n) {
  const std::size_t taken = taken_by(params, n);
  const std::size_t left = params.memory_budget > taken ? params.memory_budget - taken : 0;
  return std::max(left / kParts, kLeastPart);
}

namespace {

bool before(const Build& b, std::uint32_t x, std::uint32_t y) {
  const auto rank = [&](std::uint32_t row) {
    return std::pair(b.params.lists.rank(b.rows.ids()[row]), b.rows.ids()[row]);
  };
  return rank(x) < rank(y);
}

// As many rows as there is room for beside their centroids, of which there are not more than rows and each of which
// clustering holds twice and with its neighbours in a graph. Nothing else is there yet; an eighth is for threads and
// what the allocator keeps.
std::size_t rows_of_sample(const Build& b) {
  const std::size_t taken = kProcessBytes + b.n * 2 * sizeof(std::int64_t), budget = b.params.memory_budget;
  const std::size_t left = std::max(budget > taken ? (budget - taken) / 8 * 7 : 0, b.part);
  const std::size_t row = b.dim * sizeof(float), centroid = 2 * row + kNeighbourBytes;
  const std::size_t centroids = centroids_for(b.params.lists, b.n);
  const std::size_t few = left / (row + centroid);
  const std::size_t rows = few <= centroids ? few : (left - centroids * centroid) / row;
  return std::max<std::size_t>(std::min(rows, kMostSampleBytes / row), 1);
}

Array<float> draw_sample(const Build& b) {
  const std::size_t most = rows_of_sample(b);
  const std::size_t n = std::min(b.n, most);
  std::vector<std::uint32_t> drawn(b.n);
  std::iota(drawn.begin(), drawn.end(), 0u);
  const auto by_rank = [&](std::uint32_t x, std::uint32_t y) { return before(b, x, y); };
  if (n < b.n) std::nth_element(drawn.begin(), drawn.begin() + static_cast<std::ptrdiff_t>(n), drawn.end(), by_rank);
  drawn.resize(n);
  std::sort(drawn.begin(), drawn.end(), by_rank);
  std::vector<std::uint32_t> place(n);
  std::iota(place.begin(), place.end(), 0u);
  std::sort(place.begin(), place.end(), [&](std::uint32_t x, std::uint32_t y) { return drawn[x] < drawn[y]; });
  Array<float> sample(n * b.dim);
  std::vector<std::byte> row;
  for (std::size_t i = 0; i < n; ++i) {  // in the order of the file
    b.read_rows(drawn[place[i]], 1, row);
    b.list_codes.load(row.data(), b.params.lists.dtype, sample.data() + std::size_t{place[i]} * b.dim);
    if (i % 4096 == 0) b.report("sampling", i, n);
  }
  return sample;
}

void make_lists(const Build& b) {
  Array<float> sample = draw_sample(b);
  const std::size_t sampled = sample.size() / b.dim;
  b.codes.train(sample.data(), std::min(sampled, kTrained));
  ClusterOptions options;
  options.size = std::max<std::size_t>(1, b.params.lists.list_size * sampled / b.n);
  options.seed = b.params.lists.seed;
  options.threads = b.target.threads;
  b.report("clustering", 0, 2);
  const Array<float> centroids =
      find_centroids({sample.data(), sampled, b.dim}, options, [&] { b.report("clustering", 1, 2); });
  b.report("clustering", 2, 2);
  for (std::size_t l = 0; l < centroids.size() / b.dim; ++l) b.state.fresh.add_list(centroids.data() + l * b.dim);
}

// The lists of each row, replicas each.
std::vector<std::uint32_t> choose_lists(const Build& b) {
  const HomeChooser chooser(b.state.fresh, b.state.centroids, b.params.lists.metric, b.target.threads);
  const std::uint32_t replicas = b.state.replicas;
  std::vector<std::uint32_t> homes(b.n * replicas);
  std::vector<std::byte> block;
  for (std::size_t first = 0; first < b.n; first += b.block_rows()) {
    const std::size_t count = std::min(b.block_rows(), b.n - first);
    b.read_rows(first, count, block);
    parallel_for(count, kGrain, b.target.threads, [&](std::size_t begin, std::size_t end, int) {
      Scratch s;
      std::vector<float> row(b.dim);
      std::vector<NearCentroid> near;
      for (std::size_t i = begin; i < end; ++i) {
        b.list_codes.load(block.data() + i * b.row_bytes, b.params.lists.dtype, row.data());
        chooser.choose(row.data(), s, near, {homes.data() + (first + i) * replicas, replicas});
      }
    });
    b.report("choosing lists", first + count, b.n);
  }
  return homes;
}

// By list, and within one by the others that a row stands in: what is likely to be read together lies together.
std::vector<std::uint32_t> order_rows(const Build& b, std::span<const std::uint32_t> homes) {
  std::vector<std::uint32_t> order(b.n);
  std::iota(order.begin(), order.end(), 0u);
  const std::uint32_t replicas = b.state.replicas;
  std::sort(order.begin(), order.end(), [&](std::uint32_t x, std::uint32_t y) {
    const std::uint32_t* own = homes.data() + std::size_t{x} * replicas;
    const std::uint32_t* other = homes.data() + std::size_t{y} * replicas;
    const auto [at, same] = std::mismatch(own, own + replicas, other);
    return at != own + replicas ? *at < *same : before(b, x, y);
  });
  return order;
}

// Buckets of consecutive things, each of which takes at most `most` bytes where one thing does not take more.
template <class Bytes>
std::vector<std::size_t> cut(std::size_t n, std::size_t most, Bytes&& bytes) {
  std::vector<std::size_t> ends;
  std::size_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t own = bytes(i);
    if (sum > 0 && sum + own > most) {
      ends.push_back(i);
      sum = 0;
    }
    sum += own;
  }
  ends.push_back(n);
  return ends;
}

/// A posting on its way to its list: list, slot, two factors and signs, the row.
class PostingForm {
 public:
  explicit PostingForm(const Build& b)
      : signs_(b.list_form.has_signs() ? b.list_codes.tables() : 0), row_(b.codes.bytes()) {}
  std::size_t bytes() const { return 16 + signs_ + row_; }
  std::byte* row(std::byte* record) const { return record + 16 + signs_; }
  const std::byte* row(const std::byte* record) const { return record + 16 + signs_; }

  void write(std::byte* record, std::uint32_t list, Slot slot, const ListCodes::Code& code) const {
    std::memcpy(record, &list, 4);
    std::memcpy(record + 4, &slot, 4);
    std::memcpy(record + 8, &code.add, 4);
    std::memcpy(record + 12, &code.times, 4);
    if (signs_ > 0) std::memcpy(record + 16, code.signs, signs_);
  }
  std::uint32_t list(const std::byte* record) const { return word(record); }
  Slot slot(const std::byte* record) const { return word(record + 4); }
  ListCodes::Code code(const std::byte* record) const {
    ListCodes::Code code{0, 0, reinterpret_cast<const std::uint8_t*>(record + 16)};
    std::memcpy(&code.add, record + 8, 4);
    std::memcpy(&code.times, record + 12, 4);
    return code;
  }

 private:
  static std::uint32_t word(const std::byte* at) {
    std::uint32_t value;
    std::memcpy(&value, at, 4);
    return value;
  }
  std::size_t signs_, row_;
};

// Writes the file of vectors, and hands on what stands in lists of each.
void write_vectors(const Build& b, std::span<const std::uint32_t> order, std::span<const std::uint32_t> bucket_of_list,
                   Scatter& postings) {
  std::vector<std::uint32_t> slot_of(b.n);
  for (std::size_t slot = 0; slot < b.n; ++slot) slot_of[order[slot]] = static_cast<std::uint32_t>(slot);
  // Bucket by bucket of slots, which are as many as fit.
  const std::size_t record = b.row_bytes + sizeof(Slot);
  const std::size_t slots_each = std::max<std::size_t>(1, b.part / record);
  std::vector<std::size_t> counts;
  for (std::size_t first = 0; first < b.n; first += slots_each) counts.push_back(std::min(slots_each, b.n - first));
  Scatter permuted(b.path(".build-vectors"), record, counts, b.part);
  std::vector<std::byte> block, one(record);
  for (std::size_t first = 0; first < b.n; first += b.block_rows()) {
    const std::size_t count = std::min(b.block_rows(), b.n - first);
    b.read_rows(first, count, block);
    for (std::size_t i = 0; i < count; ++i) {
      const Slot slot = slot_of[first + i];
      std::memcpy(one.data(), &slot, sizeof(slot));
      std::memcpy(one.data() + sizeof(slot), block.data() + i * b.row_bytes, b.row_bytes);
      permuted.add(slot / slots_each, one);
    }
    b.report("sorting", first + count, b.n);
  }
  slot_of = {};

  storage::File file = storage::File::open(b.path(b.target.vectors_name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  write_header(file, {"vectors", b.target.identity});
  VectorWriter writer(file, b.vector_form, 0);
  const PostingForm form(b);
  const std::uint32_t replicas = b.state.replicas;
  constexpr std::size_t kAtOnce = 4096;
  std::vector<std::byte> records(kAtOnce * replicas * form.bytes());
  for (std::size_t bucket = 0, first = 0; bucket < counts.size(); first += counts[bucket++]) {
    std::vector<std::byte> rows = permuted.take(bucket);
    std::vector<const std::byte*> at(counts[bucket]);
    for (std::size_t i = 0; i < at.size(); ++i) {
      Slot slot;
      std::memcpy(&slot, rows.data() + i * record, sizeof(slot));
      at[slot - first] = rows.data() + i * record + sizeof(slot);
    }
    for (const std::byte* row : at) writer.add(row);
    for (std::size_t begin = 0; begin < at.size(); begin += kAtOnce) {
      const std::size_t count = std::min(kAtOnce, at.size() - begin);
      parallel_for(count, kGrain, b.target.threads, [&](std::size_t from, std::size_t to, int) {
        std::vector<float> vector(b.dim), memory(b.list_codes.center_floats() + b.list_codes.put_floats());
        std::vector<std::byte> code(b.codes.bytes());
        for (std::size_t i = from; i < to; ++i) {
          const auto slot = static_cast<Slot>(first + begin + i);
          b.list_codes.load(at[begin + i], b.params.lists.dtype, vector.data());
          b.codes.encode(vector.data(), at[begin + i], code.data());
          const auto homes = std::as_const(b.state).homes_of(slot);
          for (std::uint32_t r = 0; r < replicas && homes[r] != kNoList; ++r) {
            std::byte* out = records.data() + (i * replicas + r) * form.bytes();
            ListCodes::Code signs{};
            if (b.list_form.has_signs()) {
              const auto around = b.list_codes.center(b.state.fresh.centroid(homes[r]), memory.data());
              signs = b.list_codes.encode(around, vector.data(), memory.data() + b.list_codes.center_floats());
            }
            form.write(out, homes[r], slot, signs);
            std::copy(code.begin(), code.end(), form.row(out));
          }
        }
      });
      for (std::size_t i = 0; i < count; ++i) {
        const auto homes = std::as_const(b.state).homes_of(static_cast<Slot>(first + begin + i));
        for (std::uint32_t r = 0; r < replicas && homes[r] != kNoList; ++r) {
          postings.add(bucket_of_list[homes[r]],
                       std::span(records).subspan((i * replicas + r) * form.bytes(), form.bytes()));
        }
      }
      b.report("writing vectors", first + begin + count, b.n);
    }
  }
  b.state.sums.resize(b.vector_form.units(b.n));
  const std::vector<std::uint32_t> sums = writer.finish();
  std::copy(sums.begin(), sums.end(), b.state.sums.data());
  file.sync();
}

void write_lists(const Build& b, std::span<const std::size_t> ends, std::span<const std::size_t> sizes,
                 Scatter& postings) {
  storage::File file = storage::File::open(b.path(b.target.lists_name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  write_header(file, {"lists", b.target.identity});
  ListWriter writer(file, b.list_form, kHeaderBytes);
  const PostingForm form(b);
  b.state.places.resize(sizes.size());
  for (std::size_t bucket = 0, first = 0; bucket < ends.size(); first = ends[bucket++]) {
    const std::vector<std::byte> records = postings.take(bucket);
    std::vector<std::vector<const std::byte*>> members(ends[bucket] - first);
    for (std::size_t at = 0; at < records.size(); at += form.bytes()) {
      members[form.list(records.data() + at) - first].push_back(records.data() + at);
    }
    constexpr std::size_t kAtOnce = 256;
    std::vector<std::vector<std::byte>> made(kAtOnce);
    for (std::size_t begin = 0; begin < members.size(); begin += kAtOnce) {
      const std::size_t count = std::min(kAtOnce, members.size() - begin);
      parallel_for(count, 4, b.target.threads, [&](std::size_t from, std::size_t to, int) {
        for (std::size_t l = from; l < to; ++l) {
          const auto& own = members[begin + l];
          std::vector<std::byte>& list = made[l];
          list.assign(b.list_form.bytes(own.size()), std::byte{0});
          for (std::size_t i = 0; i < own.size(); ++i) {
            std::byte* block = b.list_form.block(list.data(), i);
            if (b.list_form.has_signs()) {
              b.list_codes.put(form.code(own[i]), block, static_cast<std::uint32_t>(i % simd::kBlockRows));
            }
            *b.list_form.slot(list.data(), i) = form.slot(own[i]);
            std::memcpy(b.list_form.row(list.data(), own.size(), i), form.row(own[i]), b.codes.bytes());
          }
        }
      });
      for (std::size_t l = 0; l < count; ++l) {
        const std::size_t size = members[begin + l].size();
        b.state.places[first + begin + l] = size > 0 ? writer.write(made[l], size) : ListPlace();
      }
    }
    b.report("writing lists", ends[bucket], sizes.size());
  }
  writer.flush();
  b.state.lists_end = writer.end();
  file.sync();
}

}  // namespace

Built build_files(const Params& params, const Spool& rows, const BuildTarget& target, ItemCodes& codes,
                  const Table& form, const BuildProgress& progress) {
  Built built;
  built.state = std::make_unique<State>(params, form);
  State& state = *built.state;
  state.vector_form = VectorForm(params.lists.dim, params.lists.dtype, rows.narrowest());
  state.lists_name = target.lists_name;
  state.vectors_name = target.vectors_name;
  const Build b{params, rows, target, codes, progress, state};
  const std::uint32_t replicas = params.lists.replicas;
  std::vector<std::size_t> sizes;
  if (b.n > 0) {
    make_lists(b);
    return_freed_memory();
    std::vector<std::uint32_t> homes = choose_lists(b);
    built.rows = order_rows(b, homes);
    state.homes.resize(b.vector_form.units(b.n) * b.vector_form.rows_in_unit() * replicas);
    std::fill_n(state.homes.data(), state.homes.size(), kNoList);
    sizes.resize(state.fresh.count());
    for (std::size_t slot = 0; slot < b.n; ++slot) {
      for (std::uint32_t r = 0; r < replicas; ++r) {
        const std::uint32_t home = homes[std::size_t{built.rows[slot]} * replicas + r];
        state.homes.data()[slot * replicas + r] = home;
        if (home != kNoList) ++sizes[home];
      }
    }
  }
  const PostingForm posting(b);
  const std::vector<std::size_t> ends =
      cut(sizes.size(), b.part, [&](std::size_t l) { return sizes[l] * posting.bytes(); });
  std::vector<std::uint32_t> bucket_of_list(sizes.size());
  std::vector<std::size_t> counts(ends.size());
  for (std::size_t bucket = 0, l = 0; bucket < ends.size(); ++bucket) {
    for (; l < ends[bucket]; ++l) {
      bucket_of_list[l] = static_cast<std::uint32_t>(bucket);
      counts[bucket] += sizes[l];
    }
  }
  return_freed_memory();
  {
    Scatter postings(b.path(".build-postings"), posting.bytes(), counts, b.part);
    write_vectors(b, built.rows, bucket_of_list, postings);
    return_freed_memory();
    write_lists(b, ends, sizes, postings);
  }
  return_freed_memory();
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t l = 0; l < sizes.size(); ++l) (sizes[l] > 0 ? numbers : state.given_up).push_back(l);
  // Rows chose among all lists, but what is empty is nobody's.
  if (state.centroids.count() != numbers.size()) state.centroids.build(state.fresh, numbers, target.threads);
  state.measure_length();
  state.on_disk = b.vector_form.units(b.n) * b.vector_form.rows_in_unit();
  state.clustered = b.n;
  if (b.n > 0) learn(b);
  return_freed_memory();
  return built;
}

}  // namespace annlib::disk
