// Damaged and malicious bytes: nothing but CorruptError and VersionError may come of them.

#include <fcntl.h>
#include <unistd.h>

#include <random>

#include "tests/check.h"
#include "tests/container_fixture.h"

using namespace annlib;
using namespace annlib::storage;
using namespace annlib::storage::testing;

namespace {

enum class Outcome { sound, corrupt, newer, other };

Outcome outcome(Mode mode, const std::string& path, const Bytes& bytes) {
  try {
    contents(*open_as(mode, path, bytes), mode != Mode::unmapped);
    return Outcome::sound;
  } catch (const CorruptError&) {
    return Outcome::corrupt;
  } catch (const VersionError&) {
    return Outcome::newer;
  } catch (...) {
    return Outcome::other;
  }
}

/// A file whose single bytes can be changed cheaply.
class Patient {
 public:
  Patient(const std::string& path, const Bytes& bytes) : path_(path) {
    write_file(path, bytes);
    fd_ = ::open(path.c_str(), O_WRONLY);
  }
  ~Patient() { ::close(fd_); }
  void set(std::size_t offset, std::byte value) { CHECK_EQ(::pwrite(fd_, &value, 1, static_cast<off_t>(offset)), 1); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_;
};

std::string complaint(Bytes bytes) {
  reseal(bytes);
  return message_of<CorruptError>([&] { contents(*Container::from_bytes(bytes), true); });
}

constexpr std::size_t kEntry = 4096;  // of the first section, "vectors"

}  // namespace

TEST(every_flipped_bit_is_detected) {
  const TempDir dir;
  Bytes bytes = container_bytes("flat", small().views());
  Patient file(dir.file("x"), bytes);
  std::size_t missed = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::byte good = bytes[i];
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] = good ^ std::byte(1 << bit);
      file.set(i, bytes[i]);
      for (const Mode mode : kModes) missed += outcome(mode, file.path(), bytes) != Outcome::corrupt;
    }
    bytes[i] = good;
    file.set(i, good);
  }
  CHECK_EQ(missed, 0u);
  for (const Mode mode : kModes) CHECK(outcome(mode, file.path(), bytes) == Outcome::sound);
}

TEST(every_truncation_and_extension_is_detected) {
  const TempDir dir;
  const std::string path = dir.file("x");
  const Bytes bytes = container_bytes("flat", small().views());
  std::size_t missed = 0;
  Bytes changed = bytes;
  changed.resize(bytes.size() + 65);
  write_file(path, changed);
  while (!changed.empty()) {
    changed.pop_back();
    std::filesystem::resize_file(path, changed.size());
    if (changed.size() == bytes.size()) continue;
    for (const Mode mode : kModes) missed += outcome(mode, path, changed) != Outcome::corrupt;
  }
  CHECK_EQ(missed, 0u);
}

TEST(resealed_mutations_do_no_harm) {
  const TempDir dir;
  const std::string path = dir.file("x");
  const Bytes bases[] = {container_bytes("flat", small().views()), container_bytes("hnsw", varied().views())};
  const std::uint64_t nasty[] = {0, 1, 2, 127, 4095, 4096, 4097, 1u << 31, 0xFFFFFFFF, 1ull << 62, 1ull << 63, ~0ull};
  std::mt19937_64 random(7);
  std::size_t counts[4] = {};
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = bases[round % 2];
    for (std::uint64_t n = 1 + random() % 3; n > 0; --n) {
      // Header fields and table entries, now and then anything.
      const std::size_t count = get<std::uint32_t>(bases[round % 2], 36);
      const std::size_t place = random() % 8;
      const std::size_t at = place == 0   ? random() % (bytes.size() - 8)
                             : place <= 2 ? 8 * (random() % 9)
                                          : 4096 + 8 * (random() % (count * 16));
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
          put(bytes, at, get<std::uint64_t>(bytes, 4096 + 8 * (random() % (count * 16))));
      }
    }
    if (random() % 16 == 0) bytes.resize(random() % (2 * bytes.size()));
    reseal(bytes);
    const Outcome result = outcome(Mode::memory, "", bytes);
    ++counts[static_cast<int>(result)];
    if (round % 8 == 0) {
      write_file(path, bytes);
      CHECK(outcome(Mode::mapped, path, bytes) == result);
      CHECK(outcome(Mode::unmapped, path, bytes) == result);
      CHECK_EQ(verify_container(path).empty(), result == Outcome::sound);
    }
  }
  CHECK_EQ(counts[static_cast<int>(Outcome::other)], 0u);
  CHECK(counts[static_cast<int>(Outcome::sound)] > 100);
  CHECK(counts[static_cast<int>(Outcome::newer)] > 10);
  CHECK(counts[static_cast<int>(Outcome::corrupt)] > 1000);
}

