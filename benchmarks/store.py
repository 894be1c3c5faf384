"""An epoch store of the benchmarks' own, and who ends its epochs."""

import json
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from remus_ha.checkpoint.arrange import JOURNAL_LIMIT
from remus_ha.disk.orders import attend
from remus_ha.disk.store import launch
from remus_ha.disk.store.launch import Setup

SIZE = 1 << 30
EPOCH_S = 0.2


class Store:
    """Its journal takes what the product's may take.

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
            limit=JOURNAL_LIMIT,
        )
        files = directory / "setup", directory / "log"
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(self.path))
            unix.listen()
            self.pid = launch.start(setup, files[0], listener or unix, files[1], secret)
        self._orders = attend(Path(setup.socket))
        self._lines = self._orders.makefile("rb")
        self._said: set[str] = set()
        self.n = -1
        if listener is None:
            self.end_epoch()

    def _order(self, verb: str, awaited: str) -> None:
        self._orders.sendall(json.dumps({"do": verb, "n": self.n}).encode() + b"\n")
        self._await(awaited)

    def _await(self, word: str) -> None:
        while word not in self._said:
            told = json.loads(self._lines.readline())
            if "error" in told:
                raise RuntimeError(told["error"]["cause"])
            self._said.add(told["said"])
        self._said.remove(word)

    def close(self) -> int:
        """The open epoch; its number."""
        self.n += 1
        self._order("close", "closed")
        return self.n

    def commit(self) -> None:
        """What was closed, once it is prepared."""
        self._await("prepared")
        self._order("commit", "committed")

    def end_epoch(self) -> None:
        """Close and commit the open epoch."""
        self.close()
        self.commit()

    def end(self) -> None:
        self._orders.close()
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def ticking(end_epoch: Callable[[], None]) -> Iterator[None]:
    """It is called every ``EPOCH_S``, in a thread of its own; what it raises is raised here."""
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(EPOCH_S):
            end_epoch()

    with ThreadPoolExecutor(1) as pool:
        ticks = pool.submit(tick)
        try:
            yield
        finally:
            stop.set()
        ticks.result()


@contextmanager
def fresh(directory: Path) -> Iterator[Path]:
    """A directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        yield Path(name)
