#include "storage/container.h"

#include <sys/stat.h>

#include <stdexcept>
#include <thread>

#include "tests/check.h"
#include "tests/container_fixture.h"

using namespace annlib;
using namespace annlib::storage;
using namespace annlib::storage::testing;

TEST(round_trip_of_every_type_and_rank) {
  const TempDir dir;
  const Sections sections = varied();
  const Bytes bytes = container_bytes("hnsw", sections.views());
  write_container(dir.file("x"), "hnsw", sections.views());
  CHECK(read_file(dir.file("x")) == bytes);
  CHECK(dir.names() == std::vector<std::string>{"x"});
  for (const Mode mode : kModes) {
    const auto container = open_as(mode, dir.file("x"), bytes);
    CHECK_EQ(container->kind(), "hnsw");
    CHECK_EQ(container->version(), 1u);
    CHECK_EQ(container->file_bytes(), bytes.size());
    CHECK_EQ(container->mapped(), mode == Mode::mapped);
    CHECK_EQ(container->path(), mode == Mode::memory ? "" : dir.file("x"));
    CHECK_EQ(container->sections().size(), sections.views().size());
    CHECK(container->find("missing") == nullptr);
    for (const SectionView& written : sections.views()) {
      const SectionInfo& info = container->require(written.name, written.type, written.shape.size());
      CHECK(info.shape == written.shape);
      Bytes copy(info.length);
      container->read(info, copy);
      CHECK(std::ranges::equal(copy, written.bytes));
      const Buffer own = container->map(info, true);
      CHECK_EQ(own.size(), info.length);
      CHECK_EQ(own.mapped_bytes(), mode == Mode::memory ? 0 : info.length);
      CHECK(std::equal(own.data(), own.data() + own.size(), written.bytes.begin()));
      if (mode == Mode::unmapped) continue;
      const auto view = container->view(info);
      CHECK(std::ranges::equal(view, written.bytes));
      CHECK_EQ(reinterpret_cast<std::uintptr_t>(view.data()) % (mode == Mode::mapped ? 4096 : 64), 0u);
    }
  }
  CHECK(verify_container(dir.file("x")).empty());
}

TEST(sections_larger_than_a_chunk) {
  const TempDir dir;
  Sections sections;
  sections.add("big", ElementType::u8, {3 * 1024 * 1024 + 5});
  sections.add("even", ElementType::u32, {512, 512});
  write_container(dir.file("x"), "flat", sections.views());
  const Bytes bytes = read_file(dir.file("x"));
  CHECK(bytes == container_bytes("flat", sections.views()));
  Bytes expected;
  for (const auto& s : sections.views()) expected.insert(expected.end(), s.bytes.begin(), s.bytes.end());
  for (const Mode mode : kModes) CHECK(contents(*open_as(mode, dir.file("x"), bytes), false) == expected);
  CHECK(verify_container(dir.file("x")).empty());
}

TEST(the_format_is_what_it_was) {
  const Bytes bytes = container_bytes("flat", small().views());
  CHECK(bytes == container_bytes("flat", small().views()));
  CHECK_EQ(bytes.size(), 4u * 4096);
  CHECK_EQ(get<std::uint64_t>(bytes, 0), 0x0A1A0A0D4E4E4189u);
  CHECK_EQ(get<std::uint64_t>(bytes, 8), 0x0000000101020304u);
  CHECK_EQ(std::string(reinterpret_cast<const char*>(&bytes[16])), "flat");
  const std::size_t ids = 4096 + 2 * 128;
  CHECK_EQ(std::string(reinterpret_cast<const char*>(&bytes[ids])), "ids");
  CHECK_EQ(get<std::uint16_t>(bytes, ids + 48), 0x0104u);
  CHECK_EQ(get<std::uint64_t>(bytes, ids + 56), 3u * 4096);
  CHECK_EQ(get<std::uint64_t>(bytes, ids + 64), 24u);
  CHECK_EQ(get<std::uint64_t>(bytes, ids + 72), 3u);
  // The last word of the header binds all the others. It may change only together with the format version.
  CHECK_EQ(get<std::uint32_t>(bytes, 4092), 3814893155u);
  Bytes resealed = bytes;
  reseal(resealed);
  CHECK(resealed == bytes);
}

