"""What the system tells of reading: bytes by process, reads by device; and how it forgets files. Linux, mostly."""

from __future__ import annotations

import os
from pathlib import Path


def read_bytes() -> int | None:
    """Bytes that this process has had read from devices so far (see proc(5), io); None where that is not told."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


def device_reads(folder: Path) -> int | None:
    """Reads that the device under `folder` has done so far, for whomever; None where it is not one block device."""
    device = os.stat(folder).st_dev
    try:
        fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    except OSError:
        return None
    return int(fields[0])


def drop_page_cache(folder: Path) -> None:
    """Have the system forget what it keeps of the files under `folder`; what is mapped somewhere, it keeps."""
    if not hasattr(os, "posix_fadvise"):
        return
    for where, _, names in os.walk(folder):
        for name in names:
            handle = os.open(os.path.join(where, name), os.O_RDONLY)
            try:
                os.fsync(handle)  # What is not written yet cannot be forgotten.
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)
