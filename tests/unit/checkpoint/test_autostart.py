"""A guest that this host starts open by itself is not protected, or only with a warning."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from remus_ha.checkpoint import arrange
from remus_ha.checkpoint.arrange import Arrangement
from remus_ha.checkpoint.receiver import Receiver
from remus_ha.checkpoint.wish import Wish
from remus_ha.cmd.remus_ha import main
from remus_ha.exceptions import RemusError
from remus_ha.hotplug import starts
from remus_ha.hotplug.script import SCRIPT
from remus_ha.hotplug.starts import Files
from remus_ha.hypervisor.base import Guest, Life
from remus_ha.hypervisor.xen import lookup
from remus_ha.hypervisor.xen.disks import ServedDisk
from remus_ha.receive import start
from tests.unit.hypervisor.xen.listing import pvh
from tests.unit.receive.test_request import REQUEST

GUEST = lookup.parse(pvh(), Life.RUNNING)
WISH = Wish(domain=GUEST.name, host="b", witness="etcd://x")


class Xen:
    """In place of XenDriver."""

    guest = GUEST

    def find(self, name: str) -> Guest:
        return self.guest

    def all_disks(self, domid: int) -> dict[str, int]:
        return {}

    def disks(self, guest: Guest) -> list[ServedDisk]:
        return []

    def obstacles(self, guest: Guest, *, disks_may_differ: bool) -> list[RemusError]:
        return []

    def backup_obstacles(self, guest: Guest, their_version: str) -> list[RemusError]:
        return []


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """This host starts the guest at boot, and xl.conf names no script."""
    files = Files(tmp_path / "xl.conf", tmp_path / "auto", tmp_path / "libvirt")
    files.auto.mkdir()
    (files.auto / "guest").write_text(f'name = "{GUEST.name}"\nvif = [ "" ]\n')
    for name in ("at_boot", "by_hand"):
        monkeypatch.setattr(starts, name, partial(getattr(starts, name), files=files))
    monkeypatch.setattr(arrange, "XenDriver", Xen)
    monkeypatch.setattr(arrange, "vif_obstacles", lambda *_: [])
    monkeypatch.setattr(Arrangement, "_witness_obstacles", lambda self: [])
    return files


def judged(wish: Wish) -> tuple[list[RemusError], list[str]]:
    """Obstacles and warnings."""
    arrangement = Arrangement(wish, Receiver(wish))
    return arrangement.obstacles(), arrangement.warnings


def test_an_open_autostart_is_an_obstacle(files: Files) -> None:
    (obstacle,), warnings = judged(WISH)
    assert obstacle.code == "VIF-006"
    assert not warnings


def test_force_makes_it_a_warning(files: Files) -> None:
    obstacles, (warning,) = judged(replace(WISH, force=True))
    assert not obstacles
    assert "VIF-006" in warning


def test_without_autostart_it_is_a_warning(files: Files) -> None:
    (files.auto / "guest").unlink()
    obstacles, (warning,) = judged(WISH)
    assert not obstacles
    assert "VIF-007" in warning


def test_with_our_script_nothing_is_said(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.xl_conf.write_text(f'vif.default.script="{SCRIPT}"\n')
    vifs = tuple(replace(vif, script=str(SCRIPT)) for vif in GUEST.vifs)
    monkeypatch.setattr(Xen, "guest", replace(GUEST, vifs=vifs))
    assert judged(WISH) == ([], [])


def test_where_there_is_no_backup_no_copy_is_a_second_one(files: Files) -> None:
    assert judged(replace(WISH, blackhole=True, force=True)) == ([], [])


def test_check_tells_warnings_beside_the_obstacles(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Receiver, "knock", lambda self, *more: None)
    monkeypatch.setattr(Arrangement, "backup_obstacles", lambda self: [])
    (files.auto / "guest").unlink()
    assert main(["check", "--witness", "etcd://x", GUEST.name, "b"]) == 0
    said = capsys.readouterr()
    assert "nothing stands in the way" in said.out
    assert "warning: VIF-007" in said.err


@pytest.mark.parametrize(("forced", "codes"), [(False, ["VIF-006"]), (True, [])])
def test_the_backup_does_not_start_it_either(
    files: Files, monkeypatch: pytest.MonkeyPatch, forced: bool, codes: list[str]
) -> None:
    monkeypatch.setattr(start, "XenDriver", Xen)
    request = replace(REQUEST, guest_name=GUEST.name, disks=(), forced=forced)
    assert [e.code for e in start.check(request)] == codes