TEST(what_the_format_cannot_hold_is_a_value_error) {
  const Bytes four(4);
  const auto attempt = [&](std::string_view kind, std::vector<SectionView> sections) {
    return message_of<ValueError>([&] { container_bytes(kind, sections); });
  };
  const SectionView good{"a", ElementType::u8, {4}, four};
  CHECK_EQ(attempt("flat", {good}), "no exception");
  CHECK_EQ(attempt("flat", {}), "no exception");
  CHECK_EQ(attempt(std::string(15, 'k'), {}), "no exception");
  CHECK(contains(attempt("", {}), "kind ''"));
  CHECK(contains(attempt(std::string(16, 'k'), {}), "kind"));
  CHECK(contains(attempt("Flat", {}), "kind 'Flat'"));
  CHECK(contains(attempt(std::string("a\0", 2), {}), "kind 'a?' is not 1 to 15 of"));
  CHECK(contains(attempt("flat", {good, good}), "twice"));
  for (const std::string& name : {std::string(), std::string(48, 'a'), std::string("A"), std::string("a\0", 2)}) {
    CHECK(contains(attempt("flat", {{name, ElementType::u8, {4}, four}}), "the name is not"), name);
  }
  CHECK(contains(attempt("flat", {{"a", ElementType::u8, {}, four}}), "rank 0"));
  CHECK(contains(attempt("flat", {{"a", ElementType::u8, {1, 1, 1, 2, 2}, four}}), "rank 5"));
  CHECK(contains(attempt("flat", {{"a", ElementType::f32, {4}, four}}), "has 4 bytes, its shape needs 16"));
  const std::uint64_t huge = std::uint64_t{1} << 62;
  CHECK(contains(attempt("flat", {{"a", ElementType::u8, {huge, 4}, {}}}), "more than a file can hold"));
  CHECK(contains(attempt("flat", {{"a", ElementType::u8, {huge, 0, 4}, {}}}), "more than a file can hold"));
  CHECK(contains(attempt("flat", {{"a", static_cast<ElementType>(9), {4}, four}}), "element type 9"));

  Sections many;
  for (int i = 0; i < 4096; ++i) many.add(std::to_string(i), ElementType::u8, {0});
  CHECK_EQ(Container::from_bytes(container_bytes("flat", many.views()))->sections().size(), 4096u);
  many.add("one-more", ElementType::u8, {0});
  CHECK_THROWS(ValueError, container_bytes("flat", many.views()));
}

TEST(require_says_what_it_found) {
  const auto container = Container::from_bytes(container_bytes("flat", small().views()));
  const auto attempt = [&](const char* name, ElementType type, std::size_t rank) {
    return message_of<CorruptError>([&] { container->require(name, type, rank); });
  };
  CHECK_EQ(attempt("ids", ElementType::i64, 1), "no exception");
  CHECK_EQ(attempt("id", ElementType::i64, 1), "index in memory: section 'id' is missing");
  CHECK_EQ(attempt("ids", ElementType::u64, 1), "index in memory: section 'ids' has type i64, expected u64");
  CHECK_EQ(attempt("ids", ElementType::i64, 2), "index in memory: section 'ids' has rank 1, expected 2");
}

