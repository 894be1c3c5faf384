"""Whose guest it is: what ``remus-ha witness claim`` and ``release`` may change."""

import socket
from pathlib import Path
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.cmd import witness
from remus_ha.cmd.remus_ha import main
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.hotplug import records, store
from remus_ha.hotplug.store import VifRecord
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.xen import lookup
from remus_ha.witness.base import Reading, Swap
from tests.unit.hypervisor.xen.listing import pvh

GUEST = lookup.parse(pvh(), Life.RUNNING)
HERE = socket.gethostname()
OLD, THERE = Identity(HERE, "an earlier boot"), Identity("b", "any")


class Store:
    """In place of a witness's driver: one register."""

    def __init__(self, register: Register | None, opened: int) -> None:
        self.register, self.opened = register, opened

    def read(self, uuid: str, timeout_s: float) -> Reading:
        return Reading(self.register, self.opened, "life")

    def swap(self, uuid: str, old: Register | None, new: Register, timeout_s: float) -> Swap:
        assert old == self.register
        self.register = new
        return Swap.WON

    def record_opened(self, uuid: str, generation: int, timeout_s: float, won: Any) -> None:
        assert won == self.register
        self.opened = generation

    def close(self) -> None:
        pass


class Xen:
    """In place of XenDriver: the guest is here."""

    def find(self, name: str) -> Any:
        return GUEST


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """MACs of vifs that were opened on a host that kept the guest's first one shut."""
    macs: list[str] = []
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "run")
    monkeypatch.setattr(rundir, "STATE", tmp_path / "state")
    monkeypatch.setattr(store, "STATE_ROOT", tmp_path / "state")
    monkeypatch.setattr(witness, "XenDriver", Xen)
    monkeypatch.setattr(witness, "_let_go", lambda guest: None)
    monkeypatch.setattr(witness.rewound, "excuse", lambda url, uuid, hosts: None)
    monkeypatch.setattr(records, "open_vif", lambda mac, domid, devid: macs.append(mac))
    records.write(VifRecord(GUEST.vifs[0].mac, "shut", guest=GUEST.uuid))
    return macs


def claimed(
    monkeypatch: pytest.MonkeyPatch, register: Register, opened: int, *more: str
) -> tuple[int, Store]:
    """Status of the command, and the store after it."""
    kept = Store(register, opened)
    monkeypatch.setattr(witness, "open_witness", lambda *a, **b: kept)
    return main(["witness", "claim", *more, "etcd://x", GUEST.uuid]), kept


def test_a_sole_holder_that_died_claims_its_guest(
    opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, kept = claimed(monkeypatch, Register(5, Kind.HOLDER, OLD), 5)
    me = Identity(HERE, rundir.identity(GUEST.uuid))
    assert status == 0
    assert kept.register == Register(6, Kind.HOLDER, me)
    assert kept.opened == 6
    assert opened == [GUEST.vifs[0].mac]


@pytest.mark.parametrize(
    ("register", "noted"),
    [
        (Register(5, Kind.HOLDER, OLD), 4),  # it may never have opened: the other has a copy
        (Register(5, Kind.HOLDER, THERE), 5),
        (Register(5, Kind.PAIR, OLD, THERE), 4),
        (Register(5, Kind.PAIR, THERE, OLD), 4),
    ],
)
def test_what_another_may_have_takes_the_operators_word(
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    register: Register,
    noted: int,
) -> None:
    status, kept = claimed(monkeypatch, register, noted)
    assert (status, kept.register, kept.opened) == (1, register, noted)
    assert "PROTECT-012" in capsys.readouterr().err
    assert not opened
    status, kept = claimed(monkeypatch, register, noted, "--fenced", "b")
    assert status == 0
    assert kept.register is not None
    assert kept.register.generation == kept.opened == 6
    assert opened == [GUEST.vifs[0].mac]


def test_a_word_about_a_third_host_does_not_count(
    opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register = Register(5, Kind.PAIR, OLD, THERE)
    status, kept = claimed(monkeypatch, register, 4, "--fenced", "c")
    assert (status, kept.register) == (1, register)
    assert not opened


def test_a_running_session_is_told_instead(
    opened: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rundir, "is_running", lambda role, uuid: role == "backup")
    register = Register(5, Kind.PAIR, THERE, Identity(HERE, rundir.identity(GUEST.uuid)))
    status, kept = claimed(monkeypatch, register, 4, "--fenced", "b")
    assert (status, kept.register) == (1, register)
    assert "remus-ha fenced" in capsys.readouterr().err
    assert not opened
