"""What an operator may ask for beside the plain ``remus-ha protect``, and the dry run before it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from remus_ha.lab.host import Host
from remus_ha.lab.xlconfig import IMAGES, DiskSpec, GuestSpec, plain_disks
from tests.lab.support.domains import tracks_dirty_pages
from tests.lab.support.leftovers import state_of
from tests.lab.support.protection import ENDS, Protection, ask, refused
from tests.lab.support.stage import DISK_MIB, WITNESS, Guest, Stage
from tests.lab.test_disks import DISKS, KIB_S, judged, settle, survives_a_cut, until, writing
from tests.lab.test_resync import VDEVS, content, image

INTERVAL_MS = 500
READER, LOOP = "reader", "/dev/loop6"


def test_check_where_nothing_stands_in_the_way(stage: Stage) -> None:
    """Status 0, nothing begun on either host, and the guest has not noticed."""
    guest = stage.guest()
    host = stage.host(guest.host)
    command = f"remus-ha check --witness {WITNESS} {guest.name} {guest.other}"
    c = guest.clients
    c.wait_answers()
    assert host.shell.text(command) == "nothing stands in the way\n"
    assert json.loads(host.shell.text(f"{command} --json")) == []
    for name in (guest.host, guest.other):
        assert state_of(stage.host(name)).files == []
        assert stage.host(name).shell.text("remus-ha status") == "no protections on this host\n"
    assert not tracks_dirty_pages(host, guest.name)
    c.wait_answers()


def test_a_guest_whose_disks_stay_behind(stage: Stage) -> None:
    """``-F -d``: protected, nothing of its disks goes anywhere, and it writes on afterwards.

    What the copy would find under the disk's path is the operator's to put there.
    """
    guest = stage.guest(disks=1)
    backup = stage.host(guest.other).shell
    there = image(guest, "xvda")
    disks = writing(stage, guest)
    command = f"remus-ha protect --detach --witness {WITNESS} -F -d {guest.name} {guest.other}"
    assert "DISK-017" in refused(stage, guest.host, command)
    backup.run(f"mkdir -p {IMAGES} && truncate -s {DISK_MIB}M {there}")
    with Protection(stage, guest, "-F", "-d") as p:
        disks.start(KIB_S)
        p.wait_checkpoints(3)
        status = p.progress()
        assert (status["state"], status["disks"]) == ("protected", [])
        p.unprotect()
    assert backup.text(f"stat -c %b {there}") == "0\n", "something was written to the backup"
    begun = disks.stat().completed
    until(lambda: disks.stat().completed >= begun + 10)
    verdict = judged(disks)
    assert verdict.clean, verdict
    assert disks.stat().errors == 0


def put_there(stage: Stage, guest: Guest, vdev: str) -> None:
    """A disk's image, as it is now, on the other host as well: what an operator would do."""
    stage.host(guest.other).shell.run(
        f"mkdir -p {IMAGES} && cat >{image(guest, vdev)}",
        stdin=content(stage.host(guest.host), guest, vdev),
        timeout_s=120,
    )


def test_a_copy_whose_disks_were_put_there(stage: Stage) -> None:
    """``-F -d`` and a power cut: the copy has the images that lie under its disks' paths."""
    guest = stage.guest(disks=DISKS, fresh=True)
    disks = writing(stage, guest)
    settle(disks)
    for vdev in VDEVS:
        put_there(stage, guest, vdev)
    with Protection(stage, guest, "-F", "-d") as p:
        p.wait_checkpoints(3)
        survives_a_cut(p, disks)
        begun = disks.start(KIB_S).completed
        until(lambda: disks.stat().completed >= begun + 10)
        verdict = judged(disks)
        assert verdict.clean, verdict
        assert disks.stat().errors == 0
    stage.drop_guest()


def test_a_disk_that_is_only_read(stage: Stage) -> None:
    """It is not replicated: the backup needs one of its own, and the copy reads that one.

    The disk holds what the guest has saved in an earlier life. It is the kernel's: QEMU 7.2 opens
    no disk for reading only, and a PVH guest's Linux takes no cdrom.
    """
    stage.drop_guest()
    guests, line = stage.lab.guests, "written when it could be"
    guests.create(GuestSpec(READER, disks=plain_disks(1, DISK_MIB)), "a")
    number = guests.disks(READER).save(line)
    loop = f"losetup -r {LOOP} {IMAGES}/{READER}-xvda.img"
    stage.host("a").shell.run(f"xl destroy {READER} && {loop}")
    first = DiskSpec("xvda", DISK_MIB, readonly=True, backend="phy", device=LOOP)
    both = (first, DiskSpec("xvdb", DISK_MIB))
    guest = stage.create(GuestSpec(READER, vifs=2, disks=both, options="disks=1"), "a")
    disks = guests.disks(READER)
    assert disks.saved(number) == line
    command = f"remus-ha protect --detach --witness {WITNESS} {READER} {guest.other}"
    assert "DISK-017" in refused(stage, guest.host, command)
    put_there(stage, guest, "xvda")
    stage.host("b").shell.run(loop)
    with Protection(stage, guest) as p:
        assert [disk["vdev"] for disk in p.progress()["disks"]] == ["xvdb"]
        p.wait_checkpoints(3)
        stage.lab.cut(p.primary)
        p.wait_failed_over()
        assert disks.saved(number) == line
        stat = disks.stat()
        assert stat.direct, "its memory may have told that line"
        assert stat.errors == 0
    stage.drop_guest()
    stage.host("b").shell.run(f"losetup -d {LOOP}")  # the other host has lost its power


