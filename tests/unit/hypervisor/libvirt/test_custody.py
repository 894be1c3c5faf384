"""A guest of libvirt's before, during and after a protection. The daemon is played."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha import conf, rundir
from remus_ha.hypervisor.libvirt import adoption, custody, daemon, definition, managed, presence
from remus_ha.hypervisor.libvirt.custody import Domain
from remus_ha.hypervisor.libvirt.errors import (
    BindingsMissing,
    LibvirtRefused,
    NobodyRestarts,
    NotAdopted,
    RestartFailed,
)
from tests.unit.hypervisor.libvirt.played import Daemon, PlayedDomain

NAME, UUID = "web1", "6a1f3c5e-0000-4000-8000-00000000000a"
OURS = "/usr/lib/remus/vif-remus"
MAC = "00:16:3e:00:00:0a"
XML = f"""<domain type='xen'><name>{NAME}</name><uuid>{UUID}</uuid><devices>
<interface type='bridge'><mac address='{MAC}'/><source bridge='xenbr0'/></interface>
</devices></domain>"""
OWN = definition.moved(XML, {})
HERE = Domain(domid=9, vifs={MAC: "vif9.0"}, console="/dev/pts/7")


@pytest.fixture
def libvirtd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon with the guest as domain 3, persistent and started at boot.

    Its restart command makes it learn of the domain whose status file there is.
    """
    played = Daemon()
    played.domains[UUID] = PlayedDomain(UUID, 3, XML, XML, starts=True)
    config = tmp_path / "remus-ha.conf"
    config.write_text(f"[libvirt]\nrestart = cp {tmp_path}/{NAME}.xml {tmp_path}/restarted\n")
    monkeypatch.setitem(sys.modules, "libvirt", played)  # type: ignore[arg-type]
    monkeypatch.setattr(presence, "SOCKETS", (tmp_path / "sock",))
    monkeypatch.setattr(adoption, "STATES", tmp_path)
    monkeypatch.setattr(conf, "PATH", config)
    monkeypatch.setattr(rundir, "STATE", tmp_path / "state")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        yield played


def learns(played: Daemon, domid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a real daemon does after a restart."""
    restart = daemon.restart

    def both() -> None:
        restart()
        played.domains[UUID].domid = domid

    monkeypatch.setattr(daemon, "restart", both)


def taken() -> managed.Managed:
    guest = custody.find(NAME, UUID)
    assert guest is not None
    custody.take(guest, OURS)
    return guest


def test_while_it_is_protected_it_is_started_by_nobody_and_never_open(libvirtd: Daemon) -> None:
    taken()
    domain = libvirtd.domains[UUID]
    assert not domain.starts
    assert OURS in domain.definition
    assert managed.all_kept() == [UUID]


def test_afterwards_it_is_as_it_was(libvirtd: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = taken()
    learns(libvirtd, 9, monkeypatch)
    custody.give_back(guest, HERE)
    domain = libvirtd.domains[UUID]
    assert (domain.definition, domain.starts, domain.domid) == (OWN, True, 9)
    assert managed.all_kept() == []
    assert "vif9.0" in (adoption.STATES / "restarted").read_text()


def test_where_libvirt_still_watches_it_nothing_is_restarted(libvirtd: Daemon) -> None:
    custody.give_back(taken(), HERE, watched=True)
    assert not (adoption.STATES / "restarted").exists()
    assert libvirtd.domains[UUID].definition == OWN


def test_one_that_has_ended_is_only_defined(libvirtd: Daemon) -> None:
    custody.give_back(taken(), None)
    assert not (adoption.STATES / "restarted").exists()
    assert libvirtd.domains[UUID].starts


def test_a_transient_one_stays_transient(libvirtd: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    libvirtd.domains[UUID].definition = ""
    learns(libvirtd, 9, monkeypatch)
    custody.give_back(taken(), HERE)
    assert libvirtd.domains[UUID].definition == ""


def test_what_is_the_other_hosts_is_not_defined_here(libvirtd: Daemon) -> None:
    custody.hand_over(taken())
    assert libvirtd.domains[UUID].definition == ""
    assert managed.all_kept() == []


def test_a_daemon_that_knows_it_not_even_then(libvirtd: Daemon) -> None:
    guest = taken()
    with pytest.raises(NotAdopted, match="takes it for domain 3"):
        custody.give_back(guest, HERE)
    assert managed.all_kept() == [UUID], "it can be tried again"


def test_a_protection_after_one_that_was_not_ended_in_order(libvirtd: Daemon) -> None:
    """What it has left is not taken for the operator's own."""
    taken()
    again = custody.find(NAME, UUID)
    assert again is not None
    assert (again.definition, again.autostart) == (XML, True)


def test_without_a_daemon_nothing_is_libvirts(
    libvirtd: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    guest = taken()
    monkeypatch.setattr(presence, "SOCKETS", (tmp_path / "none",))
    assert custody.find(NAME, UUID) is None
    with pytest.raises(NotAdopted, match="does not run"):
        custody.give_back(guest, HERE)


def test_another_managers_guest(libvirtd: Daemon) -> None:
    del libvirtd.domains[UUID]
    assert custody.find(NAME, UUID) is None


def test_a_guest_that_libvirt_does_not_run(libvirtd: Daemon) -> None:
    libvirtd.domains[UUID].domid = -1
    assert custody.find(NAME, UUID) is None


def test_a_refusal(libvirtd: Daemon) -> None:
    libvirtd.refuses = "no such machine"
    with pytest.raises(LibvirtRefused, match="no such machine"):
        taken()


def test_a_daemon_whose_bindings_are_missing(
    libvirtd: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(BindingsMissing):
        custody.find(NAME, UUID)


@pytest.mark.parametrize(
    ("command", "error"), [("false", RestartFailed), ("/nonexistent", RestartFailed)]
)
def test_a_restart_that_fails(libvirtd: Daemon, command: str, error: type[Exception]) -> None:
    conf.PATH.write_text(f"[libvirt]\nrestart = {command}\n")
    with pytest.raises(error):
        daemon.restart()


def test_nobody_to_restart_it(
    libvirtd: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conf.PATH.write_text("")
    monkeypatch.setattr(daemon, "_SYSTEMD", tmp_path / "none")
    with pytest.raises(NobodyRestarts):
        daemon.restart()
