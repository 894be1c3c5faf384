"""Guards the controller's FIFOs: one flush, one answer, and nothing but ``done`` is a yes."""

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk.tapdisk.errors import (
    BadReply,
    FifoUnusable,
    FlushFailed,
    FlushOutstanding,
    FlushOverdue,
    TapdiskError,
    TapdiskGone,
)
from remus_ha.disk.tapdisk.fifo import FlushController, TapdiskFifos, control_path, message_path
from remus_ha.waiting import readable

from .peers import DEADLINE_S, Clock

ADDRESS = "192.0.2.7:9000"


@pytest.fixture
def tapdisk(tmp_path: Path) -> Iterator[TapdiskFifos]:
    fifos = TapdiskFifos(ADDRESS, tmp_path)
    yield fifos
    fifos.close()


@pytest.fixture
def controller(tapdisk: TapdiskFifos, tmp_path: Path) -> Iterator[FlushController]:
    made = FlushController(ADDRESS, tmp_path)
    yield made
    made.close()


def raw(path: Path) -> int:
    """The other end without our code."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def reply(tmp_path: Path, octets: bytes) -> None:
    fd = raw(message_path(ADDRESS, tmp_path))
    os.write(fd, octets)
    os.close(fd)


def speak_for_ever(tapdisk: TapdiskFifos) -> None:
    while True:
        tapdisk.done()


def test_flush_and_done(controller: FlushController, tapdisk: TapdiskFifos) -> None:
    assert tapdisk.flushes() == 0
    controller.begin(DEADLINE_S)
    assert readable(tapdisk, DEADLINE_S)
    assert tapdisk.flushes() == 1
    assert not controller.answered()
    tapdisk.done()
    assert readable(controller, DEADLINE_S)
    assert controller.answered()
    assert not controller.answered()


def test_octets_are_those_of_old(controller: FlushController, tmp_path: Path) -> None:
    fd = raw(control_path(ADDRESS, tmp_path))
    controller.begin(DEADLINE_S)
    assert os.read(fd, 79) == b"flush"
    os.close(fd)


def test_answers_are_those_of_old(tapdisk: TapdiskFifos, tmp_path: Path) -> None:
    fd = raw(message_path(ADDRESS, tmp_path))
    tapdisk.done()
    assert os.read(fd, 79) == b"done"
    tapdisk.fail()
    assert os.read(fd, 79) == b"fail"
    os.close(fd)


def test_waiting(controller: FlushController, tapdisk: TapdiskFifos) -> None:
    seen: list[int] = []

    def answer() -> None:
        """Only to a flush that is there: what is said before counts for nothing."""
        assert readable(tapdisk, DEADLINE_S)
        seen.append(tapdisk.flushes())
        tapdisk.done()

    for n in range(3):
        answering = threading.Thread(target=answer)
        answering.start()
        controller.flush(DEADLINE_S)
        answering.join()
        assert seen == [1] * (n + 1)


def test_answer_in_pieces(controller: FlushController, tmp_path: Path) -> None:
    controller.begin(DEADLINE_S)
    for piece, whole in ((b"d", False), (b"on", False), (b"edone", True)):
        reply(tmp_path, piece)
        assert controller.answered() is whole


def test_stale_answers_are_drained(controller: FlushController, tmp_path: Path) -> None:
    """Of a controller that did not wait: they must not answer this one's flush."""
    reply(tmp_path, b"donefaildone")
    controller.begin(DEADLINE_S)
    assert not controller.answered()
    reply(tmp_path, b"done")
    assert controller.answered()


def test_two_flushes_never_become_one(controller: FlushController, tapdisk: TapdiskFifos) -> None:
    controller.begin(DEADLINE_S)
    with pytest.raises(FlushOutstanding):
        controller.begin(DEADLINE_S)
    with pytest.raises(FlushOutstanding):
        controller.flush(DEADLINE_S)
    assert tapdisk.flushes() == 1
    tapdisk.done()
    assert controller.answered()
    controller.begin(DEADLINE_S)
    assert tapdisk.flushes() == 1


@pytest.mark.parametrize("octets", [b"flushflush", b"flush\nflush\n"])
def test_tapdisk_counts_every_flush(tapdisk: TapdiskFifos, tmp_path: Path, octets: bytes) -> None:
    """Of a controller that does not wait; the driver takes both for one."""
    fd = raw(control_path(ADDRESS, tmp_path))
    os.write(fd, octets)
    assert tapdisk.flushes() == 2
    assert tapdisk.flushes() == 0
    os.close(fd)


@pytest.mark.parametrize("octets", [b"flus", b"xflush", b"FLUSH", b"\n"])
def test_tapdisk_drops_what_is_no_command(
    tapdisk: TapdiskFifos, tmp_path: Path, octets: bytes
) -> None:
    fd = raw(control_path(ADDRESS, tmp_path))
    os.write(fd, octets)
    assert tapdisk.flushes() == 0
    os.write(fd, b"flush")
    assert tapdisk.flushes() == 1
    os.close(fd)


def test_fail_is_final(controller: FlushController, tapdisk: TapdiskFifos) -> None:
    controller.begin(DEADLINE_S)
    tapdisk.fail()
    for _ in range(2):
        with pytest.raises(FlushFailed) as caught:
            controller.answered()
    assert caught.value.advice.startswith("Release no output")
    tapdisk.done()
    with pytest.raises(FlushFailed):
        controller.begin(DEADLINE_S)
    assert tapdisk.flushes() == 1


