"""What ``remus-ha cleanup`` does with devices that no session knows, and how long it waits."""

import shutil
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.cmd import cleanup
from remus_ha.hypervisor.xen.driver import Domain
from remus_ha.netbuf.sweep import Leftover
from tests.unit.control_server import UUID, Server


class NoDomains:
    """In place of XenDriver, on a host without guests."""

    def domains(self) -> list[Domain]:
        return []


@pytest.fixture(autouse=True)
def no_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "XenDriver", NoDomains)


GONE = Leftover("rh7.0", None, None, "uuid", "session", plugged=True, connected=False)
ORPHAN = Leftover(None, "vif7.0", None, "", "", plugged=False, connected=True)


@pytest.fixture
def removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Leftover]:
    """What was removed, of the devices of a host whose domain 7 lives."""
    found: list[Leftover] = []
    monkeypatch.setattr(rundir, "ROOT", tmp_path)
    monkeypatch.setattr(cleanup, "remove", lambda leftover, release: found.append(leftover))
    monkeypatch.setattr(cleanup, "_is_dead", lambda leftover: leftover.vif is None)
    return found


def test_what_a_dead_domain_left_is_removed(
    removed: list[Leftover], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "find_leftovers", lambda: (GONE,))
    assert cleanup.run(Namespace(timeout=1.0)) == 0
    assert removed == [GONE]


def test_what_holds_a_living_guest_is_named_and_stays(
    removed: list[Leftover], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "find_leftovers", lambda: (ORPHAN, GONE))
    with pytest.raises(cleanup.Unclaimed, match=r"vif7\.0"):
        cleanup.run(Namespace(timeout=1.0))
    assert removed == [GONE]


class Process(Server):
    """A session's process, in one state."""

    def __init__(self, path: Path, state: str) -> None:
        self._state = state
        super().__init__(path)

    def answer(self, request: dict[str, Any]) -> Any:
        return {"state": self._state}


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A primary's session without a process, and no devices."""
    root = Path(tempfile.mkdtemp(prefix="rh", dir="/tmp"))  # a unix socket's path has to be short
    monkeypatch.setattr(rundir, "ROOT", root / "run")
    monkeypatch.setattr(rundir, "LOGS", root / "log")
    monkeypatch.setattr(cleanup, "find_leftovers", tuple)
    rundir.write_json(rundir.directory("primary", UUID) / "session.json", {"name": "web1"})
    yield
    shutil.rmtree(root)


@contextmanager
def starting(monkeypatch: pytest.MonkeyPatch, after_s: float, state: str) -> Iterator[None]:
    """Where a guardian would be started, its process is there a while later, in one state."""
    begun: list[Process] = []
    path = rundir.control_socket("primary", UUID)
    timer = threading.Timer(after_s, lambda: begun.append(Process(path, state)))

    def start(_command: Sequence[str], _fds: Sequence[int], _log: int) -> None:
        timer.start()

    monkeypatch.setattr(cleanup, "start_detached", start)
    yield
    timer.join()
    for server in begun:
        server.close()


@pytest.mark.usefixtures("left")
def test_the_time_that_a_process_takes_to_start_is_not_the_witness_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with starting(monkeypatch, 0.5, "protected"):
        assert cleanup.run(Namespace(timeout=0.1)) == 0


@pytest.mark.usefixtures("left")
def test_a_witness_that_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        starting(monkeypatch, 0.0, "asking"),
        pytest.raises(cleanup.CleanupHolds, match="web1"),
    ):
        cleanup.run(Namespace(timeout=0.1))


@pytest.mark.usefixtures("left")
def test_a_process_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "START_S", 0.1)
    monkeypatch.setattr(cleanup, "start_detached", lambda *_: None)
    with pytest.raises(cleanup.CleanupSilent, match="web1"):
        cleanup.run(Namespace(timeout=0.1))
