// Each system call fails in turn: the old file must survive and nothing else may be left behind.

#include <cerrno>

#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/storage_faults.h"

using namespace annlib;
using namespace annlib::storage;
using namespace annlib::storage::testing;

TEST(a_failed_write_leaves_the_old_file) {
  Sections sections = varied();
  sections.add("big", ElementType::u8, {3 * 1024 * 1024});
  const int descriptors = open_descriptors();
  for (const bool exists : {true, false}) {
    const TempDir dir;
    const std::string path = dir.file("x");
    if (exists) write_container(path, "flat", small().views());
    const Bytes old = exists ? read_file(path) : Bytes();
    const auto names = dir.names();
    int failures = 0;
    for (const Call call : {kOpen, kPwrite, kFtruncate, kFchmod, kFsync, kClose, kRename}) {
      for (const int code : {ENOSPC, EIO, EACCES}) {
        for (int nth = 1;; ++nth) {
          const int thrown = error_under({call, nth, code}, [&] { write_container(path, "hnsw", sections.views()); });
          if (thrown == 0) break;
          CHECK(triggered);
          CHECK_EQ(thrown, code);
          ++failures;
          // Only the directory is synced after the rename, and the new file is whole then.
          if (call == kFsync && nth == 2) break;
          CHECK(dir.names() == names);
          if (exists) CHECK(read_file(path) == old);
        }
        CHECK(verify_container(path).empty());
        CHECK(Container::open(path, false)->kind() == "hnsw");
        std::filesystem::remove(path);
        if (exists) write_file(path, old);
      }
    }
    CHECK(failures > 3 * 40);
  }
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(a_failed_sync_of_the_directory_says_so) {
  const TempDir dir;
  const std::string path = dir.file("x");
  const auto write = [&] { write_container(path, "flat", small().views()); };
  const Faults faults({kFsync, 2, EIO});
  CHECK(contains(message_of<OsError>(write), "the new file is in place"));
  CHECK(verify_container(path).empty());
  plan = {kFsync, 4, EINVAL};  // a file system that cannot
  CHECK_EQ(message_of<OsError>(write), "no exception");
}

TEST(interruptions_and_short_transfers_are_continued) {
  const TempDir dir;
  const std::string path = dir.file("x");
  const Bytes expected = container_bytes("hnsw", varied().views());
  const Faults faults({.odd = true});
  for (int i = 0; i < 2; ++i) {
    write_container(path, "hnsw", varied().views());
    CHECK(read_file(path) == expected);
    CHECK(contents(*Container::open(path, false), false) == contents(*Container::from_bytes(expected), true));
    CHECK(verify_container(path).empty());
  }
  CHECK(dir.names() == std::vector<std::string>{"x"});
}

TEST(a_write_without_progress_ends) {
  const TempDir dir;
  const auto write = [&] { write_container(dir.file("x"), "flat", small().views()); };
  CHECK_EQ(error_under({.no_progress = true}, write), EIO);
  CHECK(dir.names().empty());
}

TEST(a_taken_temporary_name_is_stepped_over) {
  const TempDir dir;
  const auto write = [&] { write_container(dir.file("x"), "flat", small().views()); };
  CHECK_EQ(error_under({kOpen, 2, EEXIST}, write), 0);
  CHECK(triggered);
  CHECK(dir.names() == std::vector<std::string>{"x"});
}

TEST(failed_reads_are_os_errors) {
  const TempDir dir;
  const std::string path = dir.file("x");
  write_container(path, "hnsw", varied().views());
  const int descriptors = open_descriptors();
  for (const bool map : {true, false}) {
    for (const Call call : {kOpen, kFstat, kPread, kMmap}) {
      int failures = 0;
      for (int nth = 1;; ++nth) {
        const int thrown = error_under({call, nth, EIO}, [&] { contents(*Container::open(path, map), map); });
        if (thrown == 0) break;
        CHECK_EQ(thrown, EIO);
        ++failures;
      }
      CHECK_EQ(failures > 0, call != kMmap || map);
    }
  }
  CHECK_EQ(error_under({kPread, 3, EIO}, [&] { verify_container(path); }), EIO);
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(a_file_that_shrinks_is_corrupt) {
  const TempDir dir;
  const std::string path = dir.file("x");
  write_container(path, "flat", small().views());
  const auto container = Container::open(path, false);
  std::filesystem::resize_file(path, 8192);
  CHECK(contains(message_of<CorruptError>([&] { contents(*container, false); }), "shrank"));
}
