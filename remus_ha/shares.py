"""What the protections of a host take of it, counted together and without a race.

Each has a share in either role: a file in its run directory that says how much. It counts for as
long as a process of that session lives: the front end that begins it, the per-guest process and its
caretaker hold a lock on the file, which their deaths end. Whoever wants a share opens the
``Counter``, which one process at a time can do, looks at the others and adds its own.
"""

import contextlib
import fcntl
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from remus_ha import rundir

_FILE = "share.json"
_CLAIMED = "claimed"


@dataclass(frozen=True, slots=True)
class Share:
    """``role`` is one of rundir.ROLES; as the primary a host gives none of its memory."""

    role: str
    uuid: str
    name: str
    peer: str
    memory_kib: int
    rate_mbit_s: int  # of the memory stream; 0: no bound


class Counter:
    """A context manager: inside, nobody else adds a share to this host."""

    def __enter__(self) -> Self:
        self._lock = rundir.Lock("host", "shares")
        self._lock.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def others(self, share: Share) -> list[Share]:
        """Those of the same role that other guests have."""
        return [other for other in living(share.role) if other.uuid != share.uuid]

    def add(self, share: Share) -> bool:
        """Ours until this process ends, or ``give_back``. False: the guest has one already."""
        if _lives(_path(share.role, share.uuid)):
            return False
        _marker(share.uuid).unlink(missing_ok=True)
        rundir.write_json(_path(share.role, share.uuid), asdict(share))
        hold(share.role, share.uuid)
        return True


def living(role: str) -> list[Share]:
    """All shares of that role that count now."""
    root = rundir.ROOT / role
    paths = sorted(root.glob(f"*/{_FILE}"))
    found = (rundir.read_json(path) for path in paths if _lives(path))
    return [Share(**fields) for fields in found if fields]


def hold(role: str, uuid: str) -> None:
    """From now on until this process ends the guest's share counts, where it has one."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(_path(role, uuid), os.O_RDONLY | os.O_CLOEXEC)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, rundir.lock_order(fcntl.F_RDLCK))


def give_back(role: str, uuid: str) -> None:
    """The share of a session that does not begin."""
    _path(role, uuid).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it has other things in it
        rundir.directory(role, uuid).rmdir()


def note_claim(uuid: str) -> None:
    """The hypervisor counts the copy's memory as taken from now on, and so need nobody else."""
    _marker(uuid).touch()


def is_claimed(share: Share) -> bool:
    """Whether it does."""
    return _marker(share.uuid).exists()


def _path(role: str, uuid: str) -> Path:
    return rundir.directory(role, uuid) / _FILE


def _marker(uuid: str) -> Path:
    return rundir.directory("backup", uuid) / _CLAIMED


def _lives(path: Path) -> bool:
    """Whether any process holds it; only a look."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return rundir.is_locked(fd)
    finally:
        os.close(fd)
