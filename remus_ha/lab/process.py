"""Processes that outlive the command that started them, named by pid and start time.

A pid alone may be another process by now; together with its start time it is not. Signals go
through a pidfd, so the process meant is the process hit.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from remus_ha.lab.errors import TimedOut
from remus_ha.waiting import readable


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5), field 3); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


@dataclass(frozen=True, slots=True)
class Process:
    """A process by pid and start time (clock ticks since boot)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has ``pid`` now; start 0 when there is none."""
        fields = _stat(pid)
        return cls(pid, int(fields[19]) if fields else 0)

    @classmethod
    def read(cls, file: Path) -> "Process | None":
        """What ``write`` left in ``file``, None without such a file."""
        try:
            pid, start = file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return cls(int(pid), int(start))

    def write(self, file: Path) -> None:
        """Remember the process in ``file``."""
        file.write_text(f"{self.pid} {self.start}\n")

    @property
    def state(self) -> str:
        """The kernel's letter (R, S, T stopped, ...); Z when dead, gone or another."""
        fields = _stat(self.pid)
        return fields[0] if fields and int(fields[19]) == self.start else "Z"

    @property
    def alive(self) -> bool:
        """Running, sleeping or stopped."""
        return self.state not in "ZX"

    @contextmanager
    def open(self) -> Iterator[int | None]:
        """A pidfd of it, None when it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield fd if self.alive else None
        finally:
            os.close(fd)

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False when the process is gone."""
        with self.open() as fd:
            if fd is None:
                return False
            signal.pidfd_send_signal(fd, number)
            return True

    def end(self, timeout_s: float = 10.0, first: signal.Signals = signal.SIGKILL) -> None:
        """Send ``first``, SIGKILL after ``timeout_s``, and wait until it has ended."""
        with self.open() as fd:
            if fd is None:
                return
            for number in (first, signal.SIGKILL):
                signal.pidfd_send_signal(fd, number)
                if wait_readable(fd, time.monotonic() + timeout_s):
                    break
            else:
                raise TimedOut(what=f"the end of {self.pid}", seconds=timeout_s, where="ps")
        _reap(self.pid)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def wait_readable(fd: int, deadline: float) -> bool:
    """Whether ``fd`` became readable before ``deadline`` (time.monotonic seconds)."""
    return readable(fd, deadline - time.monotonic())
