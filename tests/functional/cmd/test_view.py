"""What ``remus-ha protect`` shows, on a real terminal and in a pipe, and what ctrl-C does there."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.core.primary import State
from remus_ha.hypervisor.base import Life
from remus_ha.waiting import readable
from tests.functional.checkpoint.pair import NAME, Pair
from tests.unit.hypervisor.xen.listing import UUID

PROGRAM = """
import os, sys
terminal, detach, uuid, name = sys.argv[1:]
if terminal:
    os.login_tty(0)
from remus_ha.cmd.view import View
from remus_ha.exceptions import RemusError
try:
    sys.exit(View(uuid, name, detach=bool(detach)).show())
except RemusError as e:
    sys.exit(f"remus-ha: {e}")
"""
FIGURES = rf"\r\x1b\[K{NAME}: protected  epoch (\d+)  \d+\.\d/s  pause "
CTRL_C = b"\x03"
STATUS = {"name": NAME, "state": "protected", "detail": "protected", "events": []}
DEADLINE_S = 30.0


class Shown:
    """The view in a process of its own; ``text`` is what it has shown so far, errors too."""

    def __init__(self, root: Path, *, terminal: bool, detach: bool = False) -> None:
        self.fd, theirs = pty.openpty() if terminal else os.pipe()
        words = ["terminal" if terminal else "", "detach" if detach else "", UUID, NAME]
        names = {"RUN": "run", "STATE": "state", "LOG": "log"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **{f"REMUS_HA_{k}_DIR": str(root / v) for k, v in names.items()}},
        )
        os.close(theirs)
        self.text = ""

    def fileno(self) -> int:
        return self.fd

    def _read(self, deadline: float) -> bool:
        """Some more of it; whether there is any."""
        left_s = max(0.0, deadline - time.monotonic())
        assert readable(self, left_s), f"nothing more by the deadline: {self.text!r}"
        try:
            octets = os.read(self.fd, 65536)
        except OSError:  # a terminal that nobody has open any more
            octets = b""
        self.text += octets.decode()
        return bool(octets)

    def wait(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + DEADLINE_S
        while not (found := re.search(pattern, self.text, re.DOTALL)):
            assert self._read(deadline), f"it has ended: {self.text!r}"
        return found

    def end(self) -> int:
        """Its status, once all is read."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(deadline):
            pass
        return self.process.wait(DEADLINE_S)

    def type(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def hang_up(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.fd >= 0:
            os.close(self.fd)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    yield made
    made.close()


Show = Callable[..., Shown]


@pytest.fixture
def show(pair: Pair) -> Iterator[Show]:
    """``show(terminal=…, detach=…)`` begins to show the pair's guest."""
    begun: list[Shown] = []

    def begin(**how: bool) -> Shown:
        begun.append(Shown(pair.root, **how))
        return begun[-1]

    yield begin
    for shown in begun:
        shown.close()


def assert_ended_on_purpose(pair: Pair) -> None:
    assert pair.primary.join() is State.STOPPED
    assert pair.guest.life() is Life.RUNNING


def test_a_terminal_has_one_line_of_figures_that_moves(pair: Pair, show: Show) -> None:
    shown = show(terminal=True)
    pair.start()
    first = shown.wait(FIGURES)
    later = shown.wait(FIGURES + r"[^\n]*" + FIGURES)  # in the same line
    assert int(later[2]) > int(first[1])
    shown.type(CTRL_C)
    assert shown.end() == 0
    assert_ended_on_purpose(pair)
    events = re.findall(r"\r\x1b\[K\d\d:\d\d:\d\d web1: ([^\r\n]*)\r\n", shown.text)
    assert any("pairing -> protected" in event for event in events)
    assert shown.text.endswith(f"{NAME}: stopped\r\n")


def test_a_pipe_gets_plain_lines(pair: Pair, show: Show) -> None:
    shown = show(terminal=False)
    pair.start()
    shown.wait("pairing -> protected")
    pair.wait_protected(epochs=50)
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == 0
    assert_ended_on_purpose(pair)
    lines = shown.text.splitlines()
    assert not [line for line in lines if not re.match(r"(\d\d:\d\d:\d\d )?web1: ", line)]
    assert not re.search(r"[\r\x1b]|epoch \d+  ", shown.text)
    assert lines[-1] == f"{NAME}: stopped"
    told = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines]
    assert len(told) == len(set(told)), "something is told twice"


def test_being_terminated_is_as_ctrl_c(pair: Pair, show: Show) -> None:
    shown = show(terminal=False)
    pair.start()
    shown.wait("pairing -> protected")
    shown.process.terminate()
    assert shown.end() == 0
    assert_ended_on_purpose(pair)


def test_a_terminal_that_goes_away_ends_nothing(pair: Pair, show: Show) -> None:
    shown = show(terminal=True)
    pair.start()
    shown.wait(FIGURES)
    shown.hang_up()
    assert shown.process.wait(DEADLINE_S) == -signal.SIGHUP
    before = pair.status()["acked"]
    pair.wait_protected(epochs=before + 5)


@pytest.mark.parametrize("terminal", [True, False])
def test_detached_it_returns_once_the_guest_is_protected(
    pair: Pair, show: Show, terminal: bool
) -> None:
    shown = show(terminal=terminal, detach=True)
    pair.start()
    assert shown.end() == 0
    assert pair.status()["state"] == "protected"


def test_detached_it_returns_without_a_backup_too(pair: Pair, show: Show) -> None:
    shown = show(terminal=False, detach=True)
    pair.start_blackhole()
    assert shown.end() == 0
    pair.unprotect()
    assert_ended_on_purpose(pair)


def test_a_protection_that_is_lost_is_a_failure(pair: Pair, show: Show) -> None:
    shown = show(terminal=True)
    pair.start()
    shown.wait(FIGURES)
    pair.cut()
    assert shown.end() == 1
    assert "remus-ha: PROTECT-008: " in shown.text


class Dying:
    """A control socket whose process dies at the first ``unprotect``; the next is there at once."""

    def __init__(self, path: Path) -> None:
        self.wishes = 0
        path.parent.mkdir(parents=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while self.wishes < 2:
            client, _ = self._listener.accept()
            with client, client.makefile("rwb") as f:
                wish = json.loads(f.readline())["command"] == "unprotect"
                self.wishes += wish
                if not wish or self.wishes > 1:
                    f.write(json.dumps(STATUS).encode() + b"\n")
        self._listener.close()


def test_ctrl_c_is_said_again_to_a_process_that_is_started_again(pair: Pair, show: Show) -> None:
    path = rundir.control_socket("primary", UUID)
    dying = Dying(path)
    shown = show(terminal=True)
    shown.wait(f"{NAME}: protected")
    shown.type(CTRL_C)
    dying.thread.join(DEADLINE_S)
    rundir.write_json(path.parent / "result.json", {"state": "stopped"})
    assert shown.end() == 0
    assert dying.wishes == 2
