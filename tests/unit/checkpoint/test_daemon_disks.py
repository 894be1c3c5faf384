"""A guest on daemons' disks: which driver it gets, and what both sides are told of its disks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from remus_ha import rundir
from remus_ha.checkpoint import arrange
from remus_ha.checkpoint.arrange import Arrangement
from remus_ha.checkpoint.receiver import Receiver
from remus_ha.checkpoint.wish import Wish
from remus_ha.disk.errors import DriverFormat
from remus_ha.disk.tapdisk.classic import standing
from remus_ha.disk.tapdisk.errors import FlushesInTheWay
from remus_ha.hypervisor.base import Guest, Life
from remus_ha.hypervisor.xen import lookup
from remus_ha.hypervisor.xen.disks import ServedDisk
from remus_ha.loading import DriverMissing, load
from remus_ha.receive.request import Reply
from remus_ha.stream.credentials import create
from tests.unit.hypervisor.xen.listing import pvh

URI = "tap:remus:10.0.0.2:9000|aio:/images/web1.img"
SERVED = ServedDisk("xvda", "/images/web1.img", 1 << 20, "", "raw", URI)
PLAIN = ServedDisk("xvda", "/images/web1.img", 1 << 20, "xvda-raw", "raw")
WISH = Wish(
    domain="web1",
    host="b",
    force=True,
    disk_entry="remus_ha.disk.qemu.driver:QemuDisks",
    disk_map=(("/images", "/elsewhere"),),
)
REPLY = Reply("10.0.0.2", 1, 2, "", "b", "nonce", wall_clock_s=0.0, disk_ports=(0,))


def _guest() -> Guest:
    return replace(lookup.parse(pvh(), Life.RUNNING), vifs=(), config={"c_info": {}})


@dataclass
class Xen:
    """In place of XenDriver."""

    served: list[ServedDisk]
    version: str = "4.17"
    guest: Guest = field(default_factory=_guest)

    def find(self, name: str) -> Guest:
        return self.guest

    def all_disks(self, domid: int) -> dict[str, int]:
        return {"xvda": 1 << 20}

    def disks(self, guest: Guest) -> list[ServedDisk]:
        return self.served


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("ROOT", "STATE"):
        monkeypatch.setattr(rundir, name, tmp_path)


def _arranged(
    monkeypatch: pytest.MonkeyPatch, *disks: ServedDisk, wish: Wish = WISH
) -> Arrangement:
    monkeypatch.setattr(arrange, "XenDriver", lambda: Xen(list(disks)))
    return Arrangement(wish, Receiver(wish))


def test_it_gets_the_classic_driver_and_the_daemons_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Sequence[str]] = []
    monkeypatch.setattr(standing, "base_of", lambda uris: asked.append(uris) or 7)
    arrangement = _arranged(monkeypatch, SERVED)
    request = arrangement.request(create())
    (spec,) = request.disks
    assert (spec.path, spec.uri, spec.base) == ("/images/web1.img", URI, 7)
    session = arrangement._session(request, REPLY)
    assert load(session.disk_entry).__name__ == "ClassicDisks"
    (disk,) = session.disks
    assert (disk.path, disk.uri, disk.base) == ("/images/web1.img", URI, 7)
    assert asked == [[URI]]
    assert arrangement._driver_obstacles() == []


def test_a_daemon_that_is_not_ready_is_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uris: Sequence[str]) -> int:
        raise FlushesInTheWay(disk=uris[0], detail="1 is not answered")

    monkeypatch.setattr(standing, "base_of", refuse)
    (found,) = _arranged(monkeypatch, SERVED)._driver_obstacles()
    assert isinstance(found, FlushesInTheWay)


def test_other_disks_get_the_driver_that_was_wished_for(monkeypatch: pytest.MonkeyPatch) -> None:
    arrangement = _arranged(monkeypatch, PLAIN)
    request = arrangement.request(create())
    (spec,) = request.disks
    assert (spec.path, spec.uri, spec.base) == ("/elsewhere/web1.img", "", 0)
    assert arrangement._session(request, REPLY).disk_entry == WISH.disk_entry


@pytest.mark.parametrize(
    ("formats", "driver"),
    [(["raw", "raw"], "TapdiskDisks"), (["raw", "qcow2"], "QemuDisks"), ([], "TapdiskDisks")],
)
def test_without_a_wish_the_disks_get_the_driver_that_takes_them_all(
    monkeypatch: pytest.MonkeyPatch, formats: list[str], driver: str
) -> None:
    disks = [replace(PLAIN, vdev=f"xvd{i}", format=form) for i, form in enumerate(formats)]
    arrangement = _arranged(monkeypatch, *disks, wish=replace(WISH, disk_entry=""))
    reply = replace(REPLY, disk_ports=(0,) * len(disks))
    session = arrangement._session(arrangement.request(create()), reply)
    assert load(session.disk_entry).__name__ == driver
    assert arrangement._driver_obstacles() == []


def test_without_disks_no_driver_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library may not be there, which is nobody's obstacle then."""
    monkeypatch.setattr(arrange, "load", _refuse_to_load)
    assert _arranged(monkeypatch, wish=replace(WISH, disk_entry=""))._driver_obstacles() == []


def test_a_driver_that_cannot_be_loaded_is_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrange, "load", _refuse_to_load)
    (found,) = _arranged(monkeypatch, PLAIN, wish=replace(WISH, disk_entry=""))._driver_obstacles()
    assert isinstance(found, DriverMissing)


def _refuse_to_load(entry: str) -> None:
    raise DriverMissing(entry=entry, detail="not today")


def test_a_driver_that_was_wished_for_and_does_not_take_a_disk_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wish = replace(WISH, disk_entry="remus_ha.disk.tapdisk.driver:TapdiskDisks")
    (found,) = _arranged(
        monkeypatch, PLAIN, replace(PLAIN, format="qcow2"), wish=wish
    )._driver_obstacles()
    assert isinstance(found, DriverFormat)
