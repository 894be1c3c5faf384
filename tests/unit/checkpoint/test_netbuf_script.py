"""``-N``: from the command line to the buffer of the guest's process."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.checkpoint import __main__ as starting
from remus_ha.checkpoint import arrange
from remus_ha.checkpoint.arrange import NOWHERE, Arrangement
from remus_ha.checkpoint.receiver import Receiver
from remus_ha.checkpoint.session import Session
from remus_ha.checkpoint.wish import Wish
from remus_ha.cmd.remus_ha import main
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.xen import lookup
from remus_ha.netbuf import precheck
from remus_ha.netbuf.errors import NetbufError, PlugMissing, RedirectMissing
from remus_ha.netbuf.unbuffered import Unbuffered
from remus_ha.stream.credentials import create
from tests.unit.checkpoint.test_autostart import Xen
from tests.unit.hypervisor.xen.listing import pvh

GUEST = lookup.parse(pvh(), Life.RUNNING)


class Kernel:
    """What it lacks, and which modules were asked for."""

    def __init__(self) -> None:
        self.obstacle: NetbufError | None = None
        self.own_ifbs: list[bool] = []

    def load_modules(self, *, own_ifbs: bool) -> None:
        self.own_ifbs.append(own_ifbs)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A host whose vifs are all called as its loopback device, and free."""
    made = Kernel()
    monkeypatch.setattr(precheck, "kernel_obstacle", lambda: made.obstacle)
    monkeypatch.setattr(precheck, "load_modules", made.load_modules)
    return made


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "netbuf"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def arrangement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Made of a wish."""
    for name in ("ROOT", "STATE", "LOGS"):
        monkeypatch.setattr(rundir, name, tmp_path / name)
    vifs = tuple(replace(vif, name="lo") for vif in GUEST.vifs)
    monkeypatch.setattr(Xen, "guest", replace(GUEST, vifs=vifs))
    monkeypatch.setattr(Xen, "version", "4.17", raising=False)
    monkeypatch.setattr(arrange, "XenDriver", Xen)
    monkeypatch.setattr(Arrangement, "_witness_obstacles", lambda self: [])

    def make(**options: Any) -> Arrangement:
        wish = Wish(domain=GUEST.name, host="b", witness="etcd://x", **options)
        return Arrangement(wish, Receiver(wish))

    return make


def test_a_look_at_a_script_that_can_be_called(
    kernel: Kernel, arrangement: Any, script: Path
) -> None:
    """How many ifbs there are is its business, and so is the way in which it redirects."""
    kernel.obstacle = RedirectMissing(vif="a vif", detail="no cls_matchall")
    made = arrangement(netbuf_script=str(script))
    assert made.obstacles() == []
    assert kernel.own_ifbs == [False]
    assert [e.code for e in arrangement().obstacles()] == ["NETBUF-003"]
    assert kernel.own_ifbs == [False, True]


def test_a_look_at_one_that_cannot(kernel: Kernel, arrangement: Any, script: Path) -> None:
    script.chmod(0o644)
    kernel.obstacle = PlugMissing()
    found = arrangement(netbuf_script=str(script)).obstacles()
    assert [e.code for e in found] == ["NETBUF-013", "NETBUF-001"]
    assert str(script) in str(found[0])


@pytest.mark.usefixtures("kernel", "arrangement")
def test_check_says_what_shows_only_later(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Receiver, "knock", lambda self, *more: None)
    monkeypatch.setattr(Arrangement, "backup_obstacles", lambda self: [])
    words = ["check", "--witness", "etcd://x", GUEST.name, "b"]
    assert main([*words, "-N", str(script)]) == 0
    said = capsys.readouterr()
    assert said.out == "nothing stands in the way\n"
    assert f"note: what {script} sets up is looked at when" in said.err
    assert main([*words, "-N", f"{script}.absent"]) == 1
    assert "NETBUF-013" in capsys.readouterr().out
    assert main(words) == 0
    assert "note" not in capsys.readouterr().err


class Recorder(Unbuffered):
    """A driver that keeps what it was made with."""

    made: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(guest=options["guest"], session=options["session"])
        type(self).made = options


@pytest.mark.parametrize("force", [False, True])
def test_the_guests_process_is_told(
    arrangement: Any, script: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """By its session, of which an older release has written less."""
    made = arrangement(netbuf_script=str(script), force=force, netbuf_entry=f"{__name__}:Recorder")
    session = made._session(made.request(create()), NOWHERE)
    path = session.save()
    assert Session.load(session.uuid) == session
    starting.buffer_of(session, adopt=False, held=False)
    told = {"guest": session.uuid, "session": session.session}
    assert Recorder.made == {**told, "script": str(script), "partial": force}
    old = asdict(session)
    del old["netbuf_script"], old["netbuf_partial"]
    path.write_text(json.dumps(old))
    starting.buffer_of(Session.load(session.uuid), adopt=True, held=True)
    assert Recorder.made == told
