/// Directories with right checksums and wrong contents, damaged and exchanged files: opening and using them may fail
/// with the library's own errors and may answer nonsense, but must not crash, hang, or ask for more memory than the
/// files are large.

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "disk/files.h"
#include "tests/check.h"
#include "tests/disk_fixture.h"

using namespace annlib;
using namespace annlib::disk;
using namespace annlib::disk::testing;
using annlib::storage::Container;
using annlib::storage::testing::get;
using annlib::storage::testing::put;
using annlib::storage::testing::read_file;
using annlib::storage::testing::reseal;
using annlib::storage::testing::write_file;
using annlib::test::ids_from;

namespace {

constexpr std::uint32_t kDim = 6;
constexpr std::size_t kItems = 150;

struct Specimen {
  Metric metric;
  const char* codec;
  DType held = DType::f32;  ///< what floats are that
  std::uint32_t dim = kDim;
};
constexpr Specimen kSpecimens[] = {{Metric::l2, "rabitq:1"},
                                   {Metric::cosine, "rabitq:2"},
                                   {Metric::ip, "int8"},
                                   {Metric::l2, "float32"},
                                   {Metric::l2, "rabitq:2", DType::u8, 160}};

/// Lists that were merged, deleted items, some that are in the manifest alone, and changes in the log.
void make_specimen(const std::string& directory, const Specimen& specimen) {
  Params params = params_of(specimen.dim, specimen.metric, specimen.codec);
  const Vectors stock = Vectors::clustered(kItems + 200, specimen.dim, specimen.held).as(DType::f32);
  Vectors first(specimen.dim, DType::f32);
  for (std::size_t i = 0; i < kItems; ++i) first.add(stock, i);
  build(directory, params, first);
  const auto index = disk::testing::open(directory);
  index->add(stock.block(kItems, 40), ids_from(1000, 40), OnConflict::raise, 1, {});
  index->remove(ids_from(20, 20), 1);
  index->merge(1);
  index->add(stock.block(kItems + 100, 10), ids_from(2000, 10), OnConflict::raise, 1, {}, numbers(ids_from(0, 10)));
  index->remove(ids_from(1000, 3), 1);
}

bool tolerated(const std::function<void()>& use) {
  try {
    use();
    return true;
  } catch (const CorruptError&) {
  } catch (const VersionError&) {
  } catch (const OsError&) {
  } catch (const ValueError&) {
  } catch (const KeyError&) {
  }
  return false;
}

/// Whatever a program does with an index. True if it opened.
bool use(const std::string& directory) {
  std::unique_ptr<DiskIndex> index;
  try {
    index = disk::testing::open(directory);
  } catch (const CorruptError&) {
    return false;
  } catch (const VersionError&) {
    return false;
  } catch (const OsError&) {
    return false;
  }
  const Vectors some = Vectors::clustered(30, index->dim(), index->dtype(), 9);
  const auto look = [&] {
    for (const Plan plan : {Plan::walk, Plan::exact, Plan::automatic}) {
      for (const std::size_t ef : {std::size_t{1}, kEveryList}) {
        const Found found = search(*index, some.block(0, 3), 3, {.ef = ef, .threads = 1, .plan = plan});
        for (const std::int64_t count : found.counts) CHECK(count >= 0 && count <= 3);
      }
    }
    index->search_radius(some.block(0, 2), 5.0f, {.threads = 1});
  };
  tolerated(look);
  tolerated([&] { index->damage(); });
  tolerated([&] { vectors_of(*index); });
  index->counts();
  const std::vector<std::int64_t> ids = index->ids();
  tolerated([&] { index->add(some.block(), ids_from(5000, 30), OnConflict::update, 1, {}); });
  tolerated([&] { index->remove(std::span(ids).first(ids.size() / 3), 1); });
  tolerated(look);
  tolerated([&] { index->merge(1); });
  tolerated(look);
  tolerated([&] { index->compact(1, {}); });
  tolerated(look);
  return true;
}

/// A directory to be spoilt, over and over.
class Victim {
 public:
  explicit Victim(const Specimen& specimen) { make_specimen(good(), specimen); }
  std::string good() const { return dir_.file("good"); }
  std::string bad(const std::string& name) const { return dir_.file("bad") + "/" + name; }
  Bytes file(const std::string& name) const { return read_file(good() + "/" + name); }
  void restore() const { copy_directory(good(), dir_.file("bad")); }
  bool use() const { return ::use(dir_.file("bad")); }

