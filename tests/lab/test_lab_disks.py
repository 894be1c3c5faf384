"""Disks in the lab: a guest's, which prove themselves, and the host's own, which outlives it."""

from collections.abc import Iterator

import pytest

from remus_ha.lab.disks import DiskControl
from remus_ha.lab.xlconfig import GuestSpec, plain_disks
from tests.lab.support.stage import Stage
from tests.lab.test_disks import settle, until

GUEST = "disky"
IMAGES = f"/srv/guests/{GUEST}-xvd?.img"


@pytest.fixture
def disky(stage: Stage) -> Iterator[DiskControl]:
    """The disk program of a guest with two disks on host a."""
    stage.drop_guest()
    stage.host("a").shell.run(f"rm -f {IMAGES}")
    stage.lab.guests.create(GuestSpec(GUEST, disks=plain_disks(2, 32), options="kib_s=256"), "a")
    yield stage.lab.guests.disks(GUEST)
    stage.drop_guest()


@pytest.mark.gate
def test_a_guest_writes_to_two_disks_and_proves_it(stage: Stage, disky: DiskControl) -> None:
    stat = disky.stat()
    assert (stat.disks, stat.writers, stat.direct, stat.running) == (2, 8, True, False)
    disky.start()
    until(lambda: disky.stat().completed >= 100)
    disky.stop()
    number = disky.save("a line of a client")
    verdict = disky.verify()
    assert verdict.clean, verdict
    assert verdict.saved == number
    assert all(disk.checked > 0 for disk in verdict.disks.values())
    assert disky.saved(number) == "a line of a client"
    assert disky.latency().count >= 100
    assert disky.stat().errors == 0


def test_the_image_on_the_host_holds_what_the_guest_wrote(stage: Stage, disky: DiskControl) -> None:
    """Negative control: one changed byte in dom0 is found in the guest."""
    disky.start()
    until(lambda: disky.stat().completed >= 50)
    settle(disky)
    written = max((disky.last(writer) for writer in range(8)), key=lambda last: last.completed)
    image = f"/srv/guests/{GUEST}-{written.disk}.img"
    stage.host("a").shell.run(
        f"printf X | dd of={image} bs=1 seek={written.offset + 99} conv=notrunc"
    )
    verdict = disky.verify()
    assert (verdict.missing, verdict.later, verdict.corrupt) == (0, 0, 1)
    assert verdict.disks[written.disk].corrupt == 1


def test_a_disk_that_stands_still_silences_nothing(stage: Stage, disky: DiskControl) -> None:
    """Its QEMU is stopped: writes hang, the guest and its programs answer, no write is lost."""
    host = stage.host("a")
    (domid,) = (row.domid for row in stage.lab.guests.list() if row.name == GUEST)
    backend = host.shell.text(f"xenstore-read /local/domain/{domid}/image/device-model-pid").strip()
    disky.start(0)
    until(lambda: disky.stat().completed >= 50)
    host.shell.run(f"kill -STOP {backend}")
    try:
        stuck = disky.stat()
        until(lambda: disky.stat().in_flight == stuck.writers)
        assert stage.lab.guests.control(GUEST).stat().ticks > 0
        assert disky.stop().in_flight == stuck.writers
    finally:
        host.shell.run(f"kill -CONT {backend}")
    until(lambda: not disky.stat().in_flight)
    verdict = disky.verify()
    assert verdict.clean, verdict
    assert disky.stat().errors == 0


def test_a_guest_that_starts_again_finds_its_saved_lines(stage: Stage, disky: DiskControl) -> None:
    """Its image outlives the domain, on a host that has lost its power."""
    lab = stage.lab
    assert disky.save("before the power cut") == 1
    lab.cut("a")
    lab.boot("a")
    lab.guests.create(GuestSpec(GUEST, disks=plain_disks(2, 32)), "a")
    again = lab.guests.disks(GUEST)
    assert again.saved(1) == "before the power cut"
    assert again.save("after it") == 2
    assert again.verify().clean


def test_images_go_with_their_guest(stage: Stage, disky: DiskControl) -> None:
    a = stage.host("a").shell
    assert len(a.text(f"ls {IMAGES}").split()) == 2
    stage.lab.guests.destroy(GUEST)
    assert a.run(f"ls {IMAGES}", check=False).returncode != 0


def test_a_data_disk_outlives_a_power_cut(stage: Stage) -> None:
    """What was synced is there; each host has a disk of its own; the other disk is fresh."""
    lab = stage.lab
    stage.drop_guest()
    lab.ssh("b", "mountpoint -q /srv && echo kept >/srv/mark && sync /srv/mark")
    lab.ssh("b", "head -c 3000000 /dev/urandom >/srv/big && sync /srv/big")
    before = lab.ssh("b", "sha256sum /srv/big").stdout
    assert lab.ssh("a", "test -e /srv/mark", check=False).returncode == 1
    for _ in range(2):
        lab.cut("b")
        lab.boot("b")
        assert lab.ssh("b", "cat /srv/mark").stdout == b"kept\n"
        assert lab.ssh("b", "sha256sum /srv/big").stdout == before
        assert lab.ssh("b", "mountpoint -q /srv", check=False).returncode == 0
    lab.ssh("b", "rm /srv/mark /srv/big")
