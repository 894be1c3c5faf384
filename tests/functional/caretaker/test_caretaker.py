"""Somebody is always there: caretaker and ward as real processes, killed one at a time."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remus_ha import caretaker
from remus_ha.caretaker import CareLink
from remus_ha.waiting import readable

ROOT = Path(__file__).parents[3]
DEADLINE_S = 30.0


class Care:
    """A caretaker with its ward, what they have written, and the read end of what they hold."""

    def __init__(self, directory: Path, stall_s: float = 30.0, *more: str) -> None:
        self.log = directory / "log"
        self.pipe, write_end = os.pipe()
        arguments = [str(directory), str(stall_s), "--held", str(write_end), *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.functional.caretaker.carer", *arguments],
            pass_fds=[write_end],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd="/",
        )
        os.close(write_end)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def of(self, who: str) -> list[str]:
        return [line for line in self.lines() if line.startswith(who)]

    def pid(self, who: str) -> int:
        """Of the latest one."""
        return int(self.of(who)[-1].split()[1])

    def wait(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < until, self.lines()
            time.sleep(0.02)

    def wait_for(self, who: str, count: int) -> int:
        self.wait(lambda: len(self.of(who)) >= count)
        return self.pid(who)

    def eof(self, seconds: float = 0.0) -> bool:
        """Whether nobody holds the write end any more."""
        return readable(self.pipe, seconds) and not os.read(self.pipe, 1)

    def _living(self) -> list[int]:
        """Every process of this test: they have its directory among their arguments."""
        mine = os.fsencode(self.log.parent)
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if mine in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found

    def close(self) -> None:
        """Stopped first, none of them starts another one; one that was just starting comes next."""
        while living := self._living():
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in living:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            self.process.poll()
            time.sleep(0.05)
        self.process.wait()
        os.close(self.pipe)


@pytest.fixture
def care(tmp_path: Path) -> Iterator[Care]:
    made = Care(tmp_path)
    made.wait_for("ward", 1)
    yield made
    made.close()


def test_a_ward_that_dies_is_mourned_and_started_again(care: Care) -> None:
    first = care.pid("ward")
    os.kill(first, signal.SIGKILL)
    second = care.wait_for("ward", 2)
    assert second != first
    assert [line.split()[0] for line in care.lines()] == ["carer", "ward", "loss", "ward"]
    assert " new " in care.of("ward")[0]
    assert " again " in care.of("ward")[1]
    assert not care.eof()


def test_the_first_ward_is_a_copy_of_whoever_has_it_loaded_and_no_other(tmp_path: Path) -> None:
    care = Care(tmp_path, 30.0, "--loaded")
    try:
        first = care.wait_for("ward", 1)
        title = Path(f"/proc/{first}/cmdline").read_text().rstrip("\0")
        assert title.startswith(f"{sys.executable} -m tests.functional.caretaker.ward ")
        care.process.kill()
        care.process.wait()
        care.wait_for("carer", 2)
        assert care.pid("ward") == first, "a copy finds another caretaker too"
        os.kill(first, signal.SIGKILL)
        care.wait_for("ward", 2)
        assert [line.split()[3] for line in care.of("ward")] == ["copy", "itself"]
        assert not care.eof()
    finally:
        care.close()


def test_again_and_again(care: Care) -> None:
    for n in range(1, 4):
        os.kill(care.wait_for("ward", n), signal.SIGKILL)
    care.wait_for("ward", 4)
    assert len(care.of("loss")) == 3
    assert care.process.poll() is None


def test_a_ward_that_stands_still_is_killed_and_started_again(tmp_path: Path) -> None:
    care = Care(tmp_path, stall_s=1.0)
    try:
        first = care.wait_for("ward", 1)
        time.sleep(1.5)
        assert care.pid("ward") == first, "it beats, and is left alone"
        os.kill(first, signal.SIGSTOP)
        before = time.monotonic()
        care.wait_for("ward", 2)
        assert time.monotonic() - before >= 0.4  # its last beat is half a second old at most
        assert not Path(f"/proc/{first}").exists()
        assert care.of("loss") == ["loss"]
    finally:
        care.close()


def test_a_caretaker_that_dies_is_replaced_by_one_that_cares(care: Care) -> None:
    ward = care.pid("ward")
    care.process.kill()
    care.process.wait()
    care.wait_for("carer", 2)
    assert "adopts" in care.of("carer")[1]
    assert care.pid("ward") == ward, "the ward itself went on"
    assert care.of("loss") == []
    os.kill(ward, signal.SIGKILL)
    care.wait_for("ward", 2)
    assert " again " in care.of("ward")[1]
    assert care.of("loss") == ["loss"]
    assert not care.eof()


def test_an_adopted_ward_that_stands_still_is_killed(tmp_path: Path) -> None:
    care = Care(tmp_path, stall_s=1.0)
    try:
        ward = care.wait_for("ward", 1)
        care.process.kill()
        care.process.wait()
        care.wait_for("carer", 2)
        time.sleep(0.5)  # until the new one has heard of it
        os.kill(ward, signal.SIGSTOP)
        care.wait_for("ward", 2)
    finally:
        care.close()


def test_caretakers_may_die_several_times(care: Care) -> None:
    ward = care.pid("ward")
    for n in range(1, 4):
        os.kill(care.wait_for("carer", n), signal.SIGKILL)
        care.wait_for("carer", n + 1)
    assert care.pid("ward") == ward
    assert not care.eof()


def test_an_end_on_purpose_ends_both(care: Care) -> None:
    os.kill(care.pid("ward"), signal.SIGTERM)
    assert care.process.wait(DEADLINE_S) == 0
    assert [line.split()[0] for line in care.lines()] == ["carer", "ward", "carer"]
    assert care.eof(DEADLINE_S)


def test_an_end_on_purpose_under_another_caretaker(care: Care) -> None:
    care.process.kill()
    second = care.wait_for("carer", 2)
    os.kill(care.pid("ward"), signal.SIGTERM)
    care.wait(lambda: f"carer {second} ends" in care.lines())
    assert care.of("loss") == []
    assert care.eof(DEADLINE_S)


def test_what_is_held_is_let_go_only_by_both(care: Care) -> None:
    """The restoring process takes the pipe's end for the primary's death."""
    ward = care.pid("ward")
    os.kill(ward, signal.SIGUSR2)  # the ward's own
    assert not care.eof(0.3)
    os.kill(ward, signal.SIGUSR1)  # the caretaker's
    assert care.eof(DEADLINE_S)


def test_what_is_held_outlives_either(care: Care) -> None:
    os.kill(care.pid("ward"), signal.SIGKILL)
    care.wait_for("ward", 2)
    assert not care.eof(0.2)
    care.process.kill()
    care.process.wait()
    care.wait_for("carer", 2)
    assert not care.eof(0.2)
    os.kill(care.wait_for("ward", 2), signal.SIGKILL)
    care.wait_for("ward", 3)
    assert not care.eof(0.2)


def test_what_was_let_go_is_not_held_again(care: Care) -> None:
    """The caretaker dies after the promotion: the ward's number for the pipe means nothing now."""
    ward = care.pid("ward")
    os.kill(ward, signal.SIGUSR1)
    os.kill(ward, signal.SIGUSR2)
    assert care.eof(DEADLINE_S)
    care.process.kill()
    care.process.wait()
    care.wait_for("carer", 2)
    time.sleep(0.3)
    assert Path(f"/proc/{ward}").exists(), "it starts a new caretaker and goes on"
    os.kill(ward, signal.SIGKILL)
    care.wait_for("ward", 2)
    assert care.of("ward")[1].endswith("held=-1")