 private:
  TempDir dir_;
};

/// A section's bytes within the file.
struct Place {
  std::string name;
  std::size_t offset, length;
};

std::vector<Place> places_in(const Bytes& bytes) {
  std::vector<Place> all;
  const auto file = Container::from_bytes(bytes);
  for (const auto& section : file->sections()) all.push_back({section.name, section.offset, section.length});
  return all;
}

Place place_of(const Bytes& bytes, const std::string& name) {
  for (const Place& place : places_in(bytes)) {
    if (place.name == name) return place;
  }
  test::fail(__FILE__, __LINE__, "no section " + name);
}

std::uint32_t some_word(std::mt19937& random) {
  const std::uint32_t words[] = {0,          1,          79,         170,        0x7F800000,
                                 0xFF800000, 0x7FC00000, 0x80000000, 0xFFFFFFFF, static_cast<std::uint32_t>(random())};
  return words[random() % std::size(words)];
}

}  // namespace

TEST(disk_hostile_sections_of_the_manifest) {
  std::mt19937 random(1);
  std::size_t opened = 0, tried = 0;
  for (const Specimen& specimen : kSpecimens) {
    const Victim victim(specimen);
    const Bytes good = victim.file("index.ann");
    victim.restore();
    CHECK(victim.use());
    for (const Place& place : places_in(good)) {
      if (place.length == 0) continue;
      for (int attempt = 0; attempt < 8; ++attempt) {
        Bytes bad(good);
        for (std::size_t changes = 1 + random() % 3; changes-- > 0;) {
          if (place.length < 4 || attempt % 4 == 0) {
            bad[place.offset + random() % place.length] = static_cast<std::byte>(random());
          } else if (attempt % 4 == 1) {  // every single one is plausible
            const std::size_t a = place.offset + random() % (place.length / 4) * 4;
            const std::size_t b = place.offset + random() % (place.length / 4) * 4;
            const auto word = get<std::uint32_t>(bad, a);
            put(bad, a, get<std::uint32_t>(bad, b));
            put(bad, b, word);
          } else {
            put(bad, place.offset + random() % (place.length / 4) * 4, some_word(random));
          }
        }
        reseal(bad);
        victim.restore();
        write_file(victim.bad("index.ann"), bad);
        ++tried;
        opened += victim.use();
      }
    }
  }
  // Neither is everything refused, which would test nothing, nor nothing.
  CHECK(opened > tried / 10 && opened < tried * 9 / 10, opened, " of ", tried);
}

TEST(disk_hostile_lists_with_right_checksums) {
  std::mt19937 random(2);
  for (const Specimen& specimen : kSpecimens) {
    const Victim victim(specimen);
    const Bytes manifest = victim.file("index.ann"), good = victim.file("lists-0");
    const Place places = place_of(manifest, "lists.places");
    const ListForm form(ListCodes(specimen.dim, specimen.metric),
                        ItemCodes(params_of(specimen.dim, specimen.metric, specimen.codec)).bytes());
    for (int attempt = 0; attempt < 10; ++attempt) {
      Bytes bad_manifest(manifest), bad(good);
      for (std::size_t at = places.offset; at < places.offset + places.length; at += sizeof(ListPlace)) {
        auto place = get<ListPlace>(bad_manifest, at);
        if (place.size == 0) continue;
        const std::size_t used = form.rows_at(place.size) + place.size * form.row_bytes();
        for (int changes = 0; changes < 6; ++changes) {
          put(bad, place.offset + random() % (used / 4) * 4, some_word(random));
        }
        place.crc = checksum(std::span(bad).subspan(place.offset, form.bytes(place.size)));
        put(bad_manifest, at, place);
      }
      reseal(bad_manifest);
      victim.restore();
      write_file(victim.bad("index.ann"), bad_manifest);
      write_file(victim.bad("lists-0"), bad);
      CHECK(victim.use());
    }
  }
}

