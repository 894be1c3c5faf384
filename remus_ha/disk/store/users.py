"""Who uses a file or a block device on this host, as far as dom0 can see."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from remus_ha.waiting import readable

_LOOPS = "/sys/block"
_PROC = Path("/proc")


def user_of(path: Path, proc: Path = _PROC) -> str:
    """A process that has it open, or a loop device on top of it; empty: nobody but this process."""
    wanted = path.stat()
    return _process_of(wanted, proc) or _loop_of(wanted)


def await_end_of_users(path: Path, seconds: float) -> None:
    """Wait, that long at most, for the end of the processes that have it open."""
    end = time.monotonic() + seconds
    for process in list(_holders(path.stat(), _PROC)):
        try:
            pidfd = os.pidfd_open(int(process.name))
        except ProcessLookupError:
            continue
        try:
            readable(pidfd, end - time.monotonic())
        finally:
            os.close(pidfd)


def _process_of(wanted: os.stat_result, proc: Path) -> str:
    for process in _holders(wanted, proc):
        return f"process {process.name}, {_name(process)}"
    return ""


def _holders(wanted: os.stat_result, proc: Path) -> Iterator[Path]:
    for process in proc.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                holds = any(_same(fd, wanted) for fd in (process / "fd").iterdir())
            except OSError:
                continue  # it has ended, or is a process of the kernel
            if holds:
                yield process


def _same(link: Path, wanted: os.stat_result) -> bool:
    try:
        found = link.stat()
    except OSError:
        return False
    if wanted.st_rdev:
        return found.st_rdev == wanted.st_rdev
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "ended meanwhile"


def _loop_of(wanted: os.stat_result) -> str:
    for backing in Path(_LOOPS).glob("loop*/loop/backing_file"):
        try:
            found = os.stat(backing.read_text().strip())
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return f"/dev/{backing.parts[3]}"
    return ""
