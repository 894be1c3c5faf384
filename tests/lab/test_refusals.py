"""Bad input: a stable code with its cause and remedy, and the guest runs on untouched."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from remus_ha.lab.host import Host
from tests.lab.support.domains import free_mib, paused_domain
from tests.lab.support.protection import Protection, refused
from tests.lab.support.stage import WITNESS, Guest, Stage

XL_CONF = "/etc/xen/xl.conf"


def _protect(guest: Guest, *, host: str = "", options: str = "", witness: str = WITNESS) -> str:
    given = f"--witness {witness}" if witness else ""
    return f"remus-ha protect --detach {given} {options} {guest.name} {host or guest.other}"


def _obstacles(host: Host, words: str) -> dict[str, str]:
    """Codes and remedies of ``remus-ha check --json``."""
    done = host.shell.run(f"remus-ha check --json --witness {WITNESS} {words}", check=False)
    assert done.returncode == 1, done.stdout
    return {e["code"]: e["remedy"] for e in json.loads(done.stdout)}


@contextmanager
def _untouched(stage: Stage, guest: Guest) -> Iterator[Host]:
    """The guest answers before, meanwhile and afterwards."""
    guest.clients.wait_answers()
    yield stage.host(guest.host)
    guest.clients.wait_answers()


def _assert_refused(stage: Stage, guest: Guest, command: str, code: str) -> None:
    """The command fails with ``code``, a cause and a remedy on a line of its own."""
    said = refused(stage, guest.host, command)
    first, _, rest = said.partition(code)
    assert rest, f"no {code} in: {said}"
    cause, _, remedy = rest.strip(": ").partition("\n")
    assert cause.strip(), first
    assert remedy.strip(), said


def test_an_unknown_domain(stage: Stage) -> None:
    """XEN-003."""
    guest = stage.guest()
    with _untouched(stage, guest):
        command = _protect(guest).replace(guest.name, "nosuch", 1)
        _assert_refused(stage, guest, command, "XEN-003")


def test_a_domain_that_does_not_run(stage: Stage) -> None:
    """XEN-004 for a paused one."""
    guest = stage.guest()
    with _untouched(stage, guest) as host, paused_domain(host, "still"):
        command = _protect(guest).replace(guest.name, "still", 1)
        _assert_refused(stage, guest, command, "XEN-004")


def test_a_pv_guest(stage: Stage) -> None:
    """XEN-005."""
    guest = stage.guest()
    with _untouched(stage, guest) as host, paused_domain(host, "pv", kind="pv"):
        assert _obstacles(host, f"pv {guest.other}")["XEN-005"]


def test_a_writable_disk(stage: Stage) -> None:
    """XEN-008 without ``-F -d``; ``-d`` alone is PROTECT-006."""
    guest = stage.guest()
    disk = 'disk = ["format=raw,vdev=xvda,access=rw,target=/tmp/disk.img"]'
    with _untouched(stage, guest) as host:
        host.shell.run("truncate -s 1M /tmp/disk.img")
        with paused_domain(host, "disky", more=disk):
            assert _obstacles(host, f"disky {guest.other}")["XEN-008"]
            assert "XEN-008" not in _obstacles(host, f"-F -d disky {guest.other}")
        _assert_refused(stage, guest, _protect(guest, options="-d"), "PROTECT-006")


def test_a_foreign_qdisc_on_a_vif(stage: Stage) -> None:
    """NETBUF-005, and the foreign qdisc stays."""
    guest = stage.guest()
    with _untouched(stage, guest) as host:
        vif = f"vif{host.shell.text(f'xl domid {guest.name}').strip()}.0"
        host.shell.run(f"tc qdisc add dev {vif} clsact")
        try:
            _assert_refused(stage, guest, _protect(guest), "NETBUF-005")
            assert "clsact" in host.shell.text(f"tc qdisc show dev {vif}")
        finally:
            host.shell.run(f"tc qdisc del dev {vif} clsact")


@pytest.mark.parametrize(
    ("module", "folder", "code"),
    [("sch_plug", "net/sched", "NETBUF-001"), ("ifb", "drivers/net", "NETBUF-002")],
)
def test_a_kernel_module_is_missing(stage: Stage, module: str, folder: str, code: str) -> None:
    """NETBUF-001 and NETBUF-002."""
    guest = stage.guest()
    with _untouched(stage, guest) as host:
        file = f"/lib/modules/$(uname -r)/kernel/{folder}/{module}.ko"
        host.shell.run(f"rmmod {module}; mv {file} /tmp/{module}.ko")
        try:
            _assert_refused(stage, guest, _protect(guest), code)
        finally:
            host.shell.run(f"mv /tmp/{module}.ko {file} && modprobe {module}")


@pytest.mark.parametrize("on_backup", [False, True])
def test_a_host_that_starts_its_copy_open(stage: Stage, on_backup: bool) -> None:
    """VIF-006 where it starts the guest at boot, unless its vifs get our script."""
    guest = stage.guest()
    shell = stage.host(guest.other if on_backup else guest.host).shell
    entry = f"/etc/xen/auto/{guest.name}"
    text = f'name = "{guest.name}"\nvif = [ "bridge=xenbr0" ]\n'
    with _untouched(stage, guest) as host:
        shell.run(f"mkdir -p /etc/xen/auto && cat >{entry}", stdin=text.encode())
        try:
            host.shell.run(f"remus-ha check --witness {WITNESS} {guest.name} {guest.other}")
            shell.run(f"sed -i.kept /vif.default.script/d {XL_CONF}")
            _assert_refused(stage, guest, _protect(guest), "VIF-006")
        finally:
            shell.run(f"rm {entry}; [ ! -e {XL_CONF}.kept ] || mv {XL_CONF}.kept {XL_CONF}")


def test_a_backup_without_memory(stage: Stage) -> None:
    """XEN-013, said by the backup."""
    guest = stage.guest()
    backup = stage.host(guest.other)
    with _untouched(stage, guest), paused_domain(backup, "hog", memory=free_mib(backup) - 64):
        _assert_refused(stage, guest, _protect(guest), "XEN-013")


def test_a_name_clash_on_the_backup(stage: Stage) -> None:
    """XEN-015."""
    guest = stage.guest()
    with _untouched(stage, guest), paused_domain(stage.host(guest.other), guest.name):
        _assert_refused(stage, guest, _protect(guest), "XEN-015")


def test_a_bridge_missing_on_the_backup(stage: Stage) -> None:
    """XEN-014."""
    guest = stage.guest()
    backup = stage.host(guest.other).shell
    with _untouched(stage, guest):
        backup.run("ip link set xenbr0 down && ip link set xenbr0 name elsewhere")
        try:
            _assert_refused(stage, guest, _protect(guest), "XEN-014")
        finally:
            backup.run("ip link set elsewhere name xenbr0 && ip link set xenbr0 up")


def test_another_xen_on_the_backup(stage: Stage) -> None:
    """XEN-012: the request's version is changed on its way."""
    guest = stage.guest()
    change = 's/"xen_version":"4[.]17[^"]*"/"xen_version":"4.16"/'
    receiver = f"sed -u '{change}' | ssh {guest.other} remus-ha receive"
    words = [
        "remus-ha",
        "protect",
        "--detach",
        "--witness",
        WITNESS,
        "-s",
        "",
        guest.name,
        receiver,
    ]
    command = shlex.join(words)
    with _untouched(stage, guest):
        _assert_refused(stage, guest, command, "XEN-012")


