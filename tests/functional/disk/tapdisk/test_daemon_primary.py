"""The primary's role over a real connection and real FIFOs, with an image that can fail."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk.store.image import Image
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
SIZE = 1 << 20
SECTOR = bytes(range(256)) * 2
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
        self.apart = Apart(path)
        self.primary = Primary(
            image=self.image,
            fifos=TapdiskFifos(ADDRESS, directory),
            peer=peer,
            apart=self.apart,
            says_last=True,
            log=self.log.append,
        )
        self.primary.start(lambda *_said, **_facts: None)
        self.controller = FlushController(ADDRESS, directory)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    with scripted_backup() as (peer, backup):
        made = Ends(tmp_path, peer, backup)
        yield made
        made.controller.close()


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
