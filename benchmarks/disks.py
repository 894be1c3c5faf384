"""The disks' native part: the epoch store beside qemu-nbd, and under a commit. No Xen."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import replicated
from benchmarks.nbd import NbdWriter
from benchmarks.rows import Row, at_most, percentile, ratio_at_least, row, while_writing
from benchmarks.store import SIZE, Store, fresh, ticking
from remus_ha.checkpoint.arrange import JOURNAL_LIMIT

COMMITTED = 64 << 20
TAKEN_MB_S, LEAST_MB_S = 100.0, 95.0
LOADS = {  # name: octets, depth, writes, least ratio
    "4 KiB, depth 1": (4 << 10, 1, 20_000, 0.5),
    "4 KiB, depth 16": (4 << 10, 16, 40_000, 0.5),
    # More than the journal takes: what the image does not get in time holds the writes up.
    "1 MiB, depth 8": (1 << 20, 8, 3 * JOURNAL_LIMIT >> 20, 0.9),
}
_SECONDS = re.compile(r"Run completed in ([0-9.]+) seconds")


@contextmanager
def qemu_nbd(directory: Path) -> Iterator[Path]:
    """qemu-nbd on a raw file, in the page cache as the store's; its socket."""
    image, path = directory / "peer.img", directory / "peer.nbd"
    with open(image, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, SIZE)
    command = ["qemu-nbd", "-k", str(path), "-f", "raw", "--cache=writeback", "-t", str(image)]
    process = subprocess.Popen([*command, "--fork"])
    process.wait()
    pid = _holder(path)
    try:
        yield path
    finally:
        os.kill(pid, signal.SIGTERM)


def _holder(path: Path) -> int:
    """The process that listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(raw[:4], "little")


def load(path: Path, octets: int, depth: int, count: int) -> float:
    """Writes a second of ``qemu-img bench``, one after the other on the disk."""
    words = ["-w", "-c", str(count), "-d", str(depth), "-s", str(octets)]
    where = f"nbd+unix:///?socket={path}"
    done = subprocess.run(
        ["qemu-img", "bench", "-f", "raw", *words, where],
        check=True,
        capture_output=True,
        text=True,
    )
    found = _SECONDS.search(done.stdout)
    if not found:
        raise RuntimeError(done.stdout)
    return count / float(found[1])


def throughput(directory: Path, rounds: int) -> list[Row]:
    """Store and qemu-nbd in turn, in one run."""
    samples: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in LOADS}
    for _ in range(rounds):
        for name, (octets, depth, count, _least) in LOADS.items():
            ours, peers = samples[name]
            with fresh(directory) as place:
                store = Store(place)
                try:
                    with ticking(store.end_epoch):
                        ours.append(load(store.path, octets, depth, count))
                finally:
                    store.end()
            with fresh(directory) as place, qemu_nbd(place) as path:
                peers.append(load(path, octets, depth, count))
    return [
        row(
            f"epoch store's writes, {name}, beside qemu-nbd's",
            "writes/s",
            ours,
            peers,
            ratio_at_least(LOADS[name][3]),
        )
        for name, (ours, peers) in samples.items()
    ]


def commit_under_load(directory: Path, rounds: int) -> Row:
    """The longest wait of a write while an epoch of 64 MiB is committed and applied."""
    piece = os.urandom(64 << 10)
    found = [_commit_under_load(directory, piece) for _ in range(rounds)]
    longest = [1e3 * max(paced.waits_s) for paced in found]
    waits = [1e3 * wait for paced in found for wait in paced.waits_s]
    rates = [round(paced.mb_s, 1) for paced in found]
    made = row(
        "longest wait of a write during the commit of 64 MiB, 100 MB/s of new writes",
        "ms",
        [max(longest)],
        [],
        at_most(50, "ms"),
        rounds=longest,
        p50=round(percentile(waits, 50), 3),
        p99=round(percentile(waits, 99), 3),
        written_mb_s=rates,
    )
    return while_writing(made, rates, LEAST_MB_S)


def _commit_under_load(directory: Path, piece: bytes) -> "Paced":
    with fresh(directory) as place:
        store = Store(place)
        writer = NbdWriter(store.path)
        try:
            for offset in range(0, COMMITTED, len(piece)):
                writer.write(offset, piece)
            with ThreadPoolExecutor(1) as pool:
                writing = pool.submit(paced, writer, piece, mb_s=TAKEN_MB_S, seconds=2.0)
                time.sleep(0.2)  # the writes are under way when the commit begins
                store.end_epoch()
                return writing.result()
        finally:
            writer.close()
            store.end()


@dataclass(frozen=True, slots=True)
class Paced:
    """How long each write took from when it was due, and what was written in all."""

    waits_s: list[float]
    mb_s: float


class Writer(Protocol):
    """Of one write after the other."""

    def write(self, offset: int, data: bytes) -> float: ...


def paced(writer: Writer, piece: bytes, *, mb_s: float, seconds: float) -> Paced:
    """Write so much a second, one at a time. One that is late makes the next ones late as well."""
    waits = []
    every_s = len(piece) / mb_s / 1e6
    count = int(seconds / every_s)
    began = time.perf_counter()
    for i in range(count):
        due = began + i * every_s
        time.sleep(max(0.0, due - time.perf_counter()))
        writer.write(i * len(piece) % (SIZE // 2), piece)
        waits.append(time.perf_counter() - due)
    return Paced(waits, count * len(piece) / 1e6 / (time.perf_counter() - began))


def rows(rounds: int) -> list[Row]:
    """All of the above."""
    with tempfile.TemporaryDirectory(prefix="remus-bench-") as name:
        place = Path(name)
        return [
            *throughput(place, rounds),
            commit_under_load(place, rounds),
            *replicated.rows(place, rounds),
        ]
