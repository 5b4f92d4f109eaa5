// Each system call of the log fails in turn: a record is there or it is not, and no earlier one is lost.

#include <cerrno>

#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/log_fixture.h"
#include "tests/storage_faults.h"

using namespace annlib;
using namespace annlib::storage;
using namespace annlib::storage::testing;

namespace {

/// Large enough for several writes: gathered pieces, and one from where it is.
Sections large() {
  Sections out = varied();
  out.add("large", ElementType::u8, {300'001});
  out.add("behind", ElementType::u8, {70'000});
  return out;
}

Replayed followed_by(Replayed records, const std::string& kind, const Sections& sections) {
  records.emplace_back(kind, bytes_of(sections));
  return records;
}

Replayed reopened(const std::string& path) {
  Replayed records;
  const Log log(path, kIdentity, into(records));
  return records;
}

std::uint64_t size_seen_by_sync;

}  // namespace

TEST(a_failed_append_leaves_the_log_as_it_was) {
  const Sections sections = large();
  const Replayed old = small_records({"first"});
  const int descriptors = open_descriptors();
  int failures = 0;
  for (const bool odd : {false, true}) {
    for (const Call call : {kPwrite, kFdatasync}) {
      for (int nth = 1;; nth += odd ? 17 : 1) {
        const TempDir dir;
        const std::string path = dir.file("x.log");
        const auto places = write_small_log(path, {"first"});
        const Bytes before = read_file(path);
        Log log(path, kIdentity, ignore());
        const auto append = [&] { log.append("insert", sections.views()); };
        if (error_under({.call = call, .nth = nth, .code = ENOSPC, .odd = odd}, append) == 0) break;
        CHECK(triggered);
        ++failures;
        CHECK_EQ(log.bytes(), places[1]);
        CHECK(read_file(path) == before, nth);
        log.append("second", small().views());
        CHECK(reopened(path) == small_records({"first", "second"}), nth);
      }
    }
  }
  CHECK(failures > 20);
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(a_log_that_cannot_be_cut_back_takes_no_more) {
  const Sections sections = large();
  const Replayed old = small_records({"first"}), with_it = followed_by(old, "insert", sections);
  for (const Call call : {kPwrite, kFdatasync}) {
    for (const Call undo : {kFtruncate, kFsync}) {
      const TempDir dir;
      const std::string path = dir.file("x.log");
      write_small_log(path, {"first"});
      Log log(path, kIdentity, ignore());
      const auto append = [&] { log.append("insert", sections.views()); };
      CHECK_EQ(error_under({.call = call, .nth = call == kPwrite ? 3 : 1, .code = EIO, .always = undo}, append), EIO);
      const std::string refusal = "cannot write '" + path +
                                  "': an earlier write failed and could not be undone (Input/output error); open it "
                                  "anew";
      const Bytes left = read_file(path);
      for (int i = 0; i < 2; ++i) CHECK_EQ(message_of<OsError>(append), refusal);
      CHECK(read_file(path) == left);
      // Unsynced, but written: it may be there. Torn: it is not.
      const Replayed records = reopened(path);
      CHECK(records == (call == kFdatasync && undo == kFtruncate ? with_it : old));
      Log(path, kIdentity, ignore()).append("second", small().views());
      CHECK(replayed(path) == followed_by(records, "second", small()));
    }
  }
}

TEST(an_append_to_a_log_is_synced_when_all_of_it_is_written) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  Log log(path, kIdentity, ignore());
  const Faults faults({});
  system_calls().fdatasync = [](int fd) {
    struct stat status{};
    real.fstat(fd, &status);
    size_seen_by_sync = static_cast<std::uint64_t>(status.st_size);
    return real.fdatasync(fd);
  };
  for (const Sections& sections : {small(), large()}) {
    log.append("insert", sections.views());
    CHECK_EQ(size_seen_by_sync, log.bytes());
    CHECK_EQ(size_seen_by_sync, std::filesystem::file_size(path));
  }
}

TEST(a_failed_opening_of_a_log_loses_nothing) {
  const Replayed old = small_records({"first", "second"});
  const int descriptors = open_descriptors();
  for (const bool exists : {false, true}) {
    int failures = 0;
    for (const Call call : {kOpen, kFstat, kPread, kPwrite, kFtruncate, kFsync, kClose, kRename}) {
      for (int nth = 1;; ++nth) {
        const TempDir dir;
        const std::string path = dir.file("x.log");
        if (exists) std::filesystem::resize_file(path, write_small_log(path, {"first", "second", "torn"})[3] - 1);
        const auto open = [&] { Log(path, kIdentity, ignore()); };
        const int thrown = error_under({.call = call, .nth = nth, .code = EIO}, open);
        // A failed close of what was only open for reading, or had been synced, has nothing to say.
        if (thrown == 0 && !(triggered && call == kClose)) break;
        CHECK(thrown == EIO || call == kClose);
        ++failures;
        CHECK(reopened(path) == (exists ? old : Replayed{}), call, nth);
        CHECK(dir.names() == std::vector<std::string>{"x.log"});
      }
    }
    CHECK(failures >= 10);
  }
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(interruptions_and_short_transfers_of_a_log_are_continued) {
  const TempDir dir;
  const std::string path = dir.file("x.log"), other = dir.file("y.log");
  const Sections sections = large();
  Log(other, kIdentity, ignore()).append("insert", sections.views());
  const Faults faults({.odd = true});
  Log(path, kIdentity, ignore()).append("insert", sections.views());
  CHECK(read_file(path) == read_file(other));
  CHECK(reopened(path) == followed_by({}, "insert", sections));
}

TEST(a_write_to_a_log_without_progress_ends) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  Log log(path, kIdentity, ignore());
  CHECK_EQ(error_under({.no_progress = true}, [&] { log.append("insert", small().views()); }), EIO);
  log.append("insert", small().views());
  CHECK(replayed(path) == small_records({"insert"}));
}

TEST(failed_reads_of_a_log_are_os_errors) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  write_small_log(path, {"first", "second"});
  const Bytes before = read_file(path);
  for (const Call call : {kOpen, kFstat, kPread}) {
    int failures = 0;
    for (int nth = 1; error_under({call, nth, EIO}, [&] { replayed(path); }) == EIO; ++nth) ++failures;
    CHECK(failures > 0);
  }
  CHECK(read_file(path) == before);
}
