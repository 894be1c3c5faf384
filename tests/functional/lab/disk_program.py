"""The guest's disk program as a process of this machine, on files, in a namespace of its own."""

import struct
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from remus_ha.lab.disks import DiskControl, DiskStat
from remus_ha.lab.network import Network
from remus_ha.lab.process import wait_readable

SECTOR = 512
# Where a disk's shared area begins, after the saved records; the writers' own ones follow.
AREAS = 1 << 20
OWN_AREAS = AREAS + (256 << 10)
_HEAD = struct.Struct("<8sQQII")
_MAGIC = b"RHADSEC1"


class DiskProgram:
    """Runs on ``disks``; its port is on loopback."""

    def __init__(self, program: Path, disks: Sequence[Path], *options: str) -> None:
        self._words: list[str | Path] = [program, *disks, *options]
        self._namespace = Network(f"remus-test-{uuid.uuid4().hex[:8]}")
        self.control = DiskControl(self._namespace.enter, "127.0.0.1")

    def __enter__(self) -> "DiskProgram":
        name = self._namespace.name
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        with self._namespace.enter():
            self.child = subprocess.Popen(self._words, stdout=subprocess.PIPE)
        assert self.child.stdout is not None
        assert wait_readable(self.child.stdout.fileno(), time.monotonic() + 20)
        assert b"writers" in self.child.stdout.readline()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.kill()
        self.child.wait()
        assert self.child.stdout is not None
        self.child.stdout.close()
        self._namespace.remove()

    def write(self, count: int, *, kib_s: int = 0) -> DiskStat:
        """Let at least ``count`` more writes complete, and stop."""
        wanted = self.control.stat().completed + count
        self.control.start(kib_s)
        self.wait(wanted)
        return self.settle()

    def wait(self, completed: int) -> None:
        """Until so many writes have completed in all."""
        deadline = time.monotonic() + 30
        while self.control.stat().completed < completed:
            assert time.monotonic() < deadline

    def settle(self) -> DiskStat:
        """Stop; nothing is in flight afterwards."""
        self.control.stop()
        deadline = time.monotonic() + 30
        while (stat := self.control.stat()).in_flight:
            assert time.monotonic() < deadline
        return stat


def written_above(disk: Path, number: int) -> int:
    """Sectors of a disk that show a write above ``number``."""
    data = disk.read_bytes()
    return sum(number_at(data, at) > number for at in range(AREAS, len(data), SECTOR))


def number_at(data: bytes, at: int) -> int:
    """The number of the write that a sector of a disk's data shows, 0 without one."""
    magic, _, _, _, number = _HEAD.unpack_from(data, at)
    return int(number) if magic == _MAGIC else 0


def _run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=20)
