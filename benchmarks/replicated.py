"""What a driver adds to a guest's write: a real QEMU without a machine, native, no Xen."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from benchmarks.nbd import NbdWriter
from benchmarks.rows import Row, at_most, percentile, row
from benchmarks.store import Store, fresh, ticking
from remus_ha.disk import tls
from remus_ha.disk.base import DiskDriver, Mirrored, Stage, Stores
from remus_ha.disk.qemu.driver import QemuDisks
from remus_ha.disk.tapdisk.driver import TapdiskDisks
from remus_ha.lab.qmp import Qmp
from remus_ha.waiting import readable

DISK = 64 << 20
BLOCK = 4096
WRITING_S = 3.0  # fifteen epochs
DRIVERS: dict[str, type[DiskDriver]] = {"qemu": QemuDisks, "tapdisk": TapdiskDisks}


@dataclass(frozen=True, slots=True)
class Waits:
    """Of rounds' writes, in ms, and the epochs that ended meanwhile."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def add(self, waits_ms: list[float], epochs: int = 0) -> None:
        self.epochs.append(epochs)
        self.p50.append(percentile(waits_ms, 50))
        self.p99.append(percentile(waits_ms, 99))


def rows(directory: Path, rounds: int) -> list[Row]:
    """A 4 KiB write at depth 1 into a QEMU's disk, replicated by each driver, and by none.

    As under a protection: over TLS and TCP, on loopback, with epochs that the driver ends.
    """
    plain, replicated = Waits(), {name: Waits() for name in DRIVERS}
    for _ in range(rounds):
        for name, make in DRIVERS.items():
            with fresh(directory) as place, _qemu(place) as (monitor, path):
                plain.add(_waits_ms(path))
                with _replicated(make, place, monitor) as store:
                    before = store.n
                    waits_ms = _waits_ms(path)
                    replicated[name].add(waits_ms, store.n - before)
    bound_ms = 0.3 + _round_trip_ms()
    return [
        made for name, waits in replicated.items() for made in _rows(name, waits, plain, bound_ms)
    ]


def _rows(driver: str, replicated: Waits, plain: Waits, bound_ms: float) -> list[Row]:
    middle = percentile(plain.p50, 50)
    return [
        row(
            f"added to a guest's 4 KiB write by the driver {driver}, native, loopback",
            "ms",
            [wait - middle for wait in replicated.p50],
            [],
            at_most(bound_ms, "ms", "a round trip + 0.3"),
            replicated=replicated.p50,
            plain=plain.p50,
        ),
        row(
            f"a guest's 4 KiB write, p99, driver {driver} beside none, native, loopback",
            "ms",
            replicated.p99,
            plain.p99,
            epochs=replicated.epochs,
        ),
    ]


@contextmanager
def _replicated(make: type[DiskDriver], directory: Path, monitor: Path) -> Iterator[Store]:
    """The disk copied; inside, epochs end as a protection's do."""
    secret = tls.save(tls.create(), directory / "tls")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        store = Store(directory, DISK, listener, secret)
    ended: list[int] = []
    driver = make(
        domid=0,
        disks=[Mirrored("bench", "disk", DISK, port, str(directory / "guest.img"))],
        stores=Stores("127.0.0.1", secret, 0),
        quiesce=nullcontext,
        close_there=ended.append,
        log=print,
        socket=monitor,
    )

    def end_epoch() -> None:
        n = store.n + 1
        driver.end_epoch(n)
        _pump(driver, lambda: n in ended)
        store.close()
        driver.closed(n)
        _pump(driver, lambda: driver.may_go_on(n))
        driver.resumed(n)
        _pump(driver, lambda: driver.vouches(n))
        store.commit()

    try:
        driver.begin()
        _pump(driver, lambda: driver.stage is Stage.MIRRORED)
        end_epoch()
        with ticking(end_epoch):
            yield store
        driver.free()
        _pump(driver, lambda: driver.stage is Stage.FREE)
        driver.close()
    finally:
        store.end()


def _pump(driver: DiskDriver, done: Callable[[], bool]) -> None:
    """Serve it until then."""
    while not done():
        if not readable(driver, 60):
            raise RuntimeError(f"the driver is {driver.stage.value} and has no news for a minute")
        driver.pump()


def _waits_ms(path: Path) -> list[float]:
    """By a process of its own: the guest does not share the driver's interpreter either."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_write, path).result()


def _write(path: Path) -> list[float]:
    writer = NbdWriter(path)
    waits: list[float] = []
    try:
        end = time.monotonic() + WRITING_S
        while time.monotonic() < end:
            waits.append(1e3 * writer.write(len(waits) * BLOCK % DISK, bytes(BLOCK)))
    finally:
        writer.close()
    return waits


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
        os.posix_fallocate(f.fileno(), 0, DISK)
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