def _interrupt(p: Protection) -> None:
    """ctrl-C, to the command that has stayed in the foreground."""
    p.stage.host(p.primary).shell.run(f"pkill -INT -f '[r]emus-ha protect.* {p.guest.name} '")
    assert p.foreground is not None
    out, _ = p.foreground.communicate(timeout=120)
    assert p.foreground.returncode == 0
    assert out.decode().splitlines()[-1] == f"{p.guest.name}: stopped"
    p.log_primary.wait(ENDS)


def into_nothing(stage: Stage, guest: Guest) -> Protection:
    """``-F -b``, in the foreground; the backup's name says nothing."""
    return Protection(stage, guest, "-F", "-b", detach=False, witness="", receiver="nobody")


def test_checkpoints_into_nothing(stage: Stage) -> None:
    """Epochs without backup and witness, never called protected; ctrl-C ends them."""
    guest = stage.guest()
    c = guest.clients
    with into_nothing(stage, guest) as p:
        p.wait_checkpoints(5)
        c.wait_answers()
        status = p.status(p.primary)
        assert (status["state"], status["peer"]) == ("degraded", "blackhole")
        assert tracks_dirty_pages(stage.host(p.primary), guest.name)
        assert state_of(stage.host(p.backup)).files == []
        _interrupt(p)
        c.wait_answers()
    assert not tracks_dirty_pages(stage.host(p.primary), guest.name)


def test_checkpoints_of_a_guest_with_disks_into_nothing(stage: Stage) -> None:
    """It writes on, past no block server and no mirror, and nothing of it goes anywhere."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    look = f"find {IMAGES} -printf '%p %b %T@\\n' 2>&1 || true"
    before = stage.host(guest.other).shell.text(look)
    with into_nothing(stage, guest) as p:
        disks.start(KIB_S)
        begun = disks.stat().completed
        p.wait_checkpoints(5)
        until(lambda: disks.stat().completed >= begun + 10)
        status = p.progress()
        assert (status["state"], status["disks"]) == ("degraded", [])
        for host in (p.primary, p.backup):
            assert stage.host(host).shell.text("pgrep nbdkit || true") == ""
        _interrupt(p)
    assert stage.host(guest.other).shell.text(look) == before
    verdict = judged(disks)
    assert verdict.clean, verdict
    assert verdict.checked > 0
    assert disks.stat().errors == 0


@contextmanager
def own_ssh(host: Host) -> Iterator[tuple[str, str]]:
    """A command that stands in for ssh, and where it notes what it was given."""
    command, notes = "/tmp/own-ssh", "/tmp/own-ssh.notes"
    text = f'#!/bin/sh\necho "$@" >>{notes}\nexec ssh "$@"\n'
    host.shell.run(f"cat >{command} && chmod +x {command}", stdin=text.encode())
    try:
        yield command, notes
    finally:
        host.shell.run(f"rm -f {command} {notes}")


def test_an_interval_and_an_ssh_of_ones_own(stage: Stage) -> None:
    """``-i``: no checkpoint earlier than that. ``-s``: its words come before the host's name."""
    guest = stage.guest()
    host = stage.host(guest.host)
    with own_ssh(host) as (command, notes):
        ssh = f"{command} -o ConnectTimeout=30"
        with Protection(stage, guest, "-i", str(INTERVAL_MS), "-s", ssh) as p:
            assert host.shell.text(f"cat {notes}") == (
                f"-o ConnectTimeout=30 {guest.other} remus-ha receive\n"
            )
            p.wait_checkpoints(8)
            assert p.status(p.primary)["interval_ms"] == INTERVAL_MS
            samples = ask(host, "primary", guest.uuid, {"command": "samples", "after": 0})
            times = [sample["requested"] for sample in samples]
            assert len(times) >= 7
            assert times[-1] - times[0] >= 0.95 * INTERVAL_MS / 1e3 * (len(times) - 1)
            p.unprotect()