TEST(each_rule_has_its_message) {
  const Bytes base = container_bytes("flat", small().views());
  CHECK_EQ(complaint(base), "no exception");
  const auto with = [&](std::size_t at, auto value) {
    Bytes bytes = base;
    put(bytes, at, value);
    return complaint(bytes);
  };
  const std::uint8_t one = 1;
  CHECK(contains(with(4, '\n'), "line ends"));
  CHECK(contains(with(8, std::uint32_t{0x04030201}), "big endian"));
  CHECK(contains(with(12, std::uint32_t{0}), "no format version 0"));
  CHECK(contains(with(16, 'F'), "the kind"));
  CHECK(contains(with(25, 'x'), "the kind"));
  CHECK(contains(with(32, std::uint32_t{8192}), "page size"));
  CHECK(contains(with(36, std::uint32_t{4}), "page size, table position or number"));
  CHECK(contains(with(40, std::uint64_t{8192}), "table position"));
  CHECK(contains(with(56, std::uint64_t{4096}), "bytes, its header says 4096"));
  CHECK(contains(with(68, one), "reserved bytes of the header"));
  CHECK(contains(with(4091, one), "reserved bytes of the header"));
  CHECK(contains(with(4096 + 3 * 128, one), "padding behind the section table"));
  CHECK(contains(with(3 * 4096 + 24, one), "section 'ids': the padding"));
  CHECK(contains(with(4 * 4096 - 1, one), "section 'ids': the padding"));
  CHECK(contains(with(kEntry, 'V'), "section 0: the name"));
  CHECK(contains(with(kEntry + 47, 'x'), "section 0: the name"));
  CHECK(contains(with(kEntry + 48, std::uint8_t{9}), "section 'vectors': element type 9"));
  CHECK(contains(with(kEntry + 49, std::uint8_t{0}), "rank 0"));
  CHECK(contains(with(kEntry + 49, std::uint8_t{5}), "rank 5"));
  CHECK(contains(with(kEntry + 49, one), "an extent beyond its rank"));
  CHECK(contains(with(kEntry + 50, one), "reserved"));
  CHECK(contains(with(kEntry + 127, one), "reserved"));
  CHECK(contains(with(kEntry + 56, std::uint64_t{4096}), "begins at 4096, its place is 8192"));
  CHECK(contains(with(kEntry + 64, std::uint64_t{61}), "length 61 does not fit"));
  CHECK(contains(with(kEntry + 72, std::uint64_t{1} << 63), "does not fit"));
  CHECK(contains(with(kEntry + 128 + 80, ~std::uint64_t{0}), "does not fit"));  // 0 elements of an overflowing shape

  Bytes bytes = base;  // 5000 x 5 floats reach beyond the end of the file
  put(bytes, kEntry + 64, std::uint64_t{100'000});
  put(bytes, kEntry + 72, std::uint64_t{5000});
  CHECK(contains(complaint(bytes), "section 'vectors': reaches beyond"));
  bytes = base;
  std::copy_n(bytes.begin() + kEntry, 48, bytes.begin() + kEntry + 256);
  CHECK(contains(complaint(bytes), "section 'vectors': the name is there twice"));
  bytes = base;
  bytes.resize(bytes.size() + 4096);
  put(bytes, 56, std::uint64_t{bytes.size()});
  CHECK(contains(complaint(bytes), "the last section ends at 16384"));
  bytes.resize(4096 + 100);
  put(bytes, 56, std::uint64_t{bytes.size()});
  CHECK(contains(complaint(bytes), "table reaches beyond"));
}

TEST(a_newer_version_is_told_from_a_damaged_one) {
  Bytes bytes = container_bytes("flat", small().views());
  put(bytes, 12, std::uint32_t{2});
  CHECK(contains(message_of<CorruptError>([&] { Container::from_bytes(bytes); }), "checksum"));
  std::fill_n(bytes.begin() + 64, 100, std::byte{0x55});  // whatever else that version holds
  put(bytes, 4092, simd::kernels().crc32c(0, bytes.data(), 4092));
  const std::string message = message_of<VersionError>([&] { Container::from_bytes(bytes); });
  CHECK_EQ(message, "index in memory: format version 2 is newer than this build reads (1)");
}

TEST(verify_lists_every_damage) {
  const TempDir dir;
  const std::string path = dir.file("x");
  Bytes bytes = container_bytes("flat", small().views());
  for (const std::size_t at : {100, 4096 + 1000, 2 * 4096, 2 * 4096 + 60, 3 * 4096 + 1}) bytes[at] ^= std::byte{4};
  write_file(path, bytes);
  CHECK(verify_container(path) == (std::vector<std::string>{
                                      "the header's checksum is wrong",
                                      "reserved bytes of the header are not zero",
                                      "the padding behind the section table is not zero",
                                      "section 'vectors': its checksum is wrong",
                                      "section 'vectors': the padding behind it is not zero",
                                      "section 'ids': its checksum is wrong",
                                  }));
}
