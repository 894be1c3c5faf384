"""The epoch store beside qemu-nbd, and what a replicated write costs: native, no Xen."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

from benchmarks.nbd import NbdWriter
from benchmarks.rows import Row, at_most, percentile, ratio_at_least, row
from remus_ha.disk import tls
from remus_ha.disk.base import DiskDriver, Mirrored, Stage, Stores
from remus_ha.disk.orders import attend
from remus_ha.disk.qemu.driver import QemuDisks
from remus_ha.disk.store import launch
from remus_ha.disk.store.launch import Setup
from remus_ha.disk.tapdisk.driver import TapdiskDisks
from remus_ha.lab.qmp import Qmp
from remus_ha.waiting import readable

SIZE = 1 << 30
COPIED = 64 << 20  # of the disk that a driver replicates
EPOCH_S = 0.2
DRIVERS: dict[str, type[DiskDriver]] = {"qemu": QemuDisks, "tapdisk": TapdiskDisks}
LOADS = {  # name: octets, depth, writes, least ratio
    "4 KiB, depth 1": (4 << 10, 1, 20_000, 0.5),
    "4 KiB, depth 16": (4 << 10, 16, 40_000, 0.5),
    "1 MiB, depth 8": (1 << 20, 8, 2_000, 0.9),
}
_SECONDS = re.compile(r"Run completed in ([0-9.]+) seconds")


class Store:
    """``ticking`` ends an epoch every ``EPOCH_S``.

    In the clear on a unix socket, and past its synchronisation; or on ``listener``, with the key in
    ``secret``, and before it.
    """

    def __init__(
        self,
        directory: Path,
        size: int = SIZE,
        listener: socket.socket | None = None,
        secret: Path | None = None,
    ) -> None:
        self.path = directory / "store.nbd"
        setup = Setup(
            disk="bench",
            path=str(directory / "store.img"),
            size=size,
            known=True,
            directory=str(directory / "journal"),
            socket=str(directory / "store.sock"),
            ack="received",
            limit=2 << 30,
        )
        files = directory / "setup", directory / "log"
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(self.path))
            unix.listen()
            self.pid = launch.start(setup, files[0], listener or unix, files[1], secret)
        self._orders = attend(Path(setup.socket))
        self._lines = self._orders.makefile("rb")
        self._n = -1
        if listener is None:
            self.end_epoch()

    def _order(self, verb: str, *awaited: str) -> None:
        self._orders.sendall(json.dumps({"do": verb, "n": self._n}).encode() + b"\n")
        missing = set(awaited)
        while missing:
            told = json.loads(self._lines.readline())
            if told["said"] == "failed":
                raise RuntimeError(told["error"]["cause"])
            missing.discard(told["said"])

    def end_epoch(self) -> None:
        """Close and commit the open epoch."""
        self._n += 1
        self._order("close", "closed", "prepared")
        self._order("commit", "committed")

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """As under a protection."""
        stop = threading.Event()

        def tick() -> None:
            while not stop.wait(EPOCH_S):
                self.end_epoch()

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def end(self) -> None:
        self._orders.close()
        os.kill(self.pid, signal.SIGKILL)


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
            with _fresh(directory) as place:
                store = Store(place)
                try:
                    with store.ticking():
                        ours.append(load(store.path, octets, depth, count))
                finally:
                    store.end()
            with _fresh(directory) as place, qemu_nbd(place) as path:
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


@contextmanager
def _fresh(directory: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=directory) as name:
        yield Path(name)


def commit_under_load(directory: Path, rounds: int) -> Row:
    """The longest wait of a write while an epoch of 64 MiB is committed and applied."""
    longest, others = [], []
    piece = os.urandom(64 << 10)
    for _ in range(rounds):
        with _fresh(directory) as place:
            store = Store(place)
            writer = NbdWriter(store.path)
            try:
                for offset in range(0, 64 << 20, len(piece)):
                    writer.write(offset, piece)
                with ThreadPoolExecutor(1) as pool:
                    paced = pool.submit(_paced, writer, piece, octets_s=100e6, seconds=2.0)
                    time.sleep(0.2)  # the writes are under way when the commit begins
                    store.end_epoch()
                    waits = paced.result()
            finally:
                writer.close()
                store.end()
        longest.append(1e3 * max(waits))
        others += [1e3 * wait for wait in waits]
    return row(
        "longest wait of a write during the commit of 64 MiB, 100 MB/s of new writes",
        "ms",
        [max(longest)],
        [],
        at_most(50, "ms"),
        rounds=longest,
        p50=round(percentile(others, 50), 3),
        p99=round(percentile(others, 99), 3),
    )


def _paced(writer: NbdWriter, piece: bytes, *, octets_s: float, seconds: float) -> list[float]:
    waits = []
    began = time.perf_counter()
    count = int(seconds * octets_s / len(piece))
    for i in range(count):
        due = began + i * len(piece) / octets_s
        time.sleep(max(0.0, due - time.perf_counter()))
        waits.append(writer.write(i * len(piece) % (SIZE // 2), piece))
    return waits


def replicated_latency(directory: Path, rounds: int) -> list[Row]:
    """A 4 KiB write at depth 1 into a QEMU's disk, replicated by each driver, and by none.

    As under a protection, over TLS and TCP on loopback.
    """
    plain: list[float] = []
    replicated: dict[str, list[float]] = {name: [] for name in DRIVERS}
    for _ in range(rounds):
        for name, make in DRIVERS.items():
            with _fresh(directory) as place, _qemu(place) as (monitor, path):
                plain.append(_latency_ms(path))
                with _replicated(make, place, monitor):
                    replicated[name].append(_latency_ms(path))
    middle = percentile(plain, 50)
    return [
        row(
            f"added to a guest's 4 KiB write by the driver {name}, native, loopback",
            "ms",
            [waits - middle for waits in replicated[name]],
            [],
            at_most(0.3 + _round_trip_ms(), "ms", "a round trip + 0.3"),
            replicated=replicated[name],
            plain=plain,
        )
        for name in DRIVERS
    ]


@contextmanager
def _replicated(make: type[DiskDriver], directory: Path, monitor: Path) -> Iterator[None]:
    """The disk copied, its epochs ended in the store every ``EPOCH_S``."""
    secret = tls.save(tls.create(), directory / "tls")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        store = Store(directory, COPIED, listener, secret)
    driver = make(
        domid=0,
        disks=[Mirrored("bench", "disk", COPIED, port, str(directory / "guest.img"))],
        stores=Stores("127.0.0.1", secret, 0),
        quiesce=nullcontext,
        close_there=lambda n: None,
        log=print,
        socket=monitor,
    )
    try:
        driver.begin()
        _reach(driver, Stage.MIRRORED)
        store.end_epoch()
        with store.ticking():
            yield
        driver.free()
        _reach(driver, Stage.FREE)
        driver.close()
    finally:
        store.end()


def _reach(driver: DiskDriver, stage: Stage) -> None:
    while driver.stage is not stage:
        if not readable(driver, 60):
            raise RuntimeError(f"{driver.stage} for a minute, not {stage}")
        driver.pump()


def _latency_ms(path: Path) -> float:
    writer = NbdWriter(path)
    try:
        waits = [writer.write((i * 4096) % COPIED, bytes(4096)) for i in range(3000)]
    finally:
        writer.close()
    return 1e3 * percentile(waits, 50)


def _round_trip_ms() -> float:
    """An octet there and back over TCP on loopback between two threads of this process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def echo() -> None:
        while octet := theirs.recv(1):
            theirs.sendall(octet)

    thread = threading.Thread(target=echo)
    thread.start()
    waits = []
    for _ in range(2000):
        began = time.perf_counter()
        ours.sendall(b"x")
        ours.recv(1)
        waits.append(time.perf_counter() - began)
    ours.shutdown(socket.SHUT_RDWR)
    thread.join()
    ours.close()
    theirs.close()
    return 1e3 * percentile(waits, 50)


