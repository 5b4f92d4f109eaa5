// The lock of a directory, and what is done to names in it.

#include "storage/directory.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>

#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/storage_faults.h"

using namespace annlib;
using namespace annlib::storage;
using namespace annlib::storage::testing;

namespace {

bool locked(const std::string& directory) {
  try {
    const DirectoryLock lock(directory);
    return false;
  } catch (const OsError& error) {
    CHECK_EQ(error.errno_code, EWOULDBLOCK);
    return true;
  }
}

/// Runs `body` in a forked process, which then waits to be killed.
class Child {
 public:
  template <class Body>
  explicit Child(Body body) {
    int ends[2];
    CHECK_EQ(::pipe(ends), 0);
    process_ = ::fork();
    if (process_ == 0) {
      body();
      if (::write(ends[1], "", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(ends[1]);
    char done;
    const bool ready = ::read(ends[0], &done, 1) == 1;
    ::close(ends[0]);
    CHECK(ready);
  }
  ~Child() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  pid_t process() const { return process_; }

 private:
  pid_t process_;
};

}  // namespace

TEST(a_second_lock_of_a_directory_is_refused) {
  const TempDir dir;
  const std::string path = dir.file(".");
  std::optional<DirectoryLock> lock(std::in_place, path);
  const std::string refusal =
      "'" + path + "' is open for writing already (by process " + std::to_string(::getpid()) + ")";
  for (int i = 0; i < 2; ++i) CHECK_EQ(message_of<OsError>([&] { DirectoryLock second(path); }), refusal);
  write_file(dir.file("LOCK"), Bytes(3));
  CHECK_EQ(message_of<OsError>([&] { DirectoryLock second(path); }), "'" + path + "' is open for writing already");
  lock.reset();
  CHECK(!locked(path));
  CHECK(dir.names() == std::vector<std::string>{"LOCK"});
}

TEST(a_lock_ends_with_its_process) {
  const TempDir dir;
  const std::string path = dir.file(".");
  std::optional<DirectoryLock> lock;
  {
    const Child child([&] { lock.emplace(path); });
    const std::string refusal =
        "'" + path + "' is open for writing already (by process " + std::to_string(child.process()) + ")";
    CHECK_EQ(message_of<OsError>([&] { DirectoryLock second(path); }), refusal);
  }
  CHECK(!locked(path));
}

TEST(a_lock_is_its_owners_and_no_forked_childs) {
  const TempDir dir;
  const std::string path = dir.file(".");
  std::optional<DirectoryLock> lock(std::in_place, path);
  const Child giving_up([&] { lock.reset(); });
  CHECK(locked(path));
  const Child keeping([] {});
  lock.reset();
  CHECK(!locked(path));
}

TEST(a_lock_that_cannot_be_taken_is_an_os_error) {
  const TempDir dir;
  const int descriptors = open_descriptors();
  for (const Call call : {kOpen, kFlock, kPwrite}) {
    CHECK_EQ(error_under({call, 1, EIO}, [&] { DirectoryLock lock(dir.file(".")); }), EIO);
    CHECK(!locked(dir.file(".")));
  }
  CHECK_THROWS(OsError, DirectoryLock(dir.file("missing")));
  CHECK_THROWS(ValueError, DirectoryLock(std::string("a\0b", 3)));
  CHECK_EQ(open_descriptors(), descriptors);
}

TEST(a_directory_is_made_once) {
  const TempDir dir;
  for (const char* name : {"a", "a", "b/"}) create_directory(dir.file(name));
  write_file(dir.file("file"), Bytes(1));
  CHECK_EQ(error_under({}, [&] { create_directory(dir.file("file")); }), EEXIST);
  CHECK_EQ(error_under({}, [&] { create_directory(dir.file("missing/c")); }), ENOENT);
  CHECK_EQ(error_under({kMkdir, 1, EDQUOT}, [&] { create_directory(dir.file("c")); }), EDQUOT);
  CHECK(directory_names(dir.file(".")) == (std::vector<std::string>{"a", "b", "file"}));
  CHECK_EQ(error_under({}, [&] { directory_names(dir.file("file")); }), ENOTDIR);
  // Its name is synced: that of a new one alone, and where a file system can.
  CHECK_EQ(error_under({kFsync, 1, EIO}, [&] { create_directory(dir.file("a")); }), 0);
  CHECK_EQ(error_under({kFsync, 1, EIO}, [&] { create_directory(dir.file("d")); }), EIO);
  CHECK_EQ(error_under({kFsync, 1, EINVAL}, [&] { create_directory(dir.file("e")); }), 0);
  CHECK(triggered);
}

TEST(a_file_is_removed_from_a_directory_once) {
  const TempDir dir;
  write_file(dir.file("file"), Bytes(1));
  CHECK_EQ(error_under({kUnlink, 1, EPERM}, [&] { remove_file(dir.file("file")); }), EPERM);
  for (int i = 0; i < 2; ++i) remove_file(dir.file("file"));
  CHECK(dir.names().empty());
  sync_directory(dir.file("."));
  CHECK_EQ(error_under({}, [&] { sync_directory(dir.file("missing")); }), ENOENT);
}

TEST(the_parent_of_a_directory) {
  CHECK_EQ(parent_directory("a"), ".");
  CHECK_EQ(parent_directory("a/"), ".");
  CHECK_EQ(parent_directory("a/b//"), "a");
  CHECK_EQ(parent_directory("/a"), "/");
  CHECK_EQ(parent_directory("../a"), "..");
}
