// Malicious logs, with right checksums: nothing but CorruptError and VersionError may come of them.

#include <random>

#include "tests/check.h"
#include "tests/container_fixture.h"
#include "tests/log_fixture.h"

using namespace annlib;
using namespace annlib::storage;
using namespace annlib::storage::testing;

namespace {

std::uint32_t crc_of(const Bytes& bytes, std::size_t offset, std::size_t n) {
  return simd::kernels().crc32c(0, bytes.data() + offset, n);
}

constexpr std::size_t padded(std::size_t n) { return (n + 7) / 8 * 8; }

/// Makes every checksum right again that can be found.
void reseal_log(Bytes& bytes) {
  if (bytes.size() < kFirst) return;
  put(bytes, 28, crc_of(bytes, 0, 28));
  std::size_t at = kFirst;
  while (bytes.size() - at >= kRecordHeader) {
    const std::size_t rest = bytes.size() - at;
    const auto count = get<std::uint32_t>(bytes, at + 4);
    const auto length = get<std::uint64_t>(bytes, at + 40);
    const std::uint64_t table = get<std::uint32_t>(bytes, at + 48);
    if (table <= rest - kRecordHeader) {
      std::size_t entry = at + kRecordHeader, content = entry + table;
      const std::size_t end = content;
      for (std::uint32_t i = 0; i < count && entry + 8 <= end; ++i) {
        const auto type = get<std::uint8_t>(bytes, entry + 4), rank = get<std::uint8_t>(bytes, entry + 5);
        const auto name = get<std::uint8_t>(bytes, entry + 6);
        if (type > 8 || rank > 4 || entry + 8 + rank * 8u > end) break;
        std::uint64_t size = element_size(static_cast<ElementType>(type));
        for (std::size_t r = 0; r < rank; ++r) size *= get<std::uint64_t>(bytes, entry + 8 + r * 8);
        if (content > bytes.size() || size > bytes.size() - content) break;
        put(bytes, entry, crc_of(bytes, content, size));
        entry += 8 + rank * 8u + padded(name);
        content += padded(size);
      }
      put(bytes, at + 52, crc_of(bytes, at + kRecordHeader, table));
    }
    put(bytes, at + 60, crc_of(bytes, at, 60));
    if (length < kRecordHeader || length > rest) return;
    at += length;
  }
}

enum class Outcome { all, fewer, corrupt, newer, other };

Outcome outcome(const std::string& path, std::size_t records) {
  try {
    return replayed(path).size() == records ? Outcome::all : Outcome::fewer;
  } catch (const CorruptError&) {
    return Outcome::corrupt;
  } catch (const VersionError&) {
    return Outcome::newer;
  } catch (...) {
    return Outcome::other;
  }
}

/// A log of one record, small(): its table has 3 entries, of 32, 32 and 24 bytes.
Bytes one_record(const std::string& path) {
  write_small_log(path, {"first"});
  return read_file(path);
}

constexpr std::size_t kTable = kFirst + kRecordHeader;

}  // namespace

TEST(resealed_mutations_of_a_log_do_no_harm) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  {
    Log log(path, kIdentity, ignore());
    for (const Sections& sections : {small(), varied(), Sections(), small()}) log.append("insert", sections.views());
  }
  const Bytes base = read_file(path);
  std::vector<std::size_t> places;
  for (std::size_t at = kFirst; at < base.size(); at += get<std::uint64_t>(base, at + 40)) places.push_back(at);
  CHECK_EQ(places.size(), 4u);
  const std::uint64_t nasty[] = {0, 1, 2, 8, 63, 64, 65, 255, 1u << 31, 0xFFFFFFFF, 1ull << 62, 1ull << 63, ~0ull};
  std::mt19937_64 random(11);
  std::size_t counts[5] = {};
  for (int round = 0; round < 4'000; ++round) {
    Bytes bytes = base;
    for (std::uint64_t n = 1 + random() % 3; n > 0; --n) {
      // The header of the log, headers and tables of records, now and then anything.
      const std::size_t record = places[random() % places.size()];
      const std::size_t table = get<std::uint32_t>(base, record + 48);
      const std::size_t place = random() % 8;
      const std::size_t at = place == 0   ? 8 * (random() % 4)
                             : place == 1 ? random() % (bytes.size() - 8)
                             : place <= 4 ? record + 8 * (random() % 8)
                                          : record + 8 * (random() % (8 + table / 8));
      switch (random() % 4) {
        case 0:
          put(bytes, at, nasty[random() % std::size(nasty)]);
          break;
        case 1:
          put(bytes, at, get<std::uint64_t>(bytes, at) + random() % 17 - 8);
          break;
        case 2:
          put(bytes, at + random() % 8, static_cast<std::uint8_t>(random()));
          break;
        default:
          put(bytes, at, get<std::uint64_t>(bytes, record + 8 * (random() % 8)));
      }
    }
    if (random() % 16 == 0) bytes.resize(random() % (2 * bytes.size()));
    reseal_log(bytes);
    write_file(path, bytes);
    ++counts[static_cast<int>(outcome(path, places.size()))];
  }
  CHECK_EQ(counts[static_cast<int>(Outcome::other)], 0u);
  CHECK(counts[static_cast<int>(Outcome::all)] > 100);
  CHECK(counts[static_cast<int>(Outcome::fewer)] > 100);
  CHECK(counts[static_cast<int>(Outcome::newer)] > 10);
  CHECK(counts[static_cast<int>(Outcome::corrupt)] > 1000);
}

