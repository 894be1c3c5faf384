"""What survives which crash (design §4, W1; ``remus_ha.core.witness``)."""

from dataclasses import replace
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.witness import Knowledge, Ledger
from remus_ha.kept import Kept, accept, claimed, distrust, knowledge
from remus_ha.witness.memory import Memory

UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"
ME, PEER = Identity("a", "1"), Identity("b", "2")
MEMORY = Memory("inc", "cluster", 7)


@pytest.fixture(autouse=True)
def _directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "run")
    monkeypatch.setattr(rundir, "STATE", tmp_path / "state")


def known() -> Ledger:
    return Ledger(ME, PEER, session=5, incarnation="inc", seen=True)


def test_a_restarted_process_knows_session_incarnation_and_memory() -> None:
    Kept("primary", UUID).keep(known(), MEMORY)
    after = Kept("primary", UUID)
    assert after.ledger(ME, PEER, same_session=True) == known()
    assert after.memory() == MEMORY
    assert claimed("primary", UUID)


def test_a_new_session_knows_the_store_but_no_session() -> None:
    Kept("primary", UUID).keep(known(), MEMORY)
    after = Kept("primary", UUID)
    after.begin()
    assert not claimed("primary", UUID)
    ledger = after.ledger(ME, PEER, same_session=False)
    assert (ledger.session, ledger.incarnation, ledger.seen) == (0, "inc", True)
    assert after.memory() == MEMORY


def test_a_host_crash_loses_the_session_and_keeps_the_incarnation() -> None:
    Kept("primary", UUID).keep(known(), MEMORY)
    for path in rundir.directory("primary", UUID).iterdir():
        path.unlink()
    after = Kept("primary", UUID)
    ledger = after.ledger(ME, PEER, same_session=True)
    assert (ledger.session, ledger.incarnation, ledger.seen) == (0, "inc", True)
    assert after.memory() is None


def test_the_disk_is_not_touched_while_nothing_durable_changes() -> None:
    kept = Kept("primary", UUID)
    kept.keep(known(), MEMORY)
    disk = rundir.STATE / "witness" / f"{UUID}.json"
    before = disk.stat().st_ino
    kept.keep(known(), Memory("inc", "cluster", 8))
    assert disk.stat().st_ino == before
    fresh = Kept("primary", UUID)
    fresh.ledger(ME, PEER, same_session=True)
    fresh.keep(known(), MEMORY)
    assert disk.stat().st_ino == before


def test_what_a_host_reports_is_the_newest_that_it_knew() -> None:
    kept = Kept("primary", UUID)
    kept.ledger(ME, PEER, same_session=False)
    pair = Register(6, Kind.PAIR, ME, PEER)
    kept.keep(replace(known(), known=Register(5, Kind.HOLDER, ME)), MEMORY)
    kept.keep_opened(5)
    kept.keep(replace(known(), known=pair), MEMORY)
    assert knowledge(UUID) == Knowledge("inc", pair, 5, "b")
    after = Kept("primary", UUID)
    after.ledger(ME, PEER, same_session=True)
    after.keep(known(), MEMORY)
    assert knowledge(UUID) == Knowledge("inc", pair, 5, "b"), "a successor has not read it yet"


def test_a_store_that_was_distrusted_is_trusted_once_it_is_accepted() -> None:
    Kept("primary", UUID).keep(known(), MEMORY.distrusted("revision is 3, 7 was seen before"))
    assert distrust(UUID, "inc") == "revision is 3, 7 was seen before"
    assert "inc was known" in distrust(UUID, "next")
    accept(UUID, "etcd://a", Knowledge("next", None, 3, "b"))
    assert not distrust(UUID, "next")
    assert Kept("primary", UUID).memory() is None
    assert claimed("primary", UUID), "the session stays"
    assert Kept("primary", UUID).ledger(ME, PEER, same_session=True).incarnation == "next"
    assert knowledge(UUID) == Knowledge("next", None, 3, "b"), "what was before is not said again"