@contextmanager
def _qemu(directory: Path) -> Iterator[tuple[Path, Path]]:
    """A QEMU without a machine that exports its disk: its monitor, the export's socket."""
    image, monitor, path = directory / "guest.img", directory / "qmp", directory / "guest.nbd"
    with open(image, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, COPIED)
    process = subprocess.Popen(
        [
            "qemu-system-x86_64",
            *("-machine", "none", "-nodefaults", "-display", "none", "-daemonize"),
            *("-blockdev", f"driver=file,node-name=file,filename={image}"),
            *("-blockdev", "driver=raw,node-name=disk,file=file"),
            *("-qmp", f"unix:{monitor},server=on,wait=off"),
            *("-pidfile", str(directory / "pid")),
        ]
    )
    process.wait()  # it has gone into the background, and listens
    try:
        with Qmp(monitor) as qmp:
            qmp.execute("nbd-server-start", addr={"type": "unix", "data": {"path": str(path)}})
            export = {"type": "nbd", "id": "guest", "node-name": "disk", "name": ""}
            qmp.execute("block-export-add", writable=True, **export)
        yield monitor, path
    finally:
        os.kill(int((directory / "pid").read_text()), signal.SIGKILL)


def rows(rounds: int) -> list[Row]:
    """All of the above."""
    with tempfile.TemporaryDirectory(prefix="remus-bench-") as name:
        place = Path(name)
        return [
            *throughput(place, rounds),
            commit_under_load(place, rounds),
            *replicated_latency(place, rounds),
        ]
