"""The receiver's one line to the front end, through a FIFO that nobody may be reading any more."""

import os
import time
from pathlib import Path

import pytest

from remus_ha.lines import read_line
from remus_ha.receive.__main__ import say
from remus_ha.waiting import readable


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "reply.fifo"
    os.mkfifo(path)
    return path


def test_a_line_arrives(fifo: Path) -> None:
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    say(fifo)(b'{"version":1}\n')
    assert read_line(fd, time.monotonic() + 5) == b'{"version":1}\n'
    os.close(fd)


def test_without_a_reader_it_is_an_error_at_once(fifo: Path) -> None:
    """The front end has gone; the receiver has no time to wait for another one."""
    before = time.monotonic()
    with pytest.raises(OSError, match="No such device"):
        say(fifo)(b"line\n")
    assert time.monotonic() - before < 1.0


def test_a_line_in_pieces_is_put_together(fifo: Path) -> None:
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, b'{"ver')
    assert readable(fd, 1)
    os.write(fd, b'sion":1}\n')
    assert read_line(fd, time.monotonic() + 5) == b'{"version":1}\n'
    os.close(fd)


def test_a_receiver_that_says_nothing_is_given_up(fifo: Path) -> None:
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, b"half a line")
    with pytest.raises(TimeoutError):
        read_line(fd, time.monotonic() + 0.2)
    os.close(fd)
