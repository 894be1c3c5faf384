"""Conversations with programs, here ones of this machine in place of a host's."""

import subprocess
import threading
import time
from contextlib import closing
from typing import Any, cast

import pytest

from remus_ha.lab.demo.clocks import HostClock
from remus_ha.lab.demo.errors import RemoteEnded
from remus_ha.lab.demo.remote import Dialogue, Follower
from remus_ha.lab.host import Host


class _HereShell:
    def popen(self, command: str, **options: Any) -> "subprocess.Popen[bytes]":
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options}
        return subprocess.Popen(["sh", "-c", command], **pipes)


class _Here:
    name = "here"
    shell = _HereShell()


HERE = cast(Host, _Here())


def test_a_line_is_answered_by_a_line() -> None:
    with closing(Dialogue(HERE, "exec sed -u 's/^/you said /'")) as dialogue:
        assert [dialogue.ask("one"), dialogue.ask("two")] == ["you said one", "you said two"]


def test_a_long_answer_comes_whole() -> None:
    command = "read line; head -c 300000 /dev/zero | tr '\\0' x; echo; sleep 60"
    with closing(Dialogue(HERE, command)) as dialogue:
        assert dialogue.ask("go") == "x" * 300_000


@pytest.mark.parametrize("command", ["exit 0", "read line; exit 0", "exec sleep 60"])
def test_no_answer_is_an_error(command: str) -> None:
    with closing(Dialogue(HERE, command)) as dialogue, pytest.raises(RemoteEnded):
        dialogue.ask("hello", timeout_s=0.3)


def test_a_follower_takes_lines_while_they_come_and_none_after_its_end() -> None:
    lines: list[str] = []
    came = threading.Event()

    def take(line: str) -> None:
        lines.append(line)
        came.set()

    with closing(Follower(HERE, "echo one; exec sleep 60", take)):
        assert came.wait(10)
    assert lines == ["one"]


def test_the_clock_of_this_very_machine_is_right() -> None:
    with closing(HostClock(HERE)) as clock:
        now = time.monotonic()
        assert clock.offset.of_monotonic(now) == pytest.approx(now, abs=clock.offset.error_s)
        assert clock.offset.of_wall(time.time()) == pytest.approx(time.monotonic(), abs=0.1)