TEST(progress_rises_to_the_total_and_may_abort) {
  const TempDir dir;
  write_container(dir.file("x"), "flat", small().views());
  const Bytes old = read_file(dir.file("x"));
  Sections sections;
  sections.add("big", ElementType::u8, {5 * 1024 * 1024});
  std::vector<std::uint64_t> seen;
  std::uint64_t total = 0;
  write_container(dir.file("y"), "flat", sections.views(), [&](std::uint64_t done, std::uint64_t of) {
    seen.push_back(done);
    total = of;
  });
  CHECK(std::ranges::is_sorted(seen));
  CHECK_EQ(seen.front(), 0u);
  CHECK_EQ(seen.back(), total);
  CHECK_EQ(total, std::filesystem::file_size(dir.file("y")));
  CHECK(seen.size() > 5);
  const auto stop = [](std::uint64_t done, std::uint64_t) {
    if (done > 2'000'000) throw std::runtime_error("stop");
  };
  CHECK_THROWS(std::runtime_error, write_container(dir.file("x"), "flat", sections.views(), stop));
  CHECK(read_file(dir.file("x")) == old);
  CHECK(dir.names() == (std::vector<std::string>{"x", "y"}));
}

TEST(writes_to_a_view_stay_private) {
  const TempDir dir;
  const std::string path = dir.file("x");
  write_container(path, "flat", small().views());
  const Bytes bytes = read_file(path);
  const auto container = Container::open(path, true);
  const SectionInfo& ids = *container->find("ids");
  container->view(ids)[0] ^= std::byte{1};
  CHECK(container->view(ids)[0] != bytes[ids.offset]);  // seen, and not taken for damage
  Bytes copy(ids.length);
  container->read(ids, copy);
  CHECK(copy[0] == bytes[ids.offset]);
  CHECK(read_file(path) == bytes);
  CHECK(contents(*Container::open(path, true), true) == contents(*Container::open(path, false), false));
}

TEST(an_open_container_outlives_its_replacement) {
  const TempDir dir;
  const std::string path = dir.file("x");
  write_container(path, "flat", small().views());
  const auto mapped = Container::open(path, true), unmapped = Container::open(path, false);
  write_container(path, "hnsw", varied().views());
  CHECK(contents(*mapped, true) == contents(*unmapped, false));
  CHECK(Container::open(path, true)->kind() == "hnsw");
}

TEST(view_checks_once_and_only_if_asked) {
  const TempDir dir;
  const std::string path = dir.file("x");
  Bytes bytes = container_bytes("flat", small().views());
  bytes[3 * 4096] ^= std::byte{1};
  write_file(path, bytes);
  const auto strict = Container::open(path, true), lax = Container::open(path, true, false);
  const SectionInfo& ids = *strict->find("ids");
  for (int i = 0; i < 2; ++i) {
    const std::string message = message_of<CorruptError>([&] { strict->view(ids); });
    CHECK_EQ(message, path + ": section 'ids': its checksum is wrong");
  }
  CHECK_EQ(strict->view(*strict->find("vectors")).size(), 60u);
  CHECK_EQ(lax->view(ids).size(), 24u);
  CHECK_THROWS(CorruptError, strict->map(ids, true));
  CHECK_EQ(strict->map(ids, false).size(), 24u);
  Bytes copy(ids.length);
  CHECK_THROWS(CorruptError, lax->read(ids, copy));
}

TEST(misuse_is_a_logic_error) {
  const TempDir dir;
  write_container(dir.file("x"), "flat", small().views());
  const auto container = Container::open(dir.file("x"), false);
  const SectionInfo& ids = *container->find("ids");
  CHECK_THROWS(std::logic_error, container->view(ids));
  Bytes copy(ids.length + 1);
  CHECK_THROWS(std::logic_error, container->read(ids, copy));
  SectionInfo foreign = ids;
  foreign.length = copy.size();
  CHECK_THROWS(std::logic_error, container->read(foreign, copy));
  CHECK_THROWS(std::logic_error, container->map(foreign, false));
}

