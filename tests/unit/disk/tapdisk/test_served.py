"""When the image gets a write, and when the backlog does."""

from pathlib import Path

import pytest

from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.backlog import Backlog, Piece
from remus_ha.disk.tapdisk.served import ServedDisk, open_image


class Watched(Image):
    """Notes what the backlog has when the image is written to."""

    backlog: Backlog
    waiting: int = -1
    failing = False

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self.waiting = self.backlog.figures()["waiting"]
        if self.failing:
            super().write(offset, data[:2])
            raise OSError(28, "No space left on device")
        super().write(offset, data)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "image").write_bytes(bytes(8192))
    opened = open_image("xvda", tmp_path / "image", 8192)
    image = Watched(opened.path, opened._fd)
    image.backlog = Backlog(1 << 20)
    image.backlog.open()
    return image


def test_the_backlog_has_a_write_before_the_image(watched: Watched) -> None:
    """So a write that is complete is in it, and its place is nobody else's meanwhile."""
    ServedDisk(watched, watched.backlog).write(0, b"data")
    assert watched.waiting == 1


def test_a_write_that_fails_here_lets_go_of_its_place(watched: Watched) -> None:
    disk = ServedDisk(watched, watched.backlog)
    watched.failing = True
    with pytest.raises(OSError, match="No space"):
        disk.write(0, b"data")
    watched.failing = False
    disk.write(0, b"again")
    assert watched.read(0, 5) == b"again"


def test_a_write_that_fails_here_leaves_the_store_what_the_image_holds(watched: Watched) -> None:
    disk = ServedDisk(watched, watched.backlog)
    disk.write(0, b"before")
    watched.failing = True
    with pytest.raises(OSError, match="No space"):
        disk.write(0, b"failed")
    store = bytearray(6)
    while isinstance(entry := watched.backlog.take(), Piece):
        assert entry.data is not None
        store[entry.offset : entry.offset + entry.length] = entry.data
        watched.backlog.acknowledged(entry)
    assert bytes(store) == bytes(watched.read(0, 6)) == b"fafore"


def test_an_image_that_can_be_neither_written_nor_read_is_told(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytearray:
        raise OSError(5, "Input/output error")

    disk = ServedDisk(watched, watched.backlog)
    told: list[str] = []
    disk.unknown = told.append
    watched.failing = True
    monkeypatch.setattr(watched, "read", fail)
    with pytest.raises(OSError, match="No space"):
        disk.write(0, b"failed")
    assert told == [f"{watched.path} can be neither written nor read: Input/output error"]


def test_the_backlog_keeps_what_the_guest_may_overwrite(watched: Watched) -> None:
    buffer = bytearray(b"first")
    ServedDisk(watched, watched.backlog).write(0, memoryview(buffer))
    buffer[:] = b"later"
    entry = watched.backlog.take()
    assert isinstance(entry, Piece)
    assert entry.data == b"first"
