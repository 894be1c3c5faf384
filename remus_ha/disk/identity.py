"""A name for the storage behind a path, the same wherever that very storage is seen.

A file is named by its file system's source and its inode number, a block device by its serial
number or the UUIDs that device-mapper knows it by. What has no such name is not recognised: the
empty name equals nothing.
"""

import os
import stat
from pathlib import Path

_NETWORK = ("nfs", "nfs4", "cifs", "ceph", "glusterfs", "fuse.glusterfs", "ocfs2", "gfs2")


def identity_of(path: Path) -> str:
    """Empty for storage that cannot be seen from two hosts, or that has no name."""
    try:
        status = path.stat()
    except OSError:
        return ""
    if stat.S_ISBLK(status.st_mode):
        return _device(status.st_rdev)
    kind, source = _file_system(path)
    if kind not in _NETWORK:
        return ""
    return f"{kind}:{source}:{status.st_ino}"


def _device(number: int) -> str:
    where = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    for name in ("dm/uuid", "device/wwid", "wwid", "device/serial", "serial", "uuid"):
        try:
            text = (where / name).read_text().strip()
        except OSError:
            continue
        if text:
            return f"device:{text}"
    return ""


def _file_system(path: Path) -> tuple[str, str]:
    """Type and source of the file system that holds ``path`` (proc_pid_mountinfo(5))."""
    number = os.stat(path).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    found = ("", "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            kind, source, *_ = after.split()
            found = (kind, source)
    return found
