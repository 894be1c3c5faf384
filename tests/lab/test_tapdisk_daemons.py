"""A guest whose disks are ``phy:/dev/nbdN``, served on either host by ``remus-ha tapdisk``.

The devices have other numbers on the backup, so the copy's configuration has to name those.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from remus_ha.lab.errors import UnknownGuest
from remus_ha.lab.plan import Link
from remus_ha.lab.xlconfig import IMAGES, DiskSpec, GuestSpec
from tests.lab.support.protection import Protection, refused
from tests.lab.support.stage import DISK_MIB, WITNESS, Guest, Stage
from tests.lab.test_disks import (
    KIB_S,
    ROUNDS,
    applying_at_once,
    found_out,
    judged,
    survives_a_cut,
    until,
    writing,
)

NAME = "served"
PRIMARY, BACKUP = "a", "b"
DISKS = tuple(
    DiskSpec(vdev, DISK_MIB, backend="phy", device=f"/dev/nbd{number}")
    for number, vdev in enumerate(("xvda", "xvdb"))
)
PORT = 9100


def _uri(stage: Stage, number: int) -> str:
    address = stage.host(BACKUP).plan.address(Link.REPL)
    return f"tap:remus:{address}:{PORT + number}|aio:{DISKS[number].file(NAME)}"


def _device(host: str, number: int) -> str:
    return f"/dev/nbd{number + 4}" if host == BACKUP else DISKS[number].device


def _serve(stage: Stage, host: str) -> None:
    """Images that are alike, and a daemon for each."""
    shell = stage.host(host).shell
    shell.run(f"modprobe nbd && mkdir -p {IMAGES}")
    for number, disk in enumerate(DISKS):
        shell.run(f"truncate -s {disk.size_mib}M {disk.file(NAME)}")
        options = f"--attach {_device(host, number)} --commit coordinated --detach"
        shell.run(f"remus-ha tapdisk '{_uri(stage, number)}' {options}", timeout_s=120)


def _stop(stage: Stage, host: str) -> None:
    """Its device may have outlived a daemon."""
    for number in range(len(DISKS)):
        stop = f"remus-ha tapdisk '{_uri(stage, number)}' --stop"
        command = f"{stop} || nbd-client -d {_device(host, number)}"
        stage.host(host).shell.run(command, check=False, timeout_s=120)
    # Whoever attends to a daemon ends just after it, as does what is between it and its device.
    stage.host(host).shell.run("pidwait -f 'remus-h[a] tapdisk'; pidwait qemu-nbd", check=False)


@contextmanager
def serving(stage: Stage) -> Iterator[Guest]:
    """A new guest on the primary; afterwards nothing of it."""
    stage.drop_guest()
    try:
        for host in (BACKUP, PRIMARY):
            _serve(stage, host)
        yield stage.create(GuestSpec(NAME, vifs=2, disks=DISKS), PRIMARY)
        stage.judge()
    finally:
        with suppress(UnknownGuest):
            stage.lab.guests.destroy(NAME)
        for host in (PRIMARY, BACKUP):
            if stage.host(host).running:
                _stop(stage, host)
        stage.drop_guest()


@pytest.fixture
def served(stage: Stage) -> Iterator[Guest]:
    with serving(stage) as guest:
        yield guest


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_after_a_power_cut_the_daemons_disks_are_at_the_epoch_of_memory(
    stage: Stage, served: Guest, seed: int
) -> None:
    """In its second session, so that the daemons' numbers are not the session's."""
    disks = writing(stage, served)
    with Protection(stage, served) as p:
        p.wait_checkpoints(3)
        p.unprotect()
    stage.forget((PRIMARY, BACKUP))
    with Protection(stage, served) as p:
        disks.start(KIB_S)
        p.wait_checkpoints(random.Random(seed).randint(3, 25))
        survives_a_cut(p, disks)
        shell = stage.host(p.backup).shell
        for number in range(len(DISKS)):
            assert _device(BACKUP, number) in shell.text(f"xl list -l {NAME}")


def test_daemons_that_apply_at_once_are_found_out(stage: Stage) -> None:
    """The negative control: the daemons keep their epochs in the same store."""
    with applying_at_once(stage, BACKUP), serving(stage) as guest:
        found_out(stage, guest)


def test_daemons_that_die_under_their_guest_are_followed_by_others(
    stage: Stage, served: Guest
) -> None:
    """The protection ends, the guest's requests wait for a moment; none fails, none is lost."""
    disks = writing(stage, served)
    with Protection(stage, served) as p:
        disks.start(KIB_S)
        p.wait_checkpoints(3)
        stage.host(p.primary).shell.run("pkill -KILL -f classic/daemon.p[y]")
        p.wait_alone()
    began = disks.stat().completed
    until(lambda: disks.stat().completed >= began + 20)
    verdict = judged(disks)
    assert verdict.clean, verdict
    assert disks.stat().errors == 0


def test_a_lost_daemon_of_the_backup_ends_the_protection(stage: Stage, served: Guest) -> None:
    """The guest goes on, sees no error, and is not protected again before both are the same."""
    disks = writing(stage, served)
    with Protection(stage, served) as p:
        p.wait_checkpoints(3)
        stage.host(p.backup).shell.run("pkill -KILL nbdkit")
        p.wait_alone()
    command = f"remus-ha protect --detach --witness {WITNESS} {NAME} {BACKUP}"
    assert "DISK-157" in refused(stage, PRIMARY, command)
    verdict = judged(disks)
    assert verdict.clean, verdict
    assert disks.stat().errors == 0
