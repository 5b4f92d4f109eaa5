// The log: what is appended is replayed, and what a crash leaves behind is cut off.

#include "storage/log.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "storage/directory.h"
#include "storage/section_list.h"
#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/log_fixture.h"

using namespace annlib;
using namespace annlib::storage;
using namespace annlib::storage::testing;

namespace {

bool starts_with(const Bytes& bytes, const Bytes& beginning) {
  return bytes.size() >= beginning.size() && std::equal(beginning.begin(), beginning.end(), bytes.begin());
}

}  // namespace

TEST(what_is_appended_to_a_log_is_replayed) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  Sections big = small();
  for (const std::uint64_t length : {65'535, 65'536, 65'537, 3'000'001}) {
    big.add("big" + std::to_string(length), ElementType::u8, {length});
  }
  const Sections nothing, all_types = varied();
  const std::vector<std::pair<std::string, const Sections*>> written{
      {"insert", &all_types}, {"nothing", &nothing}, {"a-kind.of_15by", &big}, {"insert", &all_types}};
  for (const auto& [kind, sections] : written) {
    Log log(path, kIdentity, ignore());
    log.append(kind, sections->views());
    CHECK_EQ(log.bytes(), std::filesystem::file_size(path));
  }

  std::size_t count = 0;
  const Replay check = [&](const std::string& kind, const std::shared_ptr<const Container>& record) {
    const auto& [wanted_kind, wanted] = written.at(count++);
    CHECK_EQ(kind, wanted_kind);
    CHECK_EQ(record->kind(), wanted_kind);
    CHECK_EQ(record->path(), path);
    CHECK(!record->mapped());
    const auto& views = wanted->views();
    CHECK_EQ(record->sections().size(), views.size());
    for (std::size_t i = 0; i < views.size(); ++i) {
      const SectionInfo& section = record->sections()[i];
      CHECK(section.name == views[i].name && section.type == views[i].type && section.shape == views[i].shape);
      CHECK_EQ(section.length, views[i].bytes.size());
      CHECK(record->find(views[i].name) == &section);
      CHECK_EQ(reinterpret_cast<std::uintptr_t>(record->view(section).data()) % 64, 0u);
    }
    for (const bool by_view : {true, false}) CHECK(contents(*record, by_view) == bytes_of(*wanted));
  };
  Log log(path, kIdentity, check);
  CHECK_EQ(count, written.size());
  count = 0;
  read_log(path, kIdentity, check);
  CHECK_EQ(count, written.size());
  CHECK(dir.names() == std::vector<std::string>{"x.log"});
}

TEST(a_logged_record_is_a_container) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  SectionList sections;
  sections.add_copy("ids", ElementType::i64, std::vector<std::int64_t>{5, -7});
  Log(path, kIdentity, ignore()).append("delete", sections.views());
  std::shared_ptr<const Container> kept;
  read_log(path, kIdentity, [&](const std::string&, const auto& record) { kept = record; });
  CHECK(read_vector<std::int64_t>(*kept, "ids", ElementType::i64) == (std::vector<std::int64_t>{5, -7}));
  CHECK(kept->find("vectors") == nullptr);
  const auto require = [&](const char* name, ElementType type) {
    return message_of<CorruptError>([&] { kept->require(name, type, 1); });
  };
  CHECK_EQ(require("vectors", ElementType::f32), path + ": section 'vectors' is missing");
  CHECK_EQ(require("ids", ElementType::u64), path + ": section 'ids' has type i64, expected u64");

  const SectionInfo section = kept->sections()[0];
  Bytes too_short(15);
  CHECK_THROWS(std::logic_error, kept->read(section, too_short));
  SectionInfo foreign = section;
  foreign.offset += 8;
  CHECK_THROWS(std::logic_error, kept->view(foreign));
  const Bytes file = read_file(path);
  kept->view(section)[0] = std::byte{9};
  CHECK_EQ(read_vector<std::int64_t>(*kept, "ids", ElementType::i64)[0], 9);
  CHECK(read_file(path) == file);
}

TEST(a_log_takes_nothing_that_it_could_not_read) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  Log log(path, kIdentity, ignore());
  const Bytes before = read_file(path);
  SectionList wrong_size, twice;
  wrong_size.add("a", ElementType::u32, {2}, std::span(before).first(4));
  for (int i = 0; i < 2; ++i) twice.add("a", ElementType::u8, {4}, std::span(before).first(4));
  CHECK_THROWS(ValueError, log.append("insert", wrong_size.views()));
  CHECK_THROWS(ValueError, log.append("insert", twice.views()));
  CHECK_THROWS(ValueError, log.append("Insert", {}));
  CHECK_THROWS(ValueError, log.append("", {}));
  CHECK(read_file(path) == before);
  log.append("insert", {});
  CHECK_EQ(replayed(path).size(), 1u);
}

