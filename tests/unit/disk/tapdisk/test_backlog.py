"""The order in which a disk's writes are given out, and who waits for whom."""

import threading
from collections.abc import Callable

import pytest

from remus_ha.disk.tapdisk.backlog import Backlog, Copied, Mark, Piece
from remus_ha.disk.tapdisk.marks import Marks
from remus_ha.disk.tapdisk.ranges import Ranges

LIMIT = 8192
DEADLINE_S = 10.0


@pytest.fixture
def backlog() -> Backlog:
    made = Backlog(LIMIT)
    made.open()
    return made


def write(backlog: Backlog, offset: int, data: bytes) -> None:
    backlog.end(backlog.begin(offset, len(data), data))


def piece(backlog: Backlog) -> Piece:
    entry = backlog.take()
    assert isinstance(entry, Piece)
    return entry


class Waiting:
    """Something that is done in a thread of its own."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def waits(self) -> bool:
        self._thread.join(0.1)
        return self._thread.is_alive()

    def ends(self) -> bool:
        self._thread.join(DEADLINE_S)
        return not self._thread.is_alive()


class TestRanges:
    def test_neighbours_do_not_meet(self) -> None:
        ranges = Ranges()
        ranges.add((10, 20))
        assert not ranges.meets((0, 10))
        assert not ranges.meets((20, 30))
        assert ranges.meets((19, 30))
        assert ranges.meets((0, 11))
        assert ranges.meets((12, 13))
        ranges.remove((10, 20))
        assert not ranges.meets((12, 13))


class TestOrder:
    def test_what_was_written_is_given_out_in_its_order(self, backlog: Backlog) -> None:
        write(backlog, 0, b"a")
        write(backlog, 1, b"b")
        assert [piece(backlog).data, piece(backlog).data] == [b"a", b"b"]
        assert backlog.take() is None

    def test_what_overlaps_is_not_given_out_together(self, backlog: Backlog) -> None:
        write(backlog, 0, b"aaaa")
        write(backlog, 3, b"b")
        write(backlog, 8, b"c")
        first = piece(backlog)
        assert backlog.take() is None  # nor what is behind it
        backlog.acknowledged(first)
        assert piece(backlog).data == b"b"
        assert piece(backlog).data == b"c"

    def test_a_write_waits_until_the_image_has_the_one_before(self, backlog: Backlog) -> None:
        """Else the image could get them in another order than the store."""
        span = backlog.begin(0, 4, b"aaaa")
        second = Waiting(lambda: backlog.begin(2, 4, b"bbbb"))
        assert second.waits()
        write(backlog, 4096, b"elsewhere")
        backlog.end(span)
        assert second.ends()
        assert [piece(backlog).data, piece(backlog).data] == [b"aaaa", b"elsewhere"]

    def test_the_order_is_kept_where_nothing_is_replicated_yet(self) -> None:
        """A copy that begins now has to find what was let in before."""
        backlog = Backlog(LIMIT)
        span = backlog.begin(0, 4, b"aaaa")
        backlog.open()
        copy = Waiting(lambda: backlog.copy(0, 4, lambda o, n: [Piece(o, n, b"copy")]))
        assert copy.waits()
        backlog.end(span)
        assert copy.ends()
        assert piece(backlog).data == b"copy"
        assert backlog.take() is None

    def test_a_write_waits_while_its_place_is_copied(self, backlog: Backlog) -> None:
        begun, reads = threading.Event(), threading.Event()

        def read(offset: int, length: int) -> list[Piece]:
            begun.set()
            assert reads.wait(DEADLINE_S)
            return [Piece(offset, length, b"old")]

        copying = Waiting(lambda: backlog.copy(0, 4096, read))
        assert begun.wait(DEADLINE_S)
        writing = Waiting(lambda: write(backlog, 0, b"new"))
        assert writing.waits()
        reads.set()
        assert copying.ends()
        assert writing.ends()
        first = piece(backlog)
        backlog.acknowledged(first)
        assert [first.data, piece(backlog).data] == [b"old", b"new"]


class TestMarks:
    def test_a_mark_comes_when_all_before_it_is_acknowledged(self, backlog: Backlog) -> None:
        write(backlog, 0, b"a")
        assert backlog.mark(7)
        first = piece(backlog)
        assert backlog.take() is None
        backlog.acknowledged(first)
        assert backlog.take() == Mark(7)

    def test_nothing_behind_a_mark_comes_before_it_is_done_with(self, backlog: Backlog) -> None:
        backlog.mark(7)
        write(backlog, 0, b"b")
        backlog.mark(8)
        assert backlog.take() == Mark(7)
        assert backlog.take() is None
        backlog.go_on(6)
        assert backlog.take() is None
        backlog.go_on(7)
        assert piece(backlog).data == b"b"

    def test_the_end_of_the_copy_holds_nothing_up(self, backlog: Backlog) -> None:
        backlog.copied()
        write(backlog, 0, b"b")
        assert backlog.take() == Copied()
        assert piece(backlog).data == b"b"

    def test_a_closed_backlog_takes_none(self) -> None:
        assert not Backlog(LIMIT).mark(0)

    def test_the_end_of_an_epoch_is_that_of_the_last_disk(self) -> None:
        told: list[int] = []
        marks = Marks(2, told.append)
        marks.on_reached("xvda", 0)  # with nothing queued it may come before its mark
        marks.on_marked("xvda", 0)
        assert not marks.marked(0)
        marks.on_marked("xvdb", 0)
        assert marks.marked(0)
        assert told == []
        marks.on_reached("xvdb", 0)
        marks.on_reached("xvdb", 0)
        assert told == [0]
        assert not marks.marked(1)


class TestRoom:
    def test_a_write_waits_for_room(self, backlog: Backlog) -> None:
        write(backlog, 0, bytes(LIMIT))
        second = Waiting(lambda: write(backlog, LIMIT, b"b"))
        assert second.waits()
        backlog.acknowledged(piece(backlog))
        assert second.ends()

    def test_writes_do_not_wait_for_the_copy_nor_it_for_them(self, backlog: Backlog) -> None:
        assert backlog.copy(0, LIMIT, lambda o, n: [Piece(o, n, bytes(n), copied=True)])
        write(backlog, LIMIT, bytes(LIMIT))
        more = Waiting(
            lambda: backlog.copy(2 * LIMIT, 1, lambda o, n: [Piece(o, n, bytes(n), copied=True)])
        )
        assert more.waits()
        backlog.acknowledged(piece(backlog))
        assert more.ends()

    def test_dropping_lets_everybody_go(self, backlog: Backlog) -> None:
        write(backlog, 0, bytes(LIMIT))
        flying = piece(backlog)
        second = Waiting(lambda: write(backlog, LIMIT, b"b"))
        assert second.waits()
        backlog.drop()
        assert second.ends()
        assert backlog.take() is None
        backlog.acknowledged(flying)
        assert backlog.figures() == {"held_octets": 0, "waiting": 0, "in_flight": 0}
        assert not backlog.copy(0, 1, lambda o, n: [Piece(o, n, bytes(n), copied=True)])


class TestWaking:
    def test_whoever_found_nothing_is_woken_once(self, backlog: Backlog) -> None:
        woken: list[int] = []
        backlog.wake = lambda: woken.append(1)
        write(backlog, 0, b"a")
        assert woken == []  # it has not looked yet
        piece(backlog)
        assert backlog.take() is None
        span = backlog.begin(1, 1, b"b")
        assert woken == []  # it would get in the way of the write itself
        backlog.end(span)
        write(backlog, 2, b"c")
        assert woken == [1]

    def test_the_end_of_a_mark_wakes(self, backlog: Backlog) -> None:
        woken: list[int] = []
        backlog.wake = lambda: woken.append(1)
        backlog.mark(0)
        write(backlog, 0, b"a")
        backlog.take()
        assert backlog.take() is None
        backlog.go_on(0)
        assert woken == [1]
