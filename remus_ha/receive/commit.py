"""The one place where an epoch becomes real on the backup (design §3, step 7).

``commit(n)``: record ``committing n``, give the records that end the epoch to the restoring
process, commit n on every disk, record ``committed n``. The two numbers are 16 octets in a file of
/run: a new receiver finds there what the dead one had done. What it could not find there is whether
the restore had got its records; so those lie in a pipe of their own beforehand, the seal, and the
kernel moves them from there into the restore's pipe in one step. An empty seal is an epoch that is
real.
"""

import fcntl
import os
import struct
import termios
from pathlib import Path

from remus_ha.stream.xenstream import EPOCH_END

_RECORD = struct.Struct("<qq")
NOTHING = -1


class CommitJournal:
    """(committing, committed) of one session; -1 is none."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        raw = os.pread(self._fd, _RECORD.size, 0)
        whole = len(raw) == _RECORD.size
        self.committing: int
        self.committed: int
        self.committing, self.committed = _RECORD.unpack(raw) if whole else (NOTHING, NOTHING)

    def begin(self, n: int) -> None:
        self.committing = n
        self._write()

    def finish(self, n: int) -> None:
        self.committed = n
        self._write()

    def _write(self) -> None:
        os.pwrite(self._fd, _RECORD.pack(self.committing, self.committed), 0)

    def close(self) -> None:
        os.close(self._fd)


class Seal:
    """A pipe with one epoch's end, or nothing. Its two ends outlive the receiver."""

    def __init__(self, read_end: int, write_end: int) -> None:
        self._read, self._write = read_end, write_end

    def is_set(self) -> bool:
        """Whether it lies here still."""
        answer: bytes = fcntl.ioctl(self._read, termios.FIONREAD, bytes(4))
        return bool(int.from_bytes(answer, "little"))

    def set(self) -> None:
        """Idempotent."""
        if not self.is_set():
            os.write(self._write, EPOCH_END)

    def move(self, restore_fd: int) -> bool:
        """Into the restore's pipe, whole or not at all; False when that is full now.

        Raises BrokenPipeError.
        """
        try:
            os.splice(self._read, restore_fd, len(EPOCH_END), flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return False
        return True


class Committer:
    """Commits epochs of one session in order, each once.

    Per epoch: ``seal(n)``, then every disk's commit, then ``finish(n)``.
    """

    def __init__(self, journal: CommitJournal, restore_fd: int, seal: Seal | None) -> None:
        self._journal, self._restore_fd, self._seal = journal, restore_fd, seal

    @property
    def committed(self) -> int:
        return self._journal.committed

    def seal(self, n: int) -> bool:
        """Make epoch n real; False when the restore's pipe is full: again when it is writable.

        Raises ValueError for an epoch out of order, BrokenPipeError for a dead restore.
        """
        if n != self._journal.committed + 1 or self._seal is None:
            raise ValueError(f"epoch {n} after {self._journal.committed}")
        if self._journal.committing != n:
            self._seal.set()
            self._journal.begin(n)
        return self._seal.move(self._restore_fd)

    def finish(self, n: int) -> None:
        """It is real on every disk as well."""
        self._journal.finish(n)

    def settle(self) -> None:
        """Decide on an epoch whose commit was begun and not finished.

        With its end delivered it is real: its disks have to follow. Otherwise it never was.
        """
        journal = self._journal
        if journal.committing == journal.committed or self._seal is None:
            return
        if self._seal.is_set():
            journal.begin(journal.committed)
        else:
            journal.finish(journal.committing)
