import signal
import subprocess
import sys
import time
from pathlib import Path

from remus_ha.lab.process import Process


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_process_is_found_again_and_ended(tmp_path: Path) -> None:
    with sleeper() as child:
        Process.of(child.pid).write(tmp_path / "pid")
        again = Process.read(tmp_path / "pid")
        assert again is not None
        assert again.alive
        again.end()
        assert not again.alive
        child.returncode = -signal.SIGKILL


def test_another_process_with_the_same_pid_is_not_touched() -> None:
    with sleeper() as child:
        real = Process.of(child.pid)
        former = Process(real.pid, real.start - 1)
        assert not former.alive
        assert not former.send(signal.SIGKILL)
        former.end()
        assert real.alive
        child.kill()


def test_a_stopped_process_shows_it() -> None:
    with sleeper() as child:
        process = Process.of(child.pid)
        process.send(signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while process.state != "T" and time.monotonic() < deadline:
            pass
        assert process.state == "T"
        process.end()
        child.returncode = -signal.SIGKILL


def test_what_is_not_there() -> None:
    assert Process.read(Path("/nonexistent")) is None
    with sleeper() as child:
        process = Process.of(child.pid)
        child.kill()
        child.wait()
    assert not process.alive
    process.end()
