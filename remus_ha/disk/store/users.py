"""Who uses a file or a block device on this host, as far as dom0 can see."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

_LOOPS = Path("/sys/block")
_BACKENDS = Path("/sys/bus/xen-backend/devices")
_PROC = Path("/proc")
_PF_EXITING = 4  # of the kernel's task flags


def user_of(path: Path) -> str:
    """A process that has it open, a loop device on top of it, a domain that is given the device.

    Empty: nobody but this process.
    """
    wanted = path.stat()
    return _process_of(wanted) or _loop_of(wanted) or _domain_of(wanted)


def stays(path: Path) -> bool:
    """Whether somebody is seen who has it and is not just ending."""
    wanted = path.stat()
    if _loop_of(wanted) or _domain_of(wanted):
        return True
    return not all(_is_ending(process) for process in _holders(wanted))


def _process_of(wanted: os.stat_result) -> str:
    for process in _holders(wanted):
        return f"process {process.name}, {_name(process)}"
    return ""


def _holders(wanted: os.stat_result) -> Iterator[Path]:
    for process in _PROC.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                holds = any(_same(fd, wanted) for fd in _files(process))
            except OSError:
                continue  # it has ended, or is a process of the kernel
            if holds:
                yield process


def _files(process: Path) -> list[Path]:
    """What it has open. The first thread of one that is killed may be gone before the others."""
    return list((process / "fd").iterdir()) or list(process.glob("task/*/fd/*"))


def _same(found_at: Path, wanted: os.stat_result) -> bool:
    try:
        found = found_at.stat()
    except OSError:
        return False
    if stat.S_ISBLK(wanted.st_mode):  # a character device may have the same number
        return stat.S_ISBLK(found.st_mode) and found.st_rdev == wanted.st_rdev
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "ended meanwhile"


def _is_ending(process: Path) -> bool:
    """Whether it was killed, or dies with its parent, as a store's qemu-nbd does.

    It has its files until what it is writing is written.
    """
    try:
        return _is_killed(_PROC / _status(process)[1]) or _is_killed(process)
    except OSError:
        return True  # one of them has ended meanwhile


def _is_killed(process: Path) -> bool:
    """Raises OSError."""
    fields = _status(process)
    pending = int(fields[28])
    return bool(int(fields[6]) & _PF_EXITING or pending >> (signal.SIGKILL - 1) & 1)


def _status(process: Path) -> list[str]:
    """The fields of proc_pid_stat(5), from the third on: state, parent, ... Raises OSError."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def _loop_of(wanted: os.stat_result) -> str:
    for backing in _LOOPS.glob("loop*/loop/backing_file"):
        try:
            found = Path(backing.read_text().strip())
        except OSError:
            continue
        if _same(found, wanted):
            return f"/dev/{backing.parts[3]}"
    return ""


def _domain_of(wanted: os.stat_result) -> str:
    """A guest's disk that the kernel serves (``phy:``): no process has it, and O_EXCL succeeds."""
    for device in _BACKENDS.glob("vbd-*/physical_device"):
        try:
            major, minor = (int(number, 16) for number in device.read_text().split(":"))
        except OSError:
            continue
        if stat.S_ISBLK(wanted.st_mode) and os.makedev(major, minor) == wanted.st_rdev:
            return f"domain {device.parent.name.split('-')[1]}"
    return ""
