"""The outside client of a guest's database: it keeps what it was told, for the comparison after.

Rows and files in turn, one after the other, over one connection that is never renewed: a broken
connection is a finding. What has no answer counts for nothing, so an insert that an accident
interrupts counts only if it is answered in the end.
"""

import itertools
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from remus_ha.lab.database import DatabaseConnection, DatabaseControl
from remus_ha.lab.errors import DatabaseRefused, LedgerUnreachable, TimedOut


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What was answered, in this order: rows as (number, text), files as (name, text)."""

    rows: tuple[tuple[int, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.rows) + len(self.files)

    def lost(self, database: DatabaseControl) -> list[str]:
        """Those that the database has not, or has otherwise. LedgerUnreachable."""
        with database.connect() as asked:
            rows = [f"row {number}" for number, text in self.rows if asked.row(number) != text]
            files = [f"file {name}" for name, text in self.files if asked.file(name) != text]
        return rows + files


class DatabaseWriter:
    """Writes from ``start`` to ``stop``, on a thread of its own; a context manager too.

    ``label`` must be new to the database: its files' names begin with it. An answer that takes
    longer than ``patience_s`` breaks the connection.
    """

    def __init__(
        self, database: DatabaseControl, label: str = "w", *, patience_s: float = 90.0
    ) -> None:
        self._database, self._label, self._patience_s = database, label, patience_s
        self._changed = threading.Condition()
        self._rows: list[tuple[int, str]] = []
        self._files: list[tuple[str, str]] = []
        self._stopping = False
        self._broken: str | None = None
        self._connection: DatabaseConnection | None = None
        self._thread = threading.Thread(target=self._run, name=f"database-{label}", daemon=True)

    def start(self) -> None:
        """Connect and begin to write. LedgerUnreachable."""
        self._connection = self._database.connect(self._patience_s)
        self._thread.start()

    def stop(self) -> Acknowledged:
        """Wait for the answer to what is under way, then tell what was acknowledged."""
        with self._changed:
            self._stopping = True
        self._thread.join()
        return self.acknowledged()

    def __enter__(self) -> "DatabaseWriter":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self._connection is not None:
            self._connection.break_off()
        self.stop()

    def acknowledged(self) -> Acknowledged:
        """What was acknowledged so far."""
        with self._changed:
            return Acknowledged(tuple(self._rows), tuple(self._files))

    @property
    def broken(self) -> str | None:
        """Why the connection broke; None while it lives."""
        with self._changed:
            return self._broken

    def wait_acknowledged(self, count: int, timeout_s: float = 60.0) -> None:
        """Until ``count`` more are acknowledged, or the connection breaks. TimedOut."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            wanted = self._count() + count
            while self._count() < wanted and self._broken is None:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimedOut(
                        what=f"acknowledgement {wanted} of the guest's database",
                        seconds=timeout_s,
                        where="the guest's console",
                    )

    def _count(self) -> int:
        return len(self._rows) + len(self._files)

    def _run(self) -> None:
        assert self._connection is not None
        try:
            with self._connection as connection:
                for number in itertools.count(1):
                    with self._changed:
                        if self._stopping:
                            return
                    self._write(connection, number)
        except (LedgerUnreachable, DatabaseRefused) as error:
            with self._changed:
                self._broken = str(error)
                self._changed.notify_all()

    def _write(self, connection: DatabaseConnection, number: int) -> None:
        name, text = f"{self._label}-{number}", f"{self._label} writes {number}"
        row = connection.insert(text)
        with self._changed:
            self._rows.append((row, text))
            self._changed.notify_all()
        connection.save(name, text)
        with self._changed:
            self._files.append((name, text))
            self._changed.notify_all()
