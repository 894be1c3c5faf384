"""``-b``: epochs like any other, of which nobody has a copy, and the status does not pretend."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.cmd.remus_ha import main
from remus_ha.control_socket import NotRunning
from remus_ha.core.primary import State
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.base import Life
from remus_ha.netbuf.modes import Mode
from tests.functional.checkpoint.pair import SIZE, Pair
from tests.functional.hypervisor.fake_helper import notes


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    yield made
    with contextlib.suppress(NotRunning):  # it has ended already
        made.unprotect()
    made.close()


def wait_epochs(pair: Pair, count: int = 5) -> None:
    before = pair.status().get("acked", -1)
    pair.wait(lambda: pair.status().get("acked", -1) >= before + count)


def drain_of(pair: Pair) -> int:
    """Pid of the process that throws the stream away."""
    drain = pair.primary_process._peer._drain
    assert drain is not None
    return int(drain.pid)


def test_epochs_follow_each_other_and_each_lets_its_output_out(pair: Pair) -> None:
    pair.start_blackhole()
    wait_epochs(pair)
    status = pair.status()
    assert (status["peer"], status["figures"]["octets"]) == ("blackhole", SIZE)
    assert status["sent_octets"] > 4 * SIZE
    hooks = pair.story.of("postsuspend", "preresume", "commit")
    assert hooks[:6] == ["postsuspend", "preresume", "commit"] * 2
    assert pair.buffer.mode in (Mode.OPEN, Mode.CLOSED)


def test_it_is_never_said_to_be_protected(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    seen: set[str] = set()
    pair.buffer.look = lambda _hook: seen.add(pair.primary_process.status()["state"])
    pair.start_blackhole()
    wait_epochs(pair)
    assert pair.status()["detail"] == State.PROTECTED.value
    assert pair.status()["state"] == "degraded"
    assert main(["status"]) == 0
    assert "web1: degraded  epoch " in capsys.readouterr().out
    assert "protected" not in seen


def test_its_disks_cannot_be_verified(pair: Pair) -> None:
    pair.start_blackhole()
    wait_epochs(pair)
    with pytest.raises(RemusError) as refused:
        pair.primary_process._answer({"command": "verify"})
    assert refused.value.code == "VERIFY-001"


def test_its_end_leaves_the_guest_running_and_nothing_behind(pair: Pair) -> None:
    pair.start_blackhole()
    wait_epochs(pair)
    drain = drain_of(pair)
    assert main(["unprotect", "web1"]) == 0
    assert pair.primary.join() is State.STOPPED
    assert pair.guest.life() is Life.RUNNING
    assert (pair.buffer.mode, pair.buffer.released_at_teardown) == (Mode.ABSENT, True)
    assert not Path(f"/proc/{drain}").exists()
    assert "cleaned" in notes(pair.root)
    assert pair.result()["state"] == "stopped"
    assert rundir.sessions("primary") == []


def test_without_its_drain_the_guest_goes_on(pair: Pair) -> None:
    """Nothing takes the stream any more: as a backup that is lost."""
    pair.start_blackhole()
    wait_epochs(pair)
    os.kill(drain_of(pair), signal.SIGKILL)
    assert pair.primary.join() is State.ALONE
    assert pair.guest.life() is Life.RUNNING
    assert pair.buffer.mode is Mode.ABSENT
    assert pair.result()["state"] == "degraded"