TEST(a_logs_bytes_depend_on_what_is_written_alone) {
  const TempDir dir;
  for (const char* name : {"a", "b"}) write_small_log(dir.file(name), {"insert", "delete"});
  CHECK(read_file(dir.file("a")) == read_file(dir.file("b")));
}

TEST(no_log_is_an_empty_log_to_read) {
  const TempDir dir;
  CHECK(replayed(dir.file("x.log")).empty());
  CHECK(dir.names().empty());
}

TEST(the_torn_tail_of_a_log_is_cut_off_wherever_it_ends) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  const auto places = write_small_log(path, {"first", "second", "third"});
  const Bytes whole = read_file(path);
  const Replayed two = small_records({"first", "second"});
  for (std::size_t end = places[2]; end < places[3]; ++end) {
    const Bytes torn(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(end));
    write_file(path, torn);
    CHECK(replayed(path) == two, end);
    CHECK(read_file(path) == torn, end);
    Replayed records;
    Log log(path, kIdentity, into(records));
    CHECK(records == two, end);
    CHECK_EQ(log.bytes(), places[2]);
    CHECK_EQ(std::filesystem::file_size(path), places[2]);
    log.append("third", small().views());
    CHECK(read_file(path) == whole, end);
  }
}

TEST(a_log_whose_tail_was_never_written_is_cut_off) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  const auto places = write_small_log(path, {"first", "second"});
  const Bytes whole = read_file(path);
  for (const std::byte fill : {std::byte{0}, std::byte{0xFF}}) {
    for (const std::size_t written : {std::size_t{0}, std::size_t{8}, kRecordHeader, kRecordHeader + 40}) {
      Bytes bytes = whole;  // the file has grown, its blocks did not arrive
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(places[1] + written), bytes.end(), fill);
      bytes.insert(bytes.end(), 10'001, fill);
      write_file(path, bytes);
      Replayed records;
      const Log log(path, kIdentity, into(records));
      CHECK(records == small_records({"first"}));
      CHECK_EQ(std::filesystem::file_size(path), places[1]);
    }
  }
}

TEST(a_bit_flipped_in_the_middle_of_a_log_is_told) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  const auto places = write_small_log(path, {"first", "second", "third"});
  const Bytes whole = read_file(path);
  const std::string expected =
      path + ": the record at byte " + std::to_string(places[1]) + " is damaged, and there are later ones";
  for (std::size_t at = places[1]; at < places[2]; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes bytes = whole;
      bytes[at] ^= std::byte(1 << bit);
      write_file(path, bytes);
      Replayed records;
      CHECK_EQ(message_of<CorruptError>([&] { read_log(path, kIdentity, into(records)); }), expected);
      CHECK(records == small_records({"first"}));
    }
  }
  CHECK_EQ(message_of<CorruptError>([&] { Log(path, kIdentity, ignore()); }), expected);
  // A later record is proof even if it is torn itself: its append had begun.
  std::filesystem::resize_file(path, places[3] - 1);
  const Bytes before = read_file(path);
  CHECK_EQ(message_of<CorruptError>([&] { Log(path, kIdentity, ignore()); }), expected);
  CHECK(read_file(path) == before);
}

TEST(a_bit_flipped_in_the_last_record_of_a_log_cuts_it_off) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  const auto places = write_small_log(path, {"first", "second"});
  const Bytes whole = read_file(path);
  for (std::size_t at = places[1]; at < places[2]; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes bytes = whole;
      bytes[at] ^= std::byte(1 << bit);
      write_file(path, bytes);
      CHECK(replayed(path) == small_records({"first"}), at, bit);
    }
    Replayed records;
    const Log log(path, kIdentity, into(records));
    CHECK(records == small_records({"first"}), at);
    CHECK_EQ(std::filesystem::file_size(path), places[1]);
  }
}

