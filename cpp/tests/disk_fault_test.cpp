/// Each system call of what writes an index on disk fails in turn, or is the last one that is made: what was
/// acknowledged is there, in the object that goes on and in the directory as it was left.

#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/check.h"
#include "tests/disk_fixture.h"
#include "tests/storage_faults.h"

using namespace annlib;
using namespace annlib::disk;
using namespace annlib::disk::testing;
using namespace annlib::storage::testing;
using annlib::test::bytes_of;
using annlib::test::ids_from;

namespace {

constexpr std::uint32_t kDim = 64;  // 16 vectors are a page
constexpr std::size_t kItems = 200;

Params small_lists() {
  Params params = params_of(kDim, Metric::l2, "int8");
  params.lists.list_size = 5;
  return params;
}

const Vectors& stock() {
  static const Vectors all = Vectors::clustered(kItems + 400, kDim);
  return all;
}

std::unique_ptr<FlatIndex> copy_of(const FlatIndex& flat) {
  return FlatIndex::open(storage::Container::from_bytes(bytes_of(flat)));
}

/// A directory nobody has open, and what it holds.
struct Specimen {
  explicit Specimen(const Vectors& vectors = first()) : flat(flat_of(small_lists(), vectors)) {
    build(path(), small_lists(), vectors);
  }
  static Vectors first() {
    Vectors some(kDim, DType::f32);
    for (std::size_t i = 0; i < kItems; ++i) some.add(stock(), i);
    return some;
  }
  std::string path() const { return dir->file("x"); }
  template <class Change>
  void both(DiskIndex& index, Change change) {
    change(static_cast<Index&>(index));
    change(static_cast<Index&>(*flat));
  }

