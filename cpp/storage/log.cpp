#include "storage/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "storage/directory.h"
#include "storage/record.h"

namespace annlib::storage {
namespace {

/// Pieces below this are gathered before they are written.
constexpr std::size_t kGatherBytes = std::size_t{64} << 10;

std::optional<File> open_if_there(const std::string& path, int flags) {
  try {
    return File::open_regular(path, flags);
  } catch (const OsError& error) {
    if (error.errno_code != ENOENT) throw;
    return std::nullopt;
  }
}

File open_or_create(const std::string& path, std::uint64_t identity) {
  if (auto file = open_if_there(path, O_RDWR)) return *std::move(file);
  // By renaming, so that whatever happens there is no log with half a header.
  Replacement fresh(path);
  const LogHeader header = log_header(identity);
  fresh.file().write_at(0, std::as_bytes(std::span(&header, 1)));
  fresh.publish();
  return File::open_regular(path, O_RDWR);
}

/// Where the last whole record ends.
std::uint64_t replay_records(const LogFile& log, const Replay& replay) {
  check_log_header(log);
  std::uint64_t offset = sizeof(LogHeader);
  while (offset < log.size) {
    const auto record = read_record(log, offset);
    if (record == nullptr) {
      // An append begins when the one before it is durable: what has a header behind it was no crash's to tear.
      if (header_behind(log, offset)) {
        throw CorruptError(log.file.name() + ": the record at byte " + std::to_string(offset) +
                           " is damaged, and there are later ones");
      }
      break;
    }
    replay(record->kind(), record);
    offset += record->file_bytes();
  }
  return offset;
}

/// Writes to consecutive places of a file: large pieces from where they are, small ones together.
class Gatherer {
 public:
  Gatherer(File& file, std::uint64_t offset) : file_(file), offset_(offset) {}

  void put(std::span<const std::byte> bytes) {
    if (gathered_.size() + bytes.size() > kGatherBytes) flush();
    if (bytes.size() > kGatherBytes) {
      file_.write_at(offset_, bytes);
      offset_ += bytes.size();
    } else {
      gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
    }
  }
  void flush() {
    file_.write_at(offset_, gathered_);
    offset_ += gathered_.size();
    gathered_.clear();
  }

 private:
  File& file_;
  std::uint64_t offset_;
  std::vector<std::byte> gathered_;
};

}  // namespace

Log::Log(const std::string& path, std::uint64_t identity, const Replay& replay)
    : file_(open_or_create(path, identity)), identity_(identity), process_(::getpid()) {
  const auto size = static_cast<std::uint64_t>(file_.status().st_size);
  bytes_ = replay_records({file_, size, identity}, replay);
  if (bytes_ < size) file_.resize(bytes_);
  // A writer that was killed may have left a whole record, or the log itself, that no sync had reached.
  file_.sync();
  sync_directory(parent_directory(path));
}

void Log::append(std::string_view kind, std::span<const SectionView> sections) {
  check_usable();
  const RecordHead head = record_head(kind, sections, identity_, bytes_);
  try {
    write(head.bytes, sections);
    file_.sync_data();
  } catch (...) {
    cut_back();
    if (broken_ != 0) check_usable();
    throw;
  }
  bytes_ += head.length;
}

void Log::write(std::span<const std::byte> head, std::span<const SectionView> sections) {
  constexpr std::byte kZeros[kRecordAlignment] = {};
  Gatherer out(file_, bytes_);
  out.put(head);
  for (const SectionView& section : sections) {
    out.put(section.bytes);
    out.put(std::span(kZeros).first(record_padded(section.bytes.size()) - section.bytes.size()));
  }
  out.flush();
}

void Log::cut_back() noexcept {
  try {
    file_.resize(bytes_);
    file_.sync();  // a failed sync may have written the record all the same: it must not come back
  } catch (const OsError& error) {
    broken_ = error.errno_code;
  }
}

void Log::check_usable() const {
  if (broken_ != 0) {
    throw OsError(broken_, file_.name(),
                  "cannot write '" + file_.name() + "': an earlier write failed and could not be undone (" +
                      std::generic_category().message(broken_) + "); open it anew");
  }
  if (::getpid() != process_) {
    throw OsError(EPERM, file_.name(),
                  "cannot write '" + file_.name() + "': it was opened by process " + std::to_string(process_) +
                      ", from which this one was forked");
  }
}

void read_log(const std::string& path, std::uint64_t identity, const Replay& replay) {
  const auto file = open_if_there(path, O_RDONLY);
  if (file) replay_records({*file, static_cast<std::uint64_t>(file->status().st_size), identity}, replay);
}

}  // namespace annlib::storage