TEST(each_rule_of_a_log_has_its_message) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  const Bytes base = one_record(path);
  const auto complaint = [&](Bytes bytes) {
    reseal_log(bytes);
    write_file(path, bytes);
    return message_of<CorruptError>([&] { CHECK_EQ(replayed(path).size(), 1u); });
  };
  CHECK_EQ(complaint(base), "no exception");
  const auto with = [&](std::size_t at, auto value) {
    Bytes bytes = base;
    put(bytes, at, value);
    return complaint(bytes);
  };
  const auto of_record = [&](const std::string& what) { return path + ": record at byte 32: " + what; };
  const std::uint8_t one = 1;
  CHECK_EQ(with(1, 'a'), path + ": not a log of annlib");
  CHECK(contains(with(8, std::uint32_t{0x04030201}), "version, byte order or reserved"));
  CHECK(contains(with(12, std::uint32_t{0}), "version, byte order or reserved"));
  CHECK(contains(with(24, one), "version, byte order or reserved"));
  CHECK(contains(with(16, one), "belongs to another index"));

  const std::string impossible = of_record("its lengths, number of sections or reserved bytes are impossible");
  CHECK_EQ(with(kFirst + 4, std::uint32_t{4097}), impossible);
  CHECK_EQ(with(kFirst + 56, one), impossible);
  CHECK_EQ(with(kFirst + 40, std::uint64_t{0}), impossible);
  CHECK_EQ(with(kFirst + 40, std::uint64_t{56}), impossible);
  CHECK_EQ(with(kFirst + 40, std::uint64_t{65}), impossible);
  CHECK_EQ(with(kFirst + 48, std::uint32_t{1}), impossible);
  CHECK_EQ(with(kFirst + 48, ~std::uint32_t{7}), impossible);
  CHECK_EQ(with(kFirst + 8, 'F'), of_record("the kind is not 1 to 15 of a-z 0-9 . _ -"));

  CHECK_EQ(with(kFirst + 4, std::uint32_t{4}), of_record("the table ends before section 3"));
  CHECK_EQ(with(kFirst + 4, std::uint32_t{2}), of_record("the table is longer than its sections"));
  CHECK_EQ(with(kTable + 4, std::uint8_t{9}), of_record("section 0: element type 9"));
  CHECK_EQ(with(kTable + 5, std::uint8_t{0}), of_record("section 0: rank 0"));
  CHECK_EQ(with(kTable + 5, std::uint8_t{5}), of_record("section 0: rank 5"));
  CHECK_EQ(with(kTable + 6, std::uint8_t{48}), of_record("section 0: the name has 48 bytes"));
  CHECK_EQ(with(kTable + 6, std::uint8_t{6}), of_record("section 0: the name is not 1 to 47 of a-z 0-9 . _ -"));
  CHECK_EQ(with(kTable + 6, std::uint8_t{0}), of_record("section 0: the name is not 1 to 47 of a-z 0-9 . _ -"));
  CHECK_EQ(with(kTable + 24, 'V'), of_record("section 0: the name is not 1 to 47 of a-z 0-9 . _ -"));
  CHECK_EQ(with(kTable + 31, 'x'), of_record("section 0: the name is not 1 to 47 of a-z 0-9 . _ -"));
  CHECK_EQ(with(kTable + 7, one), of_record("section 0: the reserved byte is not zero"));
  CHECK_EQ(with(kTable + 64 + 6, std::uint8_t{9}), of_record("the table ends inside section 2"));
  CHECK_EQ(with(kTable + 8, std::uint64_t{1} << 62), of_record("section 0: its shape is larger than a file can be"));
  CHECK_EQ(with(kTable + 32 + 16, ~std::uint64_t{0}),  // 0 elements of an overflowing shape
           of_record("section 1: its shape is larger than a file can be"));
  CHECK_EQ(with(kTable + 8, std::uint64_t{1} << 50), of_record("section 'vectors': reaches beyond the record's end"));
  CHECK(contains(with(kTable + 64 + 8, std::uint64_t{2}), "the last section ends at"));
}

TEST(a_logs_newer_version_is_told_from_a_damaged_one) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  Bytes bytes = one_record(path);
  put(bytes, 12, std::uint32_t{2});
  write_file(path, bytes);
  CHECK_EQ(message_of<CorruptError>([&] { replayed(path); }), path + ": the header's checksum is wrong");
  reseal_log(bytes);
  write_file(path, bytes);
  CHECK_EQ(message_of<VersionError>([&] { replayed(path); }),
           path + ": log version 2 is newer than this build reads (1)");
}

TEST(padding_in_a_log_is_zero) {
  const TempDir dir;
  const std::string path = dir.file("x.log");
  Bytes bytes = one_record(path);
  std::size_t end = 0;
  read_log(path, kIdentity, [&](const std::string&, const std::shared_ptr<const Container>& record) {
    end = record->sections()[0].offset + record->sections()[0].length;
  });
  CHECK_EQ(end, kTable + 88 + 60);
  CHECK_EQ(get<std::uint32_t>(bytes, end), 0u);
  put(bytes, end, std::uint8_t{1});
  write_file(path, bytes);
  CHECK(replayed(path).empty());
}
