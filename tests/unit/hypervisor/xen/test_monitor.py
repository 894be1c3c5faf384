"""Telling xl's monitor of a domain from other processes named xl, and ending it."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remus_ha.hypervisor.xen import monitor
from remus_ha.hypervisor.xen.monitor import is_minded, relieve


def process(proc: Path, pid: int, program: str, output: str) -> None:
    directory = proc / str(pid)
    (directory / "fd").mkdir(parents=True)
    (directory / "cmdline").write_bytes(program.encode() + b"\0create\0web1.cfg\0")
    (directory / "fd" / "1").symlink_to(output)


@pytest.mark.parametrize(
    ("program", "output", "minded"),
    [
        ("xl", "/var/log/xen/xl-web1.log", True),
        ("/usr/sbin/xl", "/var/log/xen/xl-web1.log.1", True),
        ("/usr/lib/xen-4.20/bin/xl", "/var/log/xen/xl-web1.log", True),
        ("xl", "/var/log/xen/xl-web1--incoming.log", True),
        ("xl", "/var/log/xen/xl-web10.log", False),
        ("xl", "/dev/pts/0", False),
        ("tail", "/var/log/xen/xl-web1.log", False),
    ],
)
def test_it_is_known_by_its_log(tmp_path: Path, program: str, output: str, minded: bool) -> None:
    process(tmp_path, 7, program, output)
    (tmp_path / "self").mkdir()
    (tmp_path / "8").mkdir()  # it has ended meanwhile
    assert is_minded("web1", tmp_path) is minded


def within_s(seconds: float, is_so: Callable[[], bool]) -> bool:
    """Whether it becomes so."""
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


@pytest.fixture
def xl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the monitor of ``web1``."""
    monkeypatch.setattr(monitor, "LOGS", tmp_path)
    program = shutil.copy("/bin/sleep", tmp_path / "xl")
    with (tmp_path / "xl-web1.log").open("w") as log:
        child = subprocess.Popen([program, "60"], stdout=log)
    # It has a command line a moment after it is known to have been started.
    assert within_s(20, lambda: is_minded("web1"))
    yield child
    child.kill()
    child.wait()


def state(child: subprocess.Popen[bytes]) -> str:
    """Of the process, as the kernel tells it."""
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_it_stands_still_for_the_look_and_is_ended(xl: subprocess.Popen[bytes]) -> None:
    def has_ended() -> bool:
        assert within_s(20, lambda: state(xl) == "T"), "it has not taken the signal"
        return False

    assert relieve("web1", has_ended)
    assert xl.wait(20) == -9
    assert not is_minded("web1")


def test_it_goes_on_where_the_domain_has_ended(xl: subprocess.Popen[bytes]) -> None:
    assert not relieve("web1", lambda: True)
    assert state(xl) in "RS"
    assert is_minded("web1")


def test_nobody_is_asked_about_a_domain_that_nobody_minds(xl: subprocess.Popen[bytes]) -> None:
    assert relieve("web2", lambda: True)
    assert is_minded("web1")


def test_it_goes_on_where_the_look_fails(xl: subprocess.Popen[bytes]) -> None:
    def has_ended() -> bool:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        relieve("web1", has_ended)
    assert state(xl) in "RS"
