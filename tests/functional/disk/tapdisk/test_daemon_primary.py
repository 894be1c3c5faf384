"""The primary's role over a real connection and real FIFOs, with an image that can fail."""

import errno
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.classic import primary, stream
from remus_ha.disk.tapdisk.classic.apart import Apart
from remus_ha.disk.tapdisk.classic.disk import Role
from remus_ha.disk.tapdisk.classic.primary import Primary
from remus_ha.disk.tapdisk.errors import FlushFailed
from remus_ha.disk.tapdisk.fifo import FlushController, TapdiskFifos
from remus_ha.disk.tapdisk.peer import PrimaryPeer
from remus_ha.disk.tapdisk.wire import Signal, Write, encode

from .daemons import await_answer
from .peers import DEADLINE_S, ended, read_exactly, scripted_backup

ADDRESS = "192.0.2.7:9000"
SIZE = 32 << 20
SECTOR = bytes(range(256)) * 2
SECTORS = 1 << 16  # octets at once
_WRITE, _COMMIT = len(encode(Write(0, SECTOR))), encode(Signal.COMMIT)


class FailingImage(Image):
    """``bad``: its medium is, from now on."""

    bad = False

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        self._check()
        super().read_into(offset, buffer)

    def read(self, offset: int, length: int) -> bytearray:
        self._check()
        return super().read(offset, length)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._check()
        super().write(offset, data)

    def _check(self) -> None:
        if self.bad:
            raise OSError(errno.EIO, "a bad sector")


class Ends:
    """A primary, and a plain socket in its backup's place."""

    def __init__(self, directory: Path, peer: PrimaryPeer, backup: socket.socket) -> None:
        path = directory / "disk.img"
        path.write_bytes(bytes(SIZE))
        self.backup = backup
        self.image = FailingImage.open(path)
        assert isinstance(self.image, FailingImage)
        self.log: list[str] = []
        self._said = threading.Event()
        self.apart = Apart(path)
        self.primary = Primary(
            image=self.image,
            fifos=TapdiskFifos(ADDRESS, directory),
            peer=peer,
            apart=self.apart,
            says_last=True,
            log=self._say,
        )
        self.primary.start(lambda *_said, **_facts: None)
        self.controller = FlushController(ADDRESS, directory)

    def _say(self, text: str) -> None:
        self.log.append(text)
        self._said.set()

    def end(self) -> None:
        """Its thread has let go of the connection then."""
        self.controller.close()
        self.backup.close()
        assert self._said.wait(DEADLINE_S)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    with scripted_backup() as (peer, backup):
        made = Ends(tmp_path, peer, backup)
        yield made
        made.end()


def test_a_place_that_can_be_neither_written_nor_read_ends_the_connection(ends: Ends) -> None:
    """Once, and the backup's answer to the flush that has failed by then is none."""
    ends.primary.write(0, SECTOR)
    ends.controller.begin(DEADLINE_S)
    read_exactly(ends.backup, _WRITE + len(_COMMIT))
    ends.image.bad = True
    with pytest.raises(OSError, match="a bad sector"):
        ends.primary.write(512, SECTOR)
    ends.backup.sendall(encode(Signal.DONE))
    with pytest.raises(FlushFailed):
        await_answer(ends.controller)
    while not ended(ends.backup):
        pass
    assert ends.primary.role is Role.UNPROTECTED
    assert ends.primary.status()["unanswered"] == 0
    assert len(ends.log) == 1
    assert "DISK-163" in ends.log[0]


def ending(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> threading.Thread:
    """It is told to end with more queued than the connection takes, and time passes."""
    waited_s = 0.5
    monkeypatch.setattr(primary, "COMMIT_S", waited_s, raising=False)
    for place in range(0, SIZE, SECTORS):
        ends.primary.write(place, SECTOR * (SECTORS // len(SECTOR)))
    thread = threading.Thread(target=ends.primary.settle)
    thread.start()
    thread.join(2 * waited_s)
    assert thread.is_alive(), "it has not waited for the backup"
    return thread


def test_its_end_waits_for_a_backup_that_takes_what_is_queued(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = ending(ends, monkeypatch)
    tail = b""
    while tail != _COMMIT:
        tail = (tail + ends.backup.recv(1 << 20))[-len(_COMMIT) :]
    ends.backup.sendall(encode(Signal.DONE))
    thread.join(DEADLINE_S)
    assert not ends.apart
    assert ends.log == []


def test_images_that_differ_at_its_end_are_told(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that takes nothing is given up as at any time."""
    monkeypatch.setattr(stream, "STALL_S", 1.5)
    thread = ending(ends, monkeypatch)
    thread.join(DEADLINE_S)
    assert ends.apart
    assert "has not gone on" in ends.log[0]
    assert "may lack writes" in ends.log[1]
