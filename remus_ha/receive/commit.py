"""The one place where an epoch becomes real on the backup (design §3, step 7).

``commit(n)``: record ``committing n``, write the end-of-checkpoint record to the restoring process,
record ``committed n``. The records are 16 octets in a file of /run: a new receiver finds there what
the dead one had done. The record to the restore is smaller than a pipe's atomic write, so it is
there whole or not at all.
"""

import os
import struct
from pathlib import Path

from remus_ha.stream.xenstream import CHECKPOINT_END

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


class Committer:
    """Commits epochs of one session in order, each once."""

    def __init__(self, journal: CommitJournal, restore_fd: int) -> None:
        self._journal, self._restore_fd = journal, restore_fd

    @property
    def committed(self) -> int:
        return self._journal.committed

    def commit(self, n: int) -> bool:
        """False when the restore's pipe is full now: call again when it is writable.

        Raises ValueError for an epoch out of order, BrokenPipeError for a dead restore.
        """
        if n != self._journal.committed + 1:
            raise ValueError(f"epoch {n} after {self._journal.committed}")
        if self._journal.committing != n:
            self._journal.begin(n)
        try:
            os.write(self._restore_fd, CHECKPOINT_END)
        except BlockingIOError:
            return False
        self._journal.finish(n)
        return True