def test_a_port_in_use(stage: Stage) -> None:
    """The control port that the receiver was told is sshd's."""
    guest = stage.guest()
    receiver = f"ssh {guest.other} remus-ha receive --port 22"
    command = f"remus-ha protect --detach --witness {WITNESS} -s '' {guest.name} '{receiver}'"
    with _untouched(stage, guest):
        _assert_refused(stage, guest, command, "STREAM-014")


@pytest.mark.parametrize(
    ("receiver", "code"),
    [("echo hello", "RECV-001"), ("true", "PROTECT-005"), ("exit 3", "PROTECT-005")],
)
def test_a_receiver_that_answers_rubbish(stage: Stage, receiver: str, code: str) -> None:
    """RECV-001 for words, PROTECT-005 for silence."""
    guest = stage.guest()
    command = f"remus-ha protect --detach --witness {WITNESS} -s '' {guest.name} '{receiver};:'"
    with _untouched(stage, guest):
        _assert_refused(stage, guest, command, code)


@pytest.mark.parametrize(
    ("witness", "code"),
    [
        ("", "WITNESS-004"),
        ("none:", "WITNESS-006"),
        ("etcd://", "WITNESS-005"),
        ("nosuch://10.97.0.254", "REMUS-001"),
        ("etcd://10.97.0.253:2379", "WITNESS-001"),
    ],
)
def test_a_witness_that_cannot_decide(stage: Stage, witness: str, code: str) -> None:
    """None given, none wanted, no address, no driver, nobody there."""
    guest = stage.guest()
    with _untouched(stage, guest):
        _assert_refused(stage, guest, _protect(guest, witness=witness), code)


def test_a_witness_that_is_down(stage: Stage) -> None:
    """WITNESS-001."""
    guest = stage.guest()
    with _untouched(stage, guest):
        stage.lab.witness.stop()
        try:
            _assert_refused(stage, guest, _protect(guest), "WITNESS-001")
        finally:
            stage.lab.witness.start()


def test_a_second_protection_of_the_same_guest(stage: Stage) -> None:
    """PROTECT-004, and the first one goes on."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        _assert_refused(stage, guest, _protect(guest), "PROTECT-004")
        p.wait_checkpoints(3)
        guest.clients.wait_answers()
        p.unprotect()


def test_clock_skew_is_a_warning(stage: Stage) -> None:
    """An hour between the hosts: said, and protected all the same."""
    guest = stage.guest()
    backup = stage.host(guest.other).shell
    backup.run("date -s @$(($(date +%s) + 3600))")
    try:
        with Protection(stage, guest, detach=False) as p:
            p.wait_checkpoints(3)
            p.unprotect()
            assert p.foreground is not None
            _, err = p.foreground.communicate(timeout=60)
            assert b"clocks differ" in err
            assert p.foreground.returncode == 0
    finally:
        backup.run("date -s @$(($(date +%s) - 3600))")
