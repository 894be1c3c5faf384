"""Shares count for as long as somebody of the session lives, and two at once get one room once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha import rundir, shares
from remus_ha.shares import Counter, Share
from remus_ha.waiting import readable

ONE = Share("backup", "uuid-1", "web1", "a", 1024, 10)
OTHER = Share("backup", "uuid-2", "web2", "c", 2048, 20)
PRIMARY = Share("primary", "uuid-3", "db1", "c", 0, 30)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rundir, "ROOT", tmp_path)
    return tmp_path


def add(share: Share) -> bool:
    with Counter() as counter:
        return counter.add(share)


def test_each_role_is_counted_by_itself() -> None:
    assert shares.living("backup") == shares.living("primary") == []
    assert all(add(share) for share in (ONE, OTHER, PRIMARY))
    assert shares.living("backup") == [ONE, OTHER]
    assert shares.living("primary") == [PRIMARY]
    with Counter() as counter:
        assert counter.others(ONE) == [OTHER]


def test_a_guest_has_one_share_at_a_time() -> None:
    assert add(ONE)
    assert not add(ONE)
    shares.give_back("backup", ONE.uuid)
    assert shares.living("backup") == []
    assert add(ONE)


def test_a_share_that_is_given_back_leaves_nothing(root: Path) -> None:
    assert add(ONE)
    shares.give_back("backup", ONE.uuid)
    assert not rundir.directory("backup", ONE.uuid).exists()
    assert add(OTHER)
    rundir.write_json(rundir.directory("backup", OTHER.uuid) / "result.json", {})
    shares.give_back("backup", OTHER.uuid)
    assert [p.name for p in rundir.directory("backup", OTHER.uuid).iterdir()] == ["result.json"]


def test_the_end_of_a_session_ends_its_share() -> None:
    assert add(ONE)
    rundir.forget("backup", ONE.uuid)
    assert shares.living("backup") == []


def test_a_claim_is_of_one_session() -> None:
    assert add(ONE)
    assert not shares.is_claimed(ONE)
    shares.note_claim(ONE.uuid)
    assert shares.is_claimed(ONE)
    assert add(OTHER)
    assert not shares.is_claimed(OTHER)
    (rundir.directory("backup", ONE.uuid) / "share.json").unlink()  # its processes have died
    assert add(ONE)
    assert not shares.is_claimed(ONE)


PROGRAM = """
import sys
from remus_ha import shares
from remus_ha.shares import Counter, Share
share = Share("backup", "uuid-1", "web1", "a", 1024, 10)
if sys.argv[1] == "add":
    print("begins", flush=True)
    with Counter() as counter:
        print(counter.add(share), flush=True)
else:
    shares.hold("backup", "uuid-1")
    print("holds", flush=True)
sys.stdin.read()
"""


class Process:
    """One that adds the share, or holds what another one has added, until it is killed."""

    def __init__(self, root: Path, verb: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, verb],
            env={**os.environ, "REMUS_HA_RUN_DIR": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> str:
        assert self.child.stdout is not None
        return self.child.stdout.readline().strip()

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.child.communicate()


@pytest.fixture
def started(root: Path) -> Iterator[list[Process]]:
    made: list[Process] = []
    yield made
    for process in made:
        process.kill()


def test_it_counts_until_the_last_of_its_processes_has_died(
    root: Path, started: list[Process]
) -> None:
    started.append(Process(root, "add"))
    assert [started[0].said() for _ in range(2)] == ["begins", "True"]
    for _ in range(2):
        started.append(Process(root, "hold"))
        assert started[-1].said() == "holds"
    for process in list(started):
        assert shares.living("backup") == [ONE]
        process.kill()
    assert shares.living("backup") == []
    assert add(ONE), "what a dead session has left is in nobody's way"


def test_to_hold_what_is_not_there_is_nothing(root: Path, started: list[Process]) -> None:
    """The session of a release that knew no shares."""
    started.append(Process(root, "hold"))
    assert started[0].said() == "holds"
    assert shares.living("backup") == []


def test_while_somebody_counts_others_wait(root: Path, started: list[Process]) -> None:
    with Counter() as counter:
        started.append(Process(root, "add"))
        assert started[0].said() == "begins"
        assert started[0].child.stdout is not None
        assert not readable(started[0].child.stdout, 0.5), "it has not waited"
        assert shares.living("backup") == []
        assert counter.add(ONE)
    assert started[0].said() == "False"


def test_who_dies_while_counting_keeps_nobody_waiting(root: Path) -> None:
    program = (
        "from remus_ha.shares import Counter\nwith Counter():\n"
        "    print('in', flush=True)\n    input()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "REMUS_HA_RUN_DIR": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"in\n"
    child.kill()
    child.communicate()
    assert add(ONE)
