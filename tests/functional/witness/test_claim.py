"""``remus-ha witness claim``: what an operator may take, and from whom."""

import socket
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from remus_ha import rundir
from remus_ha.cmd import witness
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.witness import admin
from tests.functional.witness.conftest import Opener
from tests.functional.witness.guest import UUID
from tests.functional.witness.store import Etcd

T = 10.0


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Identity:
    """This host, which has the guest."""
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "run")
    monkeypatch.setattr(socket, "gethostname", lambda: "a")
    monkeypatch.setattr(witness, "_let_go", lambda guest: None)
    guest = SimpleNamespace(uuid=UUID, vifs=(), domid=1)
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
