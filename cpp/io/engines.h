#pragma once

#include <memory>
#include <span>

#include "io/block_file.h"
#include "io/channel.h"

/// The ways in which a channel reads.
namespace annlib::io {

/// Asks the kernel for all at once and waits for none (Ring). Throws OsError where there is no io_uring.
std::unique_ptr<Channel> make_ring_channel(const BlockFile& file, ReadCounters& counters);

/// Has threads of a pool that all files share wait for one read each.
std::unique_ptr<Channel> make_pool_channel(const BlockFile& file, ReadCounters& counters);

/// Copies out of `mapping`, the whole file as it was then, and reads what has been appended since. What the device
/// cannot read ends the process (SIGBUS).
std::unique_ptr<Channel> make_mapped_channel(const BlockFile& file, ReadCounters& counters,
                                             std::span<std::byte> mapping);

}  // namespace annlib::io
