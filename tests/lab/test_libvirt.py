"""Guests that libvirt manages: it loses sight of none, whatever becomes of the guest."""

from collections.abc import Iterator

import pytest

from remus_ha.lab.host import Host
from remus_ha.lab.xlconfig import LIBVIRT, GuestSpec
from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import HOSTS, Guest, Stage
from tests.lab.test_reboot_and_migration import wait_begun_anew

NAME = "virt"
CONTROLS = r"libvirt controls the guest"


@pytest.fixture
def guest(stage: Stage) -> Iterator[Guest]:
    """Persistent and started at boot; a daemon runs on both hosts."""
    stage.drop_guest()
    for host in HOSTS:
        stage.host(host).shell.run("lab-libvirt start")
    yield stage.create(GuestSpec(NAME, vifs=2, via=LIBVIRT), "a")
    stage.drop_guest()
    for host in HOSTS:
        if stage.host(host).running:
            stage.host(host).shell.run("rm -rf /var/lib/remus-ha/libvirt")


def state(host: Host) -> str:
    """What libvirt says of the guest; ``unknown`` where it does not know it."""
    return host.shell.text(f"virsh -q domstate {NAME} 2>/dev/null || echo unknown").split("\n")[0]


def domid(host: Host) -> str:
    return host.shell.text(f"virsh -q domid {NAME}").strip()


def autostarts(host: Host) -> bool:
    return "enable" in host.shell.text(f"virsh -q dominfo {NAME} | grep Autostart")


def definition(host: Host) -> str:
    return host.shell.text(f"virsh -q dumpxml --inactive {NAME}")


def controls(host: Host, guest: Guest) -> None:
    """libvirt stops the guest and lets it go on, and its clients see that."""
    host.shell.run(f"virsh -q suspend {NAME}")
    assert state(host) == "paused"
    host.shell.run(f"virsh -q resume {NAME}")
    assert state(host) == "running"
    guest.clients.wait_answers()


@pytest.mark.gate
def test_the_primary_loses_its_power(stage: Stage, guest: Guest) -> None:
    """On the backup libvirt has the guest, and the reboots as well."""
    primary = stage.host(guest.host)
    primary.shell.run(f"virsh -q autostart {NAME}")
    before = definition(primary)
    with Protection(stage, guest) as p:
        assert not autostarts(primary)
        assert definition(primary).count("vif-remus") == guest.plan.vifs
        assert state(primary) == "running"
        p.wait_checkpoints(3)
        stage.lab.cut(p.primary)
        p.log_backup.wait(CONTROLS)
        p.wait_failed_over()
        backup = stage.host(p.backup)
        assert domid(backup) == backup.shell.text(f"xl domid {NAME}").strip()
        assert definition(backup) == before
        assert autostarts(backup)
        guest.clients.wait_answers()
        controls(backup, guest)
        stage.ready()
    guest.clients.finish()
    backup.shell.run(f"virsh -q reboot {NAME}")
    wait_begun_anew(stage, guest)
    assert state(backup) == "running"
    stage.gone(guest)
    backup.shell.run(f"virsh -q destroy {NAME}")
    assert state(backup) == "shut off"


def test_its_operator_does_as_ever(stage: Stage, guest: Guest) -> None:
    """Pauses are no failover; unprotected again, libvirt hears of the guest's end."""
    host = stage.host(guest.host)
    before = definition(host)
    with Protection(stage, guest) as p:
        p.wait_checkpoints(2)
        controls(host, guest)
        p.wait_checkpoints(2)
        p.unprotect()
        p.log_primary.wait(CONTROLS)
    assert definition(host) == before
    controls(host, guest)
    stage.gone(guest)
    host.shell.run(
        f"virsh -q event {NAME} --event lifecycle --timeout 60 & sleep 1; virsh -q shutdown {NAME};"
        " wait $!"
    )
    assert state(host) == "shut off"


@pytest.mark.parametrize("end", ["shutdown", "destroy"])
def test_it_ends_while_it_is_protected(stage: Stage, guest: Guest, end: str) -> None:
    """On neither host does it live on."""
    host = stage.host(guest.host)
    before = definition(host)
    with Protection(stage, guest) as p:
        p.wait_checkpoints(2)
        stage.gone(guest)
        host.shell.run(f"virsh -q {end} {NAME}")
        p.log_primary.wait(ENDS)
        p.log_backup.wait(ENDS)
    assert state(host) == "shut off"
    assert definition(host) == before
    assert state(stage.host(p.backup)) == "unknown"


def test_it_reboots_while_it_is_protected(stage: Stage, guest: Guest) -> None:
    """Ours is the reboot; libvirt controls the new domain."""
    host = stage.host(guest.host)
    with Protection(stage, guest) as p:
        p.wait_checkpoints(2)
        guest.clients.finish()
        host.shell.run(f"virsh -q reboot {NAME}")
        p.wait_alone()
        p.log_primary.wait(CONTROLS)
        p.log_backup.wait(ENDS)
    wait_begun_anew(stage, guest)
    assert domid(host) == host.shell.text(f"xl domid {NAME}").strip()
    controls(host, guest)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (f"virsh -q attach-interface {NAME} bridge xenbr0 --mac 00:16:3e:77:77:77", "XEN-031"),
        (f"virsh -q attach-disk {NAME} /srv/guests/more.img xvdz", "XEN-030"),
    ],
)
def test_a_device_is_plugged_in(stage: Stage, guest: Guest, command: str, code: str) -> None:
    """What could not be protected ends the protection, and the guest goes on."""
    host = stage.host(guest.host)
    host.shell.run("truncate -s 16M /srv/guests/more.img")
    with Protection(stage, guest) as p:
        p.wait_checkpoints(2)
        host.shell.run(command)
        p.log_primary.wait(code)
        p.wait_alone()
        p.log_backup.wait(ENDS)
    guest.clients.wait_answers()
    controls(host, guest)


def test_it_moves_and_comes_back(stage: Stage, guest: Guest) -> None:
    """A planned failover leaves no definition behind."""
    for _ in range(2):
        with Protection(stage, guest) as p:
            p.wait_checkpoints(2)
            stage.host(p.primary).shell.run(f"remus-ha failover {NAME}")
            p.log_backup.wait(CONTROLS)
            p.wait_failed_over()
            p.log_primary.wait(ENDS)
            assert state(stage.host(p.primary)) == "unknown"
            assert state(stage.host(p.backup)) == "running"
        stage.assert_clean()
    controls(stage.host(guest.host), guest)
