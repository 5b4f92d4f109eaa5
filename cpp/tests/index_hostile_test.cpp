/// Index files with right checksums and wrong contents: opening and using them may fail with the library's own errors
/// and may answer nonsense, but must not crash, hang, or ask for more memory than the file is large.

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/check.h"
#include "tests/index_harness.h"

using namespace annlib;
using namespace annlib::test;
using annlib::storage::Container;
using annlib::storage::testing::Bytes;

namespace {

constexpr std::uint32_t kDim = 4;
constexpr std::size_t kItems = 80;

struct Specimen {
  bool graph;
  Metric metric;
  const char* codec;
  Layout layout = Layout::plain;
  bool keep_vectors = true;
  bool whole = false;
};

/// Everything that an index can have: several layers, deleted nodes, free rows, twins.
std::unique_ptr<Index> specimen(const Specimen& s) {
  const Vectors vectors =
      s.whole ? Vectors::clustered(kItems, kDim, DType::i8).as(DType::f32) : Vectors::clustered(kItems, kDim);
  std::unique_ptr<Index> index;
  if (s.graph) {
    HnswParams params = params_of(kDim, DType::f32, s.metric, s.codec);
    params.m = 3;
    params.keep_vectors = s.keep_vectors;
    params.layout = s.layout;
    index = std::make_unique<HnswIndex>(params);
  } else {
    index = std::make_unique<FlatIndex>(kDim, DType::f32, s.metric, s.codec, s.keep_vectors);
  }
  add(*index, vectors, ids_from(0, kItems));
  if (!s.keep_vectors) index->compact(1, {});
  Vectors copies(kDim, DType::f32);
  for (const std::size_t row : {3u, 3u, 9u, 70u}) copies.add(vectors, row);
  add(*index, copies, ids_from(100, 4));
  index->remove(std::vector<std::int64_t>{5, 6, 7, 8, 101, 103}, 1);
  return index;
}

bool tolerated(const std::function<void()>& use) {
  try {
    use();
    return true;
  } catch (const CorruptError&) {
  } catch (const ValueError&) {
  } catch (const KeyError&) {
  }
  return false;
}

/// Whatever a program does with an index. True if it opened.
bool use(const Bytes& bytes) {
  std::unique_ptr<Index> index;
  if (!tolerated([&] { index = open_index(Container::from_bytes(bytes)); })) return false;
  const Vectors some = Vectors::clustered(30, index->dim(), index->dtype(), 9);
  const auto look = [&] {
    for (const std::size_t ef : {1u, 40u}) {  // by the graph and by a scan
      const Found found = search(*index, some.block(0, 3), 3, {.ef = ef, .threads = 1});
      for (const std::int64_t count : found.counts) CHECK(count >= 0 && count <= 3);
      index->search_radius(some.block(0, 2), 5.0f, {.ef = ef, .threads = 1});
    }
  };
  tolerated(look);
  tolerated([&] { bytes_of(*index); });
  if (const auto* hnsw = dynamic_cast<const HnswIndex*>(index.get())) {
    hnsw->counts();
    hnsw->unreachable();
  }
  const std::vector<std::int64_t> ids = index->ids();
  tolerated([&] { index->add(some.block(), ids_from(1000, 30), OnConflict::update, 1, {}); });
  tolerated(look);
  const std::vector<std::int64_t> half(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(ids.size() / 2));
  tolerated([&] { index->remove(half, 1); });
  tolerated([&] { index->update(some.block(0, 5), ids_from(1000, 5), 1, {}); });
  tolerated(look);
  tolerated([&] { index->compact(1, {}); });
  tolerated(look);
  return true;
}

/// The section's bytes within the file.
struct Place {
  std::string name;
  std::size_t offset, length;
};

std::vector<Place> places(const Bytes& bytes) {
  std::vector<Place> all;
  const auto file = Container::from_bytes(bytes);
  for (const auto& section : file->sections()) {
    all.push_back({section.name, section.offset, section.length});
  }
  return all;
}

constexpr Specimen kSpecimens[] = {{false, Metric::cosine, "float32"},
                                   {true, Metric::l2, "int8"},
                                   {true, Metric::l2, "int4"},
                                   {true, Metric::ip, "rabitq:2"},
                                   {true, Metric::l2, "int8", Layout::fused},
                                   {true, Metric::cosine, "float32"},
                                   {true, Metric::cosine, "float32", Layout::plain, true, true},
                                   {true, Metric::ip, "int8", Layout::plain, false},
                                   {true, Metric::l2, "rabitq:1", Layout::plain, false},
                                   {false, Metric::cosine, "float16", Layout::plain, false}};

}  // namespace

TEST(hostile_bytes_of_every_section) {
  std::mt19937 random(1);
  for (const Specimen& s : kSpecimens) {
    const Bytes good = bytes_of(*specimen(s));
    CHECK(use(good));
    for (const Place& place : places(good)) {
      // Small sections at every byte, large ones at a sample.
      const std::size_t step = 1 + place.length / 40;
      for (std::size_t at = random() % step; at < place.length; at += step) {
        for (const int value : {0x00, 0x7F, 0xFF}) {
          Bytes bad(good);
          bad[place.offset + at] = static_cast<std::byte>(value);
          storage::testing::reseal(bad);
          use(bad);
        }
      }
    }
  }
}

TEST(hostile_words_of_every_section) {
  std::mt19937 random(2);
  std::size_t opened = 0, tried = 0;
  for (const Specimen& s : kSpecimens) {
    const Bytes good = bytes_of(*specimen(s));
    for (const Place& place : places(good)) {
      if (place.length < 4) continue;
      for (int attempt = 0; attempt < 60; ++attempt) {
        Bytes bad(good);
        for (std::size_t changes = 1 + random() % 4; changes-- > 0;) {
          const std::uint32_t words[] = {
              0,          1,          79,         84,         0x7F800000,
              0xFF800000, 0x7FC00000, 0x80000000, 0xFFFFFFFF, static_cast<std::uint32_t>(random())};
          const std::size_t at = random() % (place.length / 4) * 4;
          storage::testing::put(bad, place.offset + at, words[random() % std::size(words)]);
        }
        storage::testing::reseal(bad);
        ++tried;
        opened += use(bad);
      }
      // Its words in another order: every single one is plausible.
      for (int attempt = 0; attempt < 30; ++attempt) {
        Bytes bad(good);
        for (int swaps = 0; swaps < 8; ++swaps) {
          const std::size_t a = place.offset + random() % (place.length / 4) * 4;
          const std::size_t b = place.offset + random() % (place.length / 4) * 4;
          std::swap_ranges(bad.begin() + static_cast<std::ptrdiff_t>(a),
                           bad.begin() + static_cast<std::ptrdiff_t>(a + 4),
                           bad.begin() + static_cast<std::ptrdiff_t>(b));
        }
        storage::testing::reseal(bad);
        ++tried;
        opened += use(bad);
      }
    }
  }
  // Neither is everything refused, which would test nothing, nor nothing.
  CHECK(opened > tried / 10 && opened < tried * 9 / 10, opened, " of ", tried);
}