  std::unique_ptr<TempDir> dir = std::make_unique<TempDir>();
  std::unique_ptr<FlatIndex> flat;
};

void add_rows(Index& index, std::int64_t id, std::size_t row, std::size_t n) {
  index.add(stock().block(row, n), ids_from(id, n), OnConflict::update, 1, {});
}

/// With changes in its log: new items, so many near to one another that a list is split, replaced and deleted ones.
Specimen changed() {
  Specimen specimen;
  const auto index = disk::testing::open(specimen.path());
  specimen.both(*index, [](Index& i) {
    add_rows(i, 1000, kItems, 20);
    add_rows(i, 50, kItems + 20, 10);
    Vectors heap(kDim, DType::f32);
    for (std::size_t row = 0; row < 40; ++row) {
      std::vector<float> vector(kDim);
      for (std::size_t d = 0; d < kDim; ++d) {
        vector[d] = static_cast<float>(stock().row(7)[d] + 0.01 * stock().row(row)[d]);
      }
      heap.add(vector.data());
    }
    i.add(heap.block(), ids_from(2000, 40), OnConflict::raise, 1, {}, numbers(ids_from(0, 40)));
    i.remove(ids_from(100, 20), 1);
  });
  return specimen;
}

/// One whose next merge writes all lists into a new file.
Specimen grown() {
  Specimen specimen;
  const std::string other = specimen.dir->file("y");
  for (std::size_t round = 0; round < 22; ++round) {  // as many as do not make the index twice as large
    {
      const auto index = disk::testing::open(specimen.path());
      specimen.both(*index, [&](Index& i) {
        const auto id = static_cast<std::int64_t>(8 * round);
        add_rows(i, 1000 + id, kItems + 16 * round, 8);
        add_rows(i, id, kItems + 16 * round + 8, 8);
      });
    }
    copy_directory(specimen.path(), other);
    disk::testing::open(other)->merge(1);
    CHECK(!std::filesystem::exists(other + "/vectors-1"), "all was built anew");
    if (std::filesystem::exists(other + "/lists-1")) return specimen;
    copy_directory(other, specimen.path());
  }
  test::fail(__FILE__, __LINE__, "no merge began a new file of lists");
}

/// One whose vectors are bytes, until its next merge builds all anew.
Specimen narrow() {
  const Vectors vectors = Vectors::clustered(kItems, kDim, DType::i8).as(DType::f32);
  Specimen specimen(vectors);
  const auto index = disk::testing::open(specimen.path());
  CHECK(index->counts().stored_dtype == DType::i8);
  specimen.both(*index, [](Index& i) { add_rows(i, 1000, kItems, 20); });
  return specimen;
}

struct Operation {
  const char* name;
  Specimen specimen;
  std::function<void(Index&)> run;
};

void merge(Index& index) {
  if (auto* disk = dynamic_cast<DiskIndex*>(&index)) disk->merge(1);
}

std::vector<Operation> operations() {
  std::vector<Operation> all;
  all.push_back({"merge", changed(), merge});
  all.push_back({"merge into a new file", grown(), merge});
  all.push_back({"merge of wider vectors", narrow(), merge});
  all.push_back({"compact", changed(), [](Index& i) { i.compact(1, {}); }});
  all.push_back({"add", changed(), [](Index& i) { add_rows(i, 10, kItems + 300, 30); }});
  all.push_back({"remove", changed(), [](Index& i) { i.remove(ids_from(0, 30), 1); }});
  all.push_back({"set", changed(), [](Index& i) { i.set_attributes(ids_from(0, 3), numbers({7, 8, 9})); }});
  return all;
}

/// The directory as it is now opens, is sound, and holds what one of these does.
void check_left(const std::string& directory, const FlatIndex& one, const FlatIndex& other, const std::string& when) {
  const TempDir dir;
  copy_directory(directory, dir.file("copy"));
  for (int time = 0; time < 2; ++time) {  // what opening does to it is right, too
    const auto index = disk::testing::open(dir.file("copy"));
    CHECK(same_items(*index, one) || same_items(*index, other), when, ", time ", time);
    const auto damage = index->damage();
    CHECK(damage.empty(), when, ": ", damage.empty() ? "" : damage.front());
  }
  for (const auto& entry : std::filesystem::directory_iterator(dir.file("copy"))) {
    const std::string name = entry.path().filename();
    CHECK(!name.ends_with(".tmp") && !name.starts_with(".build"), when, " leaves ", name);
  }
}

/// The object works, whatever happened before.
void check_goes_on(std::unique_ptr<DiskIndex> index, const std::string& path, std::unique_ptr<FlatIndex> flat,
                   const std::string& when) {
  CHECK(same_items(*index, *flat), when);
  for (int round = 0; round < 2; ++round) {
    for (Index* each : {static_cast<Index*>(index.get()), static_cast<Index*>(flat.get())}) {
      add_rows(*each, 9000 + 10 * round, kItems + 350 + 10 * static_cast<std::size_t>(round), 5);
      each->remove(ids_from(5 * round + 30, 5), 1);
    }
    CHECK(same_items(*index, *flat), when);
    check_left(path, *flat, *flat, when + ", then changed");
    index->merge(1);
    check_left(path, *flat, *flat, when + ", then merged");
  }
  check_same(*index, *flat, Vectors::clustered(3, kDim, DType::f32, 4));
}

constexpr Call kCallsOfWriters[] = {kOpen,  kFstat, kPread,     kPwrite, kFtruncate, kFchmod,
                                    kFsync, kClose, kFdatasync, kRename, kUnlink};

/// Reads are many and alike.
int step_of(Call call) { return call == kPread ? 397 : call == kFstat ? 37 : 1; }

std::function<void()> at_each_call;

/// Copies of the directory as it is before each call that changes something there, and behind the last.
int copy_at_each_call(const std::string& from, const TempDir& to, const std::function<void()>& run) {
  int copies = 0;
  at_each_call = [&] { copy_directory(from, to.file("copy-" + std::to_string(copies++))); };
  {
    const Faults faults({});
    storage::SystemCalls& calls = storage::system_calls();
    calls.open = [](const char* name, int flags, mode_t mode) { return at_each_call(), real.open(name, flags, mode); };
    calls.pwrite = [](int fd, const void* in, std::size_t n, off_t at) {
      return at_each_call(), real.pwrite(fd, in, std::min<std::size_t>(n, 9000), at);
    };
    calls.ftruncate = [](int fd, off_t size) { return at_each_call(), real.ftruncate(fd, size); };
    calls.rename = [](const char* old, const char* name) { return at_each_call(), real.rename(old, name); };
    calls.unlink = [](const char* name) { return at_each_call(), real.unlink(name); };
    run();
  }
  at_each_call();
  return copies;
}

}  // namespace

