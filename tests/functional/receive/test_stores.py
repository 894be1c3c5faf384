"""A guest's stores as its receiver hears them: the socket is real, the store a child that talks."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from remus_ha.disk.spec import DiskSpec
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.uri import parse
from remus_ha.exceptions import RemusError
from remus_ha.loop import Loop
from remus_ha.receive.stores import Stores, Told
from remus_ha.waiting import readable

VDEV = "xvda"
URI = "tap:remus:127.0.0.1:9000|aio:/disk.img"
PARTS = {"said": "parts"}
POISON = {
    "said": "failed",
    "do": "",
    "error": {"code": "DISK-009", "cause": "it is poisoned", "remedy": "Mend it."},
}


class Bed:
    """The stores of a guest with one disk, and what its receiver was told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.heard: list[str] = []
        self.loop = Loop()
        self.on_failed: Callable[[], None] = lambda: None
        self.on_prepared: Callable[[], None] = lambda: None
        self._store = -1

    def begin(self, *lines: dict[str, Any], uri: str = "") -> Stores:
        """Connect to a store that says ``lines`` at once. ``uri``: it is that disk's daemon."""
        path = self.directory / f"store-{VDEV}.sock"
        if uri:
            path = Files(self.directory, parse(uri).address).orders
            path.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            self._store = os.fork()
            if self._store == 0:
                _talk(listener, lines)
        stores = Stores(
            self.loop, "uuid", self.directory, (_spec(uri),), self._told(), daemons=self.directory
        )
        end = time.monotonic() + 10
        while not any(store["alive"] for store in stores.status()):
            assert time.monotonic() < end, "nobody listens"
            stores.take_up(-1)
        return stores

    def _told(self) -> Told:
        return Told(
            closed=lambda n: self.heard.append(f"closed {n}"),
            prepared=self._prepared,
            committed=lambda n: self.heard.append(f"committed {n}"),
            finished=lambda: self.heard.append("finished"),
            severed=self._severed,
            gone=lambda e: self.heard.append(f"gone {e}"),
            failed=self._failed,
            hashed=lambda found: self.heard.append(f"hashed {found.n}"),
            waiting=lambda e: self.heard.append(f"waiting {e}"),
        )

    def _prepared(self) -> None:
        self.heard.append("prepared")
        self.on_prepared()

    def _severed(self, e: RemusError) -> None:
        self.heard.append(f"severed {e}")
        self.on_failed()

    def ends_by(self) -> int:
        """The signal that ends the store."""
        _, status = os.waitpid(self._store, 0)
        self._store = -1
        return os.WTERMSIG(status)

    def lives(self) -> bool:
        """And will: a signal would have had its time."""
        pidfd = os.pidfd_open(self._store)
        try:
            return not readable(pidfd, 0.3)
        finally:
            os.close(pidfd)

    def _failed(self, e: RemusError) -> None:
        self.heard.append(str(e))
        self.on_failed()

    def hear(self, words: str) -> None:
        """Serve until that has been told, and once more."""
        deadline = time.monotonic() + 10
        assert self.loop.until(lambda: any(words in told for told in self.heard), deadline), (
            self.heard
        )
        self.loop.serve(0)

    def close(self) -> None:
        if self._store > 0:
            os.kill(self._store, signal.SIGKILL)
            os.waitpid(self._store, 0)
        self.loop.close()


def _talk(listener: socket.socket, lines: tuple[dict[str, Any], ...]) -> NoReturn:
    try:
        listener.listen()
        client, _ = listener.accept()
        client.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        if lines[-1:] == (PARTS,):
            client.recv(4096)  # it is attended
            client.close()
        signal.pause()
    finally:
        os._exit(0)


def _spec(uri: str) -> DiskSpec:
    return DiskSpec(
        vdev=VDEV,
        path="/disk.img",
        size=1 << 20,
        ack="received",
        identity="",
        overwrite=False,
        limit=1 << 30,
        generation=0,
        uri=uri,
    )


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("uri", ["", URI], ids=["store", "daemon"])
def test_what_a_store_said_after_its_poison_ends_no_receiver(bed: Bed, uri: str) -> None:
    """Both lines come at once, and the first ends the session: StopIteration, of old."""
    stores = bed.begin(POISON, {"said": "severed"}, uri=uri)
    bed.on_failed = stores.end
    bed.hear("DISK-009")
    told = "DISK-016: DISK-009: it is poisoned"
    assert bed.heard == [told if uri else f"severed {told}"]


@pytest.mark.parametrize("poisoned", [False, True])
def test_a_poisoned_store_is_prepared_for_nothing(bed: Bed, poisoned: bool) -> None:
    """It refuses every commit: the other disks and the memory must not begin one."""
    prepared = {"said": "prepared", "n": 1}
    stores = bed.begin(*([POISON, prepared] if poisoned else [prepared]))
    bed.hear("prepared")
    assert stores.prepared(1) is not poisoned


def test_a_store_that_nobody_can_order_any_more_is_ended(bed: Bed) -> None:
    """It lives, and has the image, which whoever takes up its journal needs."""
    bed.begin(PARTS)
    bed.hear("gone DISK-012")
    assert bed.ends_by() == signal.SIGKILL


def test_a_daemon_that_nobody_can_order_any_more_is_left_alone(bed: Bed) -> None:
    bed.begin(PARTS, uri=URI)
    bed.hear("DISK-16")
    assert bed.lives()


def test_an_epoch_that_ends_the_session_is_not_told_closed(bed: Bed) -> None:
    """A daemon's ``prepared`` stands for both; committing may end the session between them."""
    stores = bed.begin({"said": "prepared", "n": 1}, uri=URI)
    stores.close(0)
    bed.on_prepared = stores.end
    bed.hear("prepared")
    assert bed.heard == ["prepared"]


@pytest.mark.parametrize("uri", ["", URI], ids=["store", "daemon"])
def test_a_store_that_answers_no_question_is_told_once(bed: Bed, uri: str) -> None:
    stores = bed.begin(uri=uri)
    for _ in range(4):
        stores.look(0.25, 1.0)
    assert bed.heard == []
    for _ in range(4):
        stores.look(0.25, 1.0)
    (told,) = bed.heard
    assert told == (
        "severed DISK-172: the store of xvda on the backup has stood still for 1.0 s: "
        "it does not answer"
    )


def test_a_severed_store_may_say_why(bed: Bed) -> None:
    why = {"code": "DISK-171", "cause": "the open epoch of xvda is too large", "remedy": "Wait."}
    bed.begin({"said": "severed"}, {"said": "severed", "error": why})
    bed.hear("DISK-171: the open epoch of xvda is too large")
    assert "DISK-010" in bed.heard[0]
