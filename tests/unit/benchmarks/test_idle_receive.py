"""The failure detector that is put beside ``xl remus``, as a process with a real pipe."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bed import REMOTE

IDLE_S = 0.3


class Receiver:
    """``idle_receive`` around ``cat`` into a file."""

    def __init__(self, directory: Path) -> None:
        self.state, self.got = directory / "state", directory / "got"
        command = ["sh", "-c", f"exec cat >{self.got}"]
        words = [sys.executable, REMOTE / "idle_receive.py", self.state, str(IDLE_S), *command]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, bufsize=0)
        assert self.child.stdin is not None
        self.stdin = self.child.stdin

    def arm(self) -> None:
        pid = Path(f"{self.state}.pid")
        deadline = time.monotonic() + 10
        while not pid.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert int(pid.read_text()) == self.child.pid
        os.kill(self.child.pid, signal.SIGUSR1)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    yield made
    made.stdin.close()
    made.child.kill()
    made.child.wait()


def test_data_passes_and_an_end_is_an_end(receiver: Receiver) -> None:
    receiver.stdin.write(b"x" * 300_000)
    receiver.stdin.close()
    assert receiver.child.wait(10) == 0
    assert receiver.got.read_bytes() == b"x" * 300_000


def test_an_idle_time_means_nothing_before_it_is_armed(receiver: Receiver) -> None:
    receiver.stdin.write(b"one")
    with pytest.raises(subprocess.TimeoutExpired):
        receiver.child.wait(4 * IDLE_S)
    receiver.stdin.write(b"two")
    receiver.stdin.close()
    assert receiver.child.wait(10) == 0
    assert receiver.got.read_bytes() == b"onetwo"


def test_armed_it_ends_the_commands_input_after_an_idle_time(receiver: Receiver) -> None:
    receiver.arm()
    receiver.stdin.write(b"last")
    said_s = time.monotonic()
    assert receiver.child.wait(10) == 0
    assert receiver.got.read_bytes() == b"last"
    detected_s = float(Path(f"{receiver.state}.detected").read_text())
    assert IDLE_S * 0.9 <= detected_s - said_s <= 5