TEST(disk_faults_of_each_call_of_a_writer) {
  const int descriptors = open_descriptors();
  for (const Operation& operation : operations()) {
    const auto after = copy_of(*operation.specimen.flat);
    operation.run(*after);
    int failures = 0;
    for (const Call call : kCallsOfWriters) {
      for (int nth = 1;; nth += step_of(call)) {
        const std::string when =
            std::string(operation.name) + ", call " + std::to_string(call) + " number " + std::to_string(nth);
        const TempDir dir;
        const std::string path = dir.file("x");
        copy_directory(operation.specimen.path(), path);
        auto index = disk::testing::open(path);
        const int code = nth % 2 != 0 ? EIO : ENOSPC;
        const int thrown = error_under({.call = call, .nth = nth, .code = code}, [&] { operation.run(*index); });
        // A failed close of what had been synced or was only read has nothing to say, nor has a file's unknown length,
        // and what memory the process has may remain unknown.
        const bool ignored = thrown == 0 && (call == kClose || call == kFstat || call == kPread);
        CHECK(thrown == (triggered ? code : 0) || ignored, when, ": ", thrown);
        if (!triggered) break;
        ++failures;
        check_left(path, *operation.specimen.flat, *after, when);
        if (thrown != 0) operation.run(*index);
        check_goes_on(std::move(index), path, copy_of(*after), when);
      }
    }
    CHECK(failures > 1, operation.name);
  }
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(disk_faults_of_a_log_that_cannot_be_mended) {
  const Specimen specimen = changed();
  const auto add = [](Index& index) { add_rows(index, 10, kItems + 300, 30); };
  const auto after = copy_of(*specimen.flat);
  add(*after);
  for (const Call call : {kPwrite, kFdatasync}) {
    for (const Call undo : {kFtruncate, kFsync}) {
      const TempDir dir;
      const std::string path = dir.file("x"), when = std::to_string(call) + " and " + std::to_string(undo);
      copy_directory(specimen.path(), path);
      auto index = disk::testing::open(path);
      CHECK_EQ(error_under({.call = call, .nth = 1, .code = EIO, .always = undo}, [&] { add(*index); }), EIO);
      CHECK(same_items(*index, *specimen.flat));
      check_left(path, *specimen.flat, *after, when);
      CHECK_THROWS(OsError, add(*index));
      CHECK(same_items(*index, *specimen.flat));
      index->merge(1);  // begins a log that works
      check_left(path, *specimen.flat, *specimen.flat, when + ", then merged");
      add(*index);
      check_goes_on(std::move(index), path, copy_of(*after), when);
    }
  }
}

TEST(disk_interruptions_and_short_transfers_are_continued) {
  for (const Operation& operation : operations()) {
    const TempDir dir;
    const std::string path = dir.file("x");
    copy_directory(operation.specimen.path(), path);
    OpenOptions options;  // mmap() is never interrupted
    options.engine = io::Engine::pread;
    auto index = disk::testing::open(path, options);
    const auto after = copy_of(*operation.specimen.flat);
    operation.run(*after);
    CHECK_EQ(error_under({.odd = true}, [&] { operation.run(*index); }), 0);
    check_goes_on(std::move(index), path, copy_of(*after), operation.name);
  }
}

TEST(disk_lists_that_cannot_be_read_stay_in_their_file) {
  const Specimen specimen = changed();
  OpenOptions options = mapped(true);
  options.cache_bytes = std::size_t{4} << 20;
  int left_out = 0;
  for (int nth = 1;; ++nth) {
    std::unique_ptr<DiskIndex> index;
    const int thrown = error_under({.call = kPread, .nth = nth, .code = EIO},
                                   [&] { index = disk::testing::open(specimen.path(), options); });
    const bool failed = triggered;
    CHECK(thrown == 0 || (thrown == EIO && failed), nth);
    if (index != nullptr) {
      CHECK_EQ(index->counts().resident_bytes == 0, failed);
      CHECK(same_items(*index, *specimen.flat));
      left_out += failed;
    }
    if (!failed) break;
  }
  CHECK(left_out > 0);
}

TEST(disk_faults_of_a_build) {
  const Vectors vectors = Specimen::first();
  const auto flat = flat_of(small_lists(), vectors);
  const int descriptors = open_descriptors();
  int failures = 0;
  for (const Call call : {kOpen, kFstat, kPread, kPwrite, kFchmod, kFsync, kClose, kRename, kFlock, kMkdir}) {
    for (int nth = 1;; nth += step_of(call)) {
      const std::string when = "call " + std::to_string(call) + " number " + std::to_string(nth);
      const TempDir dir;
      const std::string path = dir.file("x");
      const int thrown =
          error_under({.call = call, .nth = nth, .code = ENOSPC}, [&] { build(path, small_lists(), vectors); });
      // kFlock: unlocking
      const bool ignored = thrown == 0 && (call == kClose || call == kFlock || call == kFstat || call == kPread);
      CHECK(thrown == (triggered ? ENOSPC : 0) || ignored, when, ": ", thrown);
      if (!triggered) break;
      ++failures;
      // Once it has its name it is there, though a power failure may undo that.
      const bool named = std::filesystem::exists(path + "/index.ann");
      CHECK(!named || ignored || call == kFsync, when);
      if (!named) {
        CHECK_THROWS(OsError, disk::testing::open(path));
        build(path, small_lists(), vectors);
      }
      check_left(path, *flat, *flat, when);
    }
  }
  CHECK(failures > 20);
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(disk_crashes_at_each_call_of_a_writer) {
  for (const Operation& operation : operations()) {
    const TempDir dir;
    const std::string path = dir.file("x");
    copy_directory(operation.specimen.path(), path);
    auto index = disk::testing::open(path);
    const auto after = copy_of(*operation.specimen.flat);
    operation.run(*after);
    const int copies = copy_at_each_call(path, dir, [&] { operation.run(*index); });
    CHECK(copies > 1, operation.name);
    for (int i = 0; i < copies; ++i) {
      check_left(dir.file("copy-" + std::to_string(i)), *operation.specimen.flat, *after,
                 std::string(operation.name) + ", copy " + std::to_string(i));
    }
  }
}

TEST(disk_crashes_behind_a_merge_that_is_in_place_and_not_durable) {
  int failures = 0;
  for (const Operation& operation : operations()) {
    const auto after = copy_of(*operation.specimen.flat);
    operation.run(*after);
    for (int nth = 1;; ++nth) {
      const TempDir dir;
      const std::string path = dir.file("x");
      copy_directory(operation.specimen.path(), path);
      auto index = disk::testing::open(path);
      const Bytes before = read_file(path + "/index.ann");
      error_under({.call = kFsync, .nth = nth, .code = EIO}, [&] { operation.run(*index); });
      if (!triggered) break;
      if (read_file(path + "/index.ann") == before) continue;
      ++failures;
      const auto flat = copy_of(*after);
      for (Index* each : {static_cast<Index*>(index.get()), static_cast<Index*>(flat.get())}) {
        add_rows(*each, 9000, kItems + 350, 20);
      }
      const int copies = copy_at_each_call(path, dir, [&] { operation.run(*index); });
      for (int i = 0; i < copies; ++i) {
        check_left(dir.file("copy-" + std::to_string(i)), *flat, *flat,
                   std::string(operation.name) + ", sync " + std::to_string(nth) + ", copy " + std::to_string(i));
      }
    }
  }
  CHECK(failures > 5);
}

TEST(disk_faults_of_an_add_leave_no_new_attribute) {
  const Specimen specimen;
  const auto index = disk::testing::open(specimen.path());
  AttributeRows rows;
  rows.type = AttributeType::real;
  rows.present = {1};
  rows.reals = {0.5};
  Columns columns;
  columns.resize(1);
  columns.put("new", Column(rows));
  const auto add = [&] { index->add(stock().block(0, 1), ids_from(9000, 1), OnConflict::raise, 1, {}, columns); };
  CHECK_EQ(error_under({.call = kFdatasync, .nth = 1, .code = EIO}, add), EIO);
  CHECK_EQ(index->attribute_types().size(), 1u);
  CHECK(same_items(*index, *specimen.flat));
  add();
  CHECK_EQ(index->attribute_types().size(), 2u);
}
