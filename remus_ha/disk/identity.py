"""Names for the storage behind a path: one that is the same on every host, and one for this host.

On every host a file is named by its file system's source and its inode number, a block device by
its serial number or the UUIDs that device-mapper knows it by, a partition by its device's name and
its own number. What has no such name is not recognised: the empty name equals nothing.
"""

import ctypes
import os
import stat
import struct
from pathlib import Path

_NETWORK = ("nfs", "nfs4", "cifs", "ceph", "glusterfs", "fuse.glusterfs", "ocfs2", "gfs2")
_SYS = Path("/sys/dev/block")
_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_INO_AND_BTIME = 0x900
_STATX_OCTETS = 256
_STATX = struct.Struct("32xQ40xqI")  # statx(2): inode; time of birth, 0 where nobody knows it


def identity_of(path: Path) -> str:
    """Empty for storage that cannot be seen from two hosts, or that has no name."""
    try:
        status = path.stat()
    except OSError:
        return ""
    if stat.S_ISBLK(status.st_mode):
        return _device(_SYS / f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
    kind, source = _file_system(path)
    if kind not in _NETWORK:
        return ""
    return f"{kind}:{source}:{status.st_ino}"


def image_at(path: Path) -> str:
    """Which image lies there: writes do not change the name, another image in its place does.

    A file is told by its inode and time of birth. Empty where nothing tells.
    """
    if path.is_block_device():
        return identity_of(path)
    told = ctypes.create_string_buffer(_STATX_OCTETS)
    if _libc.statx(_AT_FDCWD, os.fsencode(path), 0, _INO_AND_BTIME, told):
        return ""
    inode, seconds, nanoseconds = _STATX.unpack_from(told)
    return f"{inode}:{seconds}.{nanoseconds:09}"


def _device(where: Path) -> str:
    """Of a block device by its directory in /sys."""
    number = _said(where / "partition")
    if number:
        whole = _device(where.resolve().parent)
        return f"{whole}:{number}" if whole else ""
    for name in ("dm/uuid", "device/wwid", "wwid", "device/serial", "serial", "uuid"):
        text = _said(where / name)
        if text:
            return f"device:{text}"
    return ""


def _said(file: Path) -> str:
    """Empty where there is no such file."""
    try:
        return file.read_text().strip()
    except OSError:
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