def test_a_loss_that_cannot_be_dealt_with_is_no_reason_to_stop(tmp_path: Path) -> None:
    """What has to be done at a loss fails: the ward is started again all the same."""
    program = (
        "import sys\n"
        "from remus_ha import caretaker\n"
        "def on_loss(): raise RuntimeError('no hypervisor')\n"
        "ward = caretaker.Ward('tests.functional.caretaker.ward', (sys.argv[1], '30'), ())\n"
        "caretaker.Caretaker(ward, on_loss, 'carer').run()\n"
    )
    care = Care.__new__(Care)
    care.log = tmp_path / "log"
    care.pipe = os.open("/dev/null", os.O_RDONLY)
    care.process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        os.kill(care.wait_for("ward", 1), signal.SIGKILL)
        care.wait_for("ward", 2)
    finally:
        care.close()


def test_a_caretaker_that_does_not_listen_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped caretaker reads nothing: beats are dropped, the two words are said later."""
    monkeypatch.setattr(caretaker, "BEAT_INTERVAL_S", 0.0)
    monkeypatch.setattr(caretaker, "QUIT_S", 0.1)
    near, far = socket.socketpair()
    link = CareLink(near.detach(), lambda *_: None)
    before = time.monotonic()
    for _ in range(5000):
        link.beat()
    link.let_go()
    assert time.monotonic() - before < 5.0
    far.setblocking(False)
    heard = b""
    for _ in range(2):
        with contextlib.suppress(BlockingIOError):
            while octets := far.recv(65536):
                heard += octets
        link.beat()
    heard += far.recv(65536)
    assert heard.count(b"L") == 1
    far.close()
    os.close(link.fileno())


def test_speaking_to_a_dead_caretaker_raises_nothing() -> None:
    near, far = socket.socketpair()
    link = CareLink(near.detach(), lambda *_: None)
    link.beat()
    far.close()  # with a beat unread
    link.let_go()
    link.quit()
    os.close(link.fileno())