TEST(threads_may_view_and_read_at_once) {
  const TempDir dir;
  Sections sections;
  for (const char* name : {"a", "b", "c", "d"}) sections.add(name, ElementType::u32, {300'000});
  write_container(dir.file("x"), "flat", sections.views());
  const auto container = Container::open(dir.file("x"), true);
  std::vector<std::thread> threads;
  std::vector<int> wrong(8);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 4; ++i) {
        const SectionInfo& section = container->sections()[(i + t) % 4];
        const auto view = container->view(section);
        view[t] = std::byte{0};  // while others may still be waiting to see it checked
        Bytes copy(section.length);
        container->read(section, copy);
        wrong[t] += !std::ranges::equal(copy, sections.views()[(i + t) % 4].bytes);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const int w : wrong) CHECK_EQ(w, 0);
}

TEST(paths_that_are_no_container) {
  const TempDir dir;
  const auto attempt = [&]<class Error>(const std::string& name, Error*) {
    return message_of<Error>([&] { Container::open(dir.file(name), true); });
  };
  OsError* os = nullptr;
  CorruptError* corrupt = nullptr;
  CHECK(contains(attempt("missing", os), "No such file"));
  std::filesystem::create_directory(dir.file("dir"));
  CHECK(contains(attempt("dir", os), "it is a directory"));
  CHECK_EQ(::mkfifo(dir.file("fifo").c_str(), 0600), 0);
  CHECK(contains(attempt("fifo", os), "not a regular file"));
  write_file(dir.file("empty"), {});
  CHECK_EQ(attempt("empty", corrupt), dir.file("empty") + ": not an annlib index: it is empty");
  write_file(dir.file("other"), Bytes(10'000));
  CHECK_EQ(attempt("other", corrupt), dir.file("other") + ": not an annlib index");
  CHECK_THROWS(ValueError, Container::open(std::string("a\0b", 3), true));
  CHECK_THROWS(OsError, verify_container(dir.file("missing")));
  CHECK_EQ(verify_container(dir.file("empty")).size(), 1u);
  for (const char* name : {"dir", "fifo", "missing/x", "missing/"}) {
    CHECK_THROWS(OsError, write_container(dir.file(name), "flat", small().views()));
  }
  CHECK_THROWS(OsError, write_container("", "flat", small().views()));
  CHECK_THROWS(ValueError, write_container(std::string("a\0b", 3), "flat", small().views()));
  CHECK(dir.names() == (std::vector<std::string>{"dir", "empty", "fifo", "other"}));
}

TEST(links_and_permissions_are_kept) {
  const TempDir dir;
  const auto mode = [](const std::string& path) {
    struct stat out{};
    return ::stat(path.c_str(), &out) == 0 ? out.st_mode & 07777 : 0;
  };
  const mode_t umask = ::umask(027);
  write_container(dir.file("x"), "flat", small().views());
  CHECK_EQ(mode(dir.file("x")), 0640u);
  for (const mode_t kept : {0600u, 0444u, 0666u}) {
    CHECK_EQ(::chmod(dir.file("x").c_str(), kept), 0);
    write_container(dir.file("x"), "flat", small().views());
    CHECK_EQ(mode(dir.file("x")), kept);
  }
  ::umask(umask);

  std::filesystem::create_directory(dir.file("data"));
  std::filesystem::create_symlink("data/real", dir.file("link"));
  std::filesystem::create_symlink(dir.file("link"), dir.file("link2"));
  for (const char* kind : {"flat", "hnsw"}) {  // first the link dangles, then it does not
    write_container(dir.file("link2"), kind, small().views());
    CHECK(std::filesystem::is_symlink(dir.file("link2")) && std::filesystem::is_symlink(dir.file("link")));
    CHECK(Container::open(dir.file("data/real"), true)->kind() == kind);
  }
  std::filesystem::create_symlink("loop", dir.file("loop"));
  CHECK_THROWS(OsError, write_container(dir.file("loop"), "flat", small().views()));
  CHECK(dir.names() == (std::vector<std::string>{"data", "link", "link2", "loop", "x"}));
}

TEST(a_bare_name_is_written_to_the_current_directory) {
  const TempDir dir;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.file(""));
  write_container("bare", "flat", small().views());
  std::filesystem::current_path(before);
  CHECK(dir.names() == std::vector<std::string>{"bare"});
}
