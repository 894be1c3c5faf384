"""``remus-ha witness claim``: what an operator may take, and from whom."""

import socket
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from remus_ha import kept, rundir
from remus_ha.cmd import witness
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.witness import Knowledge, Ledger
from remus_ha.kept import Kept
from remus_ha.witness import admin, rewound
from remus_ha.witness.errors import WitnessRewound
from tests.functional.witness.conftest import Opener
from tests.functional.witness.guest import UUID
from tests.functional.witness.store import Etcd

T = 10.0


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Identity:
    """This host, which has the guest."""
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "run")
    monkeypatch.setattr(rundir, "STATE", tmp_path / "state")
    monkeypatch.setattr(socket, "gethostname", lambda: "a")
    monkeypatch.setattr(witness, "_let_go", lambda guest: None)
    guest = SimpleNamespace(uuid=UUID, name="web1", vifs=(), domid=1)
    monkeypatch.setattr(witness, "XenDriver", lambda: SimpleNamespace(find=lambda _: guest))
    return Identity("a", rundir.identity(UUID))


def claim(etcd: Etcd, fenced: str = "") -> int:
    return witness._claim(Namespace(url=etcd.url, uuid=UUID, fenced=fenced))


def test_what_nobody_holds_or_this_host_does(etcd: Etcd, me: Identity) -> None:
    for generation in (1, 2):
        assert claim(etcd) == 0
        reading = admin.show(etcd.url, UUID)
        assert reading.register == Register(generation, Kind.HOLDER, me)
        assert reading.opened == generation


@pytest.mark.parametrize("kind", [Kind.HOLDER, Kind.PAIR])
def test_what_another_host_holds_only_where_that_one_is_fenced(
    etcd: Etcd, me: Identity, open_witness: Opener, kind: Kind
) -> None:
    backup = me if kind is Kind.PAIR else None
    theirs = Register(7, kind, Identity("b", "1"), backup)
    open_witness().swap(UUID, None, theirs, T)
    for wrong in ("", "c", "a"):
        with pytest.raises(witness.NotHolder):
            claim(etcd, fenced=wrong)
    assert admin.show(etcd.url, UUID).register == theirs
    assert claim(etcd, fenced="b") == 0
    reading = admin.show(etcd.url, UUID)
    assert (reading.register, reading.opened) == (Register(8, Kind.HOLDER, me), 8)


def test_an_earlier_life_of_this_host(etcd: Etcd, me: Identity, open_witness: Opener) -> None:
    """What it has won may be open elsewhere by now, for all that this life knows."""
    open_witness().swap(UUID, None, Register(7, Kind.HOLDER, Identity("a", "before")), T)
    with pytest.raises(witness.NotHolder):
        claim(etcd)


@pytest.mark.parametrize("row", [None, Register(7, Kind.NONE, None)])
def test_a_store_that_has_forgotten_is_not_believed(
    etcd: Etcd, me: Identity, open_witness: Opener, row: Register | None
) -> None:
    """Nobody holds it, says a row that is older than what this host knows (W9)."""
    if row is not None:
        open_witness().swap(UUID, None, row, T)
    keeper = Kept("primary", UUID, store=etcd.url)
    life = admin.inspect(etcd.url).incarnation
    won = Register(9, Kind.HOLDER, Identity("b", "1"))
    keeper.keep(Ledger(me, known=won, incarnation=life, seen=True), None)
    with pytest.raises(WitnessRewound):
        claim(etcd)
    assert admin.show(etcd.url, UUID).register == row
    assert claim(etcd, fenced="b") == 0, "an operator knows better"
    claimed = admin.show(etcd.url, UUID).register
    assert claimed == Register(10, Kind.HOLDER, me), "above all that anybody has heard of"
    assert kept.knowledge(UUID).known == claimed
    late = Knowledge("before", won, 9)
    assert rewound.report(etcd.url, UUID, "b", late).register == claimed


def test_a_store_in_another_life_is_not_believed(etcd: Etcd, me: Identity) -> None:
    Kept("primary", UUID).keep(Ledger(me, incarnation="before", seen=True), None)
    with pytest.raises(WitnessRewound):
        claim(etcd)
    assert claim(etcd, fenced="b") == 0
    assert not kept.distrust(UUID, admin.inspect(etcd.url).incarnation)


@pytest.mark.parametrize("role", ["primary", "backup"])
def test_what_a_session_left_is_taken_up_first(etcd: Etcd, me: Identity, role: str) -> None:
    """Its disks may be of another epoch than its memory, and only its process knows."""
    rundir.write_json(rundir.directory(role, UUID) / "session.json", {})
    with pytest.raises(witness.SessionRuns):
        claim(etcd, fenced="b")
    assert admin.show(etcd.url, UUID).register is None
