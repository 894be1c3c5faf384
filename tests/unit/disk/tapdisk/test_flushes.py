"""Every flush is answered once, with a real FIFO between."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk.tapdisk.classic.flushes import Flushes
from remus_ha.disk.tapdisk.fifo import TapdiskFifos, control_path, message_path

ADDRESS = "192.0.2.7:9000"


class Ends:
    """A disk's flushes, and the controller's side without our code."""

    def __init__(self, directory: Path) -> None:
        self.marked: list[int] = []
        self.open = True
        self.flushes = Flushes(TapdiskFifos(ADDRESS, directory), self._mark)
        flags = os.O_RDWR | os.O_NONBLOCK
        self._control = os.open(control_path(ADDRESS, directory), flags)
        self._messages = os.open(message_path(ADDRESS, directory), flags)

    def _mark(self, k: int) -> bool:
        if self.open:
            self.marked.append(k)
        return self.open

    def ask(self) -> None:
        os.write(self._control, b"flush")
        self.flushes.look()

    def answers(self) -> bytes:
        try:
            return os.read(self._messages, 4096)
        except BlockingIOError:
            return b""

    def fill(self) -> None:
        """Nobody reads the answers."""
        os.write(self._messages, bytes(65536))

    def end(self) -> None:
        self.flushes.close()
        os.close(self._control)
        os.close(self._messages)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    made.end()


def test_a_flush_is_marked_when_it_is_looked_for_and_done_when_the_backup_says_so(
    ends: Ends,
) -> None:
    ends.flushes.look()
    assert ends.marked == []
    ends.ask()
    ends.ask()
    assert (ends.marked, ends.answers()) == ([1, 2], b"")
    ends.flushes.done()
    assert ends.answers() == b"done"
    ends.flushes.done()
    assert ends.answers() == b"done"


def test_what_cannot_be_marked_fails_at_once(ends: Ends) -> None:
    ends.open = False
    ends.ask()
    assert ends.answers() == b"fail"
    ends.flushes.fail()
    assert ends.answers() == b""


def test_a_loss_fails_what_is_under_way_and_nothing_twice(ends: Ends) -> None:
    for _ in range(3):
        ends.ask()
    ends.flushes.done()
    ends.flushes.fail()
    ends.flushes.fail()
    assert ends.answers() == b"donefailfail"


def test_an_answer_of_the_backup_that_comes_after_the_loss_is_none(ends: Ends) -> None:
    ends.ask()
    ends.flushes.fail()
    ends.flushes.done()
    assert (ends.answers(), ends.flushes.figures()["unanswered"]) == (b"fail", 0)


def test_answers_that_nobody_reads_stop_nothing(ends: Ends) -> None:
    ends.fill()
    ends.ask()
    ends.flushes.done()
    assert ends.answers() == bytes(4096)