TEST(disk_hostile_vectors_with_right_checksums) {
  std::mt19937 random(3);
  for (const Specimen& specimen : kSpecimens) {
    const Victim victim(specimen);
    const Bytes manifest = victim.file("index.ann"), good = victim.file("vectors-0");
    const Place sums = place_of(manifest, "vectors.sums");
    const VectorForm form(specimen.dim, DType::f32, specimen.held);
    for (int attempt = 0; attempt < 10; ++attempt) {
      Bytes bad_manifest(manifest), bad(good);
      for (std::size_t unit = 0; unit < sums.length / 4; ++unit) {
        for (int changes = 0; changes < 1 << attempt % 8; ++changes) {
          put(bad, form.offset(unit) + random() % (form.unit_bytes() / 4) * 4, some_word(random));
        }
        put(bad_manifest, sums.offset + 4 * unit,
            checksum(std::span(bad).subspan(form.offset(unit), form.unit_bytes())));
      }
      reseal(bad_manifest);
      victim.restore();
      write_file(victim.bad("index.ann"), bad_manifest);
      write_file(victim.bad("vectors-0"), bad);
      CHECK(victim.use());
    }
  }
}

TEST(disk_damage_of_files_is_found) {
  std::mt19937 random(4);
  for (const Specimen& specimen : kSpecimens) {
    const Victim victim(specimen);
    for (const std::string name : {"lists-0", "vectors-0"}) {
      const Bytes good = victim.file(name);
      for (int attempt = 0; attempt < 20; ++attempt) {
        Bytes bad(good);
        const std::size_t at = random() % bad.size();
        bad[at] ^= std::byte{1};
        victim.restore();
        write_file(victim.bad(name), bad);
        const auto open = [&] { return disk::testing::open(std::filesystem::path(victim.bad("")).parent_path()); };
        if (at < kHeaderBytes) {
          CHECK_THROWS(CorruptError, open());
          continue;
        }
        // Of lists that were written anew the old place may be what is damaged.
        const auto damage = open()->damage();
        CHECK(damage.size() == 1 || (name == "lists-0" && damage.empty()), name, at);
        CHECK(victim.use());
      }
      for (const std::size_t size :
           {std::size_t{0}, std::size_t{100}, kHeaderBytes, good.size() / 2, good.size() - 1}) {
        victim.restore();
        std::filesystem::resize_file(victim.bad(name), size);
        CHECK(!victim.use(), name, size);
      }
      victim.restore();
      std::filesystem::remove(victim.bad(name));
      CHECK(!victim.use());
    }
  }
}

TEST(disk_files_of_another_index_are_refused) {
  const Victim victim(kSpecimens[1]);
  const TempDir dir;
  const std::string other = dir.file("other");
  build(other, params_of(kDim, Metric::cosine), Vectors::clustered(kItems, kDim, DType::f32, 7));
  disk::testing::open(other)->remove(ids_from(0, 3), 1);
  for (const char* name : {"lists-0", "vectors-0", "index.ann"}) {
    victim.restore();
    std::filesystem::copy_file(other + "/" + name, victim.bad(name), std::filesystem::copy_options::overwrite_existing);
    CHECK(!victim.use(), name);
  }
  // A log's name is the number of its first change.
  for (const std::string name : {"log-0", "log-2", "log-3", "log-50"}) {
    victim.restore();
    std::filesystem::copy_file(other + "/log-0", victim.bad(name), std::filesystem::copy_options::overwrite_existing);
    CHECK(!victim.use(), name);
  }
  // The file of one is no file of the other.
  victim.restore();
  write_file(victim.bad("vectors-0"), victim.file("lists-0"));
  CHECK(!victim.use());
}

TEST(disk_logs_that_do_not_follow_the_manifest_are_refused) {
  const Victim victim(kSpecimens[1]);
  victim.restore();
  std::filesystem::rename(victim.bad("log-2"), victim.bad("log-3"));  // the change before it is nowhere
  CHECK(!victim.use());
  victim.restore();
  std::filesystem::remove(victim.bad("log-2"));  // as though nothing had been changed
  CHECK(victim.use());
}

TEST(disk_hostile_headers) {
  const Victim victim(kSpecimens[2]);
  const auto crc = [](Bytes& bytes) {
    put(bytes, kHeaderBytes - 4, checksum(std::span(bytes).first(kHeaderBytes - 4)));
  };
  for (const std::string name : {"lists-0", "vectors-0"}) {
    for (std::size_t at = 0; at < 40; ++at) {
      Bytes bad = victim.file(name);
      bad[at] ^= std::byte{0x40};
      crc(bad);
      victim.restore();
      write_file(victim.bad(name), bad);
      CHECK(!victim.use(), name, at);
    }
    Bytes newer = victim.file(name);
    put(newer, 12, std::uint32_t{2});
    crc(newer);
    victim.restore();
    write_file(victim.bad(name), newer);
    CHECK_THROWS(VersionError, disk::testing::open(std::filesystem::path(victim.bad("")).parent_path()));
  }
}