def test_silence_is_final(tapdisk: TapdiskFifos, tmp_path: Path) -> None:
    """As of a driver that is not connected; an answer that comes later counts for nothing."""
    clock = Clock()
    controller = FlushController(ADDRESS, tmp_path, clock=clock)
    controller.begin(0.5)
    clock.now += 0.49
    assert not controller.answered()
    clock.now += 0.02
    with pytest.raises(FlushOverdue, match=r"within 0\.5 s") as caught:
        controller.answered()
    assert caught.value.advice.startswith("Release no output")
    tapdisk.done()
    for call in (controller.answered, lambda: controller.flush(DEADLINE_S)):
        with pytest.raises(FlushOverdue):
            call()
    controller.close()


def test_waiting_ends_at_the_deadline(controller: FlushController) -> None:
    begun = time.monotonic()
    with pytest.raises(FlushOverdue):
        controller.flush(0.05)
    assert 0.05 <= time.monotonic() - begun < DEADLINE_S / 2


def test_half_an_answer_is_none(controller: FlushController, tmp_path: Path) -> None:
    reply_later = threading.Timer(0.02, reply, (tmp_path, b"don"))
    reply_later.start()
    with pytest.raises(FlushOverdue):
        controller.flush(0.1)
    reply_later.join()


def test_another_answer_is_no_yes(controller: FlushController, tmp_path: Path) -> None:
    controller.begin(DEADLINE_S)
    reply(tmp_path, b"don\n")
    with pytest.raises(BadReply, match=r"b'don\\n'"):
        controller.answered()


def test_death_of_tapdisk_ends_the_wait_at_once(
    controller: FlushController, tapdisk: TapdiskFifos
) -> None:
    death = threading.Timer(0.05, tapdisk.close)
    death.start()
    begun = time.monotonic()
    with pytest.raises(TapdiskGone, match="it has closed its end"):
        controller.flush(DEADLINE_S * 3)
    assert time.monotonic() - begun < DEADLINE_S
    death.join()


def test_dead_tapdisk_takes_no_flush(controller: FlushController, tapdisk: TapdiskFifos) -> None:
    tapdisk.close()
    with pytest.raises(TapdiskGone):
        controller.begin(DEADLINE_S)


def test_fifos_without_a_tapdisk(tmp_path: Path) -> None:
    """Left over, or not made yet: nobody would ever answer."""
    with pytest.raises(TapdiskGone, match="No such file"):
        FlushController(ADDRESS, tmp_path)
    for path in (control_path(ADDRESS, tmp_path), message_path(ADDRESS, tmp_path)):
        os.mkfifo(path)
    with pytest.raises(TapdiskGone, match="No such device"):
        FlushController(ADDRESS, tmp_path)


def test_tapdisk_makes_and_removes_its_fifos(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "tap"
    fifos = TapdiskFifos(ADDRESS, directory)
    found = {path.name: path.stat() for path in directory.iterdir()}
    assert set(found) == {"remus_192.0.2.7_9000", "remus_192.0.2.7_9000.msg"}
    assert all(stat.S_ISFIFO(s.st_mode) and not s.st_mode & 0o077 for s in found.values())
    fifos.close()
    assert list(directory.iterdir()) == []
    fifos.close()


def test_tapdisk_takes_over_what_is_left(tmp_path: Path) -> None:
    os.mkfifo(control_path(ADDRESS, tmp_path))
    fifos = TapdiskFifos(ADDRESS, tmp_path)
    controller = FlushController(ADDRESS, tmp_path)
    controller.begin(DEADLINE_S)
    assert fifos.flushes() == 1
    controller.close()
    controller.close()
    fifos.close()


def test_tapdisk_outlives_its_controllers(tapdisk: TapdiskFifos, tmp_path: Path) -> None:
    for _ in range(2):
        controller = FlushController(ADDRESS, tmp_path)
        controller.begin(DEADLINE_S)
        controller.close()
        assert tapdisk.flushes() == 1
        assert tapdisk.flushes() == 0
        assert not readable(tapdisk, 0)


@pytest.mark.parametrize("name", [control_path, message_path])
def test_what_is_no_fifo_is_left_alone(tmp_path: Path, name: type) -> None:
    path: Path = name(ADDRESS, tmp_path)
    path.write_text("mine")
    with pytest.raises(FifoUnusable, match="it is something else"):
        TapdiskFifos(ADDRESS, tmp_path)
    with pytest.raises(TapdiskError):
        FlushController(ADDRESS, tmp_path)
    assert path.read_text() == "mine"


def test_no_way_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    os.mkfifo(target)
    control_path(ADDRESS, tmp_path).symlink_to(target)
    with pytest.raises(FifoUnusable):
        TapdiskFifos(ADDRESS, tmp_path)


def test_no_directory_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FifoUnusable, match="Not a directory"):
        TapdiskFifos(ADDRESS, tmp_path / "file" / "tap")


def test_nobody_reads_the_answers(tapdisk: TapdiskFifos) -> None:
    with pytest.raises(FifoUnusable):
        speak_for_ever(tapdisk)