TEST(a_damaged_header_of_a_log_is_told) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  write_small_log(path, {"first"});
  const Bytes whole = read_file(path);
  for (std::size_t at = 0; at < kFirst; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes bytes = whole;
      bytes[at] ^= std::byte(1 << bit);
      write_file(path, bytes);
      CHECK_THROWS(CorruptError, replayed(path));
      CHECK_THROWS(CorruptError, Log(path, kIdentity, ignore()));
      CHECK(read_file(path) == bytes);
    }
  }
  for (std::size_t size = 0; size < kFirst; ++size) {
    write_file(path, Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    CHECK_THROWS(CorruptError, Log(path, kIdentity, ignore()));
    CHECK_EQ(std::filesystem::file_size(path), size);
  }
}

TEST(a_later_record_is_found_wherever_it_lies_in_a_log) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  for (std::uint64_t length = (1 << 20) - 200; length <= (1 << 20) + 8; length += 8) {
    remove_file(path);
    Sections large;
    large.add("data", ElementType::u8, {length});
    {
      Log log(path, kIdentity, ignore());
      log.append("first", large.views());
      log.append("second", {});
    }
    Bytes bytes = read_file(path);
    bytes[kFirst + 5000] ^= std::byte{1};
    write_file(path, bytes);
    CHECK_THROWS(CorruptError, replayed(path));
  }
}

TEST(another_indexs_log_is_refused) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  write_small_log(path, {"first"});
  const Bytes before = read_file(path);
  const std::string expected = path + ": the log belongs to another index";
  CHECK_EQ(message_of<CorruptError>([&] { Log(path, kIdentity + 1, ignore()); }), expected);
  CHECK_EQ(message_of<CorruptError>([&] { read_log(path, kIdentity + 1, ignore()); }), expected);
  CHECK(read_file(path) == before);
}

TEST(what_is_no_log_stays_as_it_is) {
  const TempDir dir;
  const std::string path = dir.file("x");
  write_container(path, "flat", small().views());
  const Bytes before = read_file(path);
  CHECK_EQ(message_of<CorruptError>([&] { Log(path, kIdentity, ignore()); }), path + ": not a log of annlib");
  CHECK(read_file(path) == before);
  CHECK_THROWS(OsError, Log(dir.file("."), kIdentity, ignore()));
  CHECK_THROWS(OsError, Log(dir.file("missing/x"), kIdentity, ignore()));
  CHECK(dir.names() == std::vector<std::string>{"x"});
}

TEST(a_record_of_another_log_or_place_is_none_of_this_log) {
  const TempDir dir;
  const std::string path = dir.file("x.log"), other = dir.file("y.log");
  const auto places = write_small_log(path, {"first", "second"});
  const Bytes ours = read_file(path);
  {
    Log(other, kIdentity + 1, ignore()).append("first", small().views());
  }
  const Bytes theirs = read_file(other);
  Bytes bytes(ours.begin(), ours.begin() + kFirst);
  bytes.insert(bytes.end(), theirs.begin() + kFirst, theirs.end());
  write_file(path, bytes);
  CHECK(replayed(path).empty());
  bytes.assign(ours.begin(), ours.begin() + static_cast<std::ptrdiff_t>(places[1]));
  bytes.insert(bytes.end(), ours.begin() + kFirst, ours.begin() + static_cast<std::ptrdiff_t>(places[1]));
  write_file(path, bytes);
  CHECK(replayed(path) == small_records({"first"}));
}

TEST(a_replay_that_throws_leaves_the_log_as_it_is) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  const auto places = write_small_log(path, {"first", "second"});
  std::filesystem::resize_file(path, places[2] - 1);
  const Bytes before = read_file(path);
  const Replay throwing = [](const std::string&, const auto&) { throw ValueError("no"); };
  CHECK_THROWS(ValueError, Log(path, kIdentity, throwing));
  CHECK(read_file(path) == before);
}

TEST(a_log_is_read_beside_its_writer) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  Log log(path, kIdentity, ignore());
  Replayed expected;
  for (int i = 0; i < 3; ++i) {
    log.append("insert", small().views());
    expected.emplace_back("insert", bytes_of(small()));
    CHECK(replayed(path) == expected);
  }
}

TEST(a_forked_process_cannot_append_to_a_log) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  Log log(path, kIdentity, ignore());
  const Bytes before = read_file(path);
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      log.append("insert", small().views());
    } catch (const OsError& error) {
      ::_exit(error.errno_code == EPERM ? 0 : 1);
    }
    ::_exit(2);
  }
  int status = -1;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  CHECK(read_file(path) == before);
  log.append("insert", small().views());
  CHECK(starts_with(read_file(path), before) && replayed(path).size() == 1);
}
