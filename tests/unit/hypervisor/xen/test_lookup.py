"""Guests as ``xl list -l`` tells them, and what stands in the way of protecting them."""

import json
from typing import Any

import pytest

from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import Disk, Life, Vif
from remus_ha.hypervisor.xen import lookup
from remus_ha.hypervisor.xen.disks import ServedDisk
from remus_ha.hypervisor.xen.driver import XenDriver
from tests.unit.hypervisor.xen.listing import DISKS, DOM0, PVH, UUID, other, pvh


@pytest.fixture
def driver() -> XenDriver:
    """Without a hypervisor: its judgement of a guest needs only xenstore."""
    made = XenDriver.__new__(XenDriver)
    made._xs = Xenstore({})
    return made


class Xenstore:
    """What ``xen.lowlevel.xs`` says of a store with these nodes."""

    def __init__(self, nodes: dict[str, str]) -> None:
        self._nodes = nodes

    def ls(self, _transaction: str, path: str) -> list[str] | None:
        inner = (node for node in self._nodes if node.startswith(path + "/"))
        return sorted({node[len(path) + 1 :].split("/")[0] for node in inner}) or None

    def read(self, _transaction: str, path: str) -> bytes | None:
        return self._nodes[path].encode() if path in self._nodes else None


def qdisk(devid: int, dev: str, sectors: int) -> dict[str, str]:
    top = f"/local/domain/0/backend/qdisk/3/{devid}"
    return {f"{top}/dev": dev, f"{top}/sectors": str(sectors), f"{top}/sector-size": "512"}


def codes(driver: XenDriver, entry: dict[str, Any], life: Life = Life.RUNNING) -> list[str]:
    guest = lookup.parse(entry, life)
    return [e.code for e in driver.obstacles(guest, disks_may_differ=False)]


def test_a_pvh_guest(driver: XenDriver) -> None:
    guest = lookup.parse(pvh(), Life.RUNNING)
    assert (guest.name, guest.uuid, guest.domid, guest.kind) == ("web1", UUID, 3, "pvh")
    assert (guest.memory_kib, guest.vcpus, guest.life) == (98304, 2, Life.RUNNING)
    assert guest.vifs == (
        Vif(0, "vif3.0", "00:16:3e:00:00:50", "xenbr0", "/etc/xen/scripts/vif-bridge", 0),
        Vif(1, "web1-inside", "00:16:3e:00:00:51", "xenbr1", "vif-openvswitch", 0),
    )
    assert (guest.disks, guest.passthrough) == ((), ())
    assert guest.config == PVH["config"]
    assert driver.obstacles(guest, disks_may_differ=False) == []


def test_disks(driver: XenDriver) -> None:
    entry = pvh()
    entry["config"]["disks"] = DISKS
    guest = lookup.parse(entry, Life.RUNNING)
    assert guest.disks == (
        Disk("xvda", "/var/lib/xen/web1.img", writable=True, cdrom=False, format="raw"),
        Disk("xvdb", "/dev/vg0/data", writable=False, cdrom=False, format="raw"),
        Disk("hdc", "", writable=False, cdrom=True, format="raw"),
    )
    (refused,) = driver.obstacles(guest, disks_may_differ=False)
    assert isinstance(refused, errors.DiskNotInQemu)
    assert "xvda" in str(refused)
    assert "xvdb" not in str(refused)
    assert driver.obstacles(guest, disks_may_differ=True) == []


def test_a_disk_that_a_qemu_serves_can_be_replicated(driver: XenDriver) -> None:
    entry = pvh()
    entry["config"]["disks"] = DISKS
    driver._xs = Xenstore(qdisk(51712, "xvda", 2048))
    guest = lookup.parse(entry, Life.RUNNING)
    assert driver.obstacles(guest, disks_may_differ=False) == []
    (disk,) = driver.disks(guest)
    assert disk == ServedDisk("xvda", "/var/lib/xen/web1.img", 1 << 20, "xvda-raw", "raw")


def test_a_qcow2_disk_can_be_replicated(driver: XenDriver) -> None:
    entry = pvh()
    entry["config"]["disks"] = [{**DISKS[0], "format": "qcow2"}]
    driver._xs = Xenstore(qdisk(51712, "xvda", 2048))
    guest = lookup.parse(entry, Life.RUNNING)
    assert driver.obstacles(guest, disks_may_differ=False) == []
    (disk,) = driver.disks(guest)
    assert disk == ServedDisk("xvda", "/var/lib/xen/web1.img", 1 << 20, "xvda-qcow2", "qcow2")


@pytest.mark.parametrize("image_format", ["vhd", "qcow", "qed", "empty"])
def test_disks_of_other_formats_are_refused(driver: XenDriver, image_format: str) -> None:
    entry = pvh()
    entry["config"]["disks"] = [{**DISKS[0], "format": image_format}]
    driver._xs = Xenstore(qdisk(51712, "xvda", 2048))
    (refused,) = driver.obstacles(lookup.parse(entry, Life.RUNNING), disks_may_differ=False)
    assert isinstance(refused, errors.DiskFormat)


def test_an_hvm_guest_cannot_be_protected(driver: XenDriver) -> None:
    assert codes(driver, other("hvm")) == ["XEN-006"]


@pytest.mark.parametrize(
    ("caps", "why"),
    [("pv hvm hap", "no shadow paging"), ("pv hvm hap shadow vpmu", "only PVH guests")],
)
def test_a_pv_guest_cannot_be_protected_and_the_hypervisor_says_why(
    driver: XenDriver, monkeypatch: pytest.MonkeyPatch, caps: str, why: str
) -> None:
    info = f"release                : 6.1.0\nvirt_caps              : {caps}\nfree_memory : 12\n"
    monkeypatch.setattr("remus_ha.hypervisor.xen.driver.xl", lambda *_: info)
    (refused,) = driver.obstacles(lookup.parse(other("pv"), Life.RUNNING), disks_may_differ=False)
    assert isinstance(refused, errors.GuestIsPv)
    assert why in str(refused)


@pytest.mark.parametrize(
    "life", [Life.PAUSED, Life.SUSPENDED, Life.POWEROFF, Life.CRASHED, Life.GONE]
)
def test_a_guest_that_does_not_run(driver: XenDriver, life: Life) -> None:
    assert codes(driver, pvh(), life) == ["XEN-004"]


@pytest.mark.parametrize("kind", ["pcidevs", "dtdevs", "usbdevs", "rdms"])
def test_passthrough(driver: XenDriver, kind: str) -> None:
    entry = pvh()
    entry["config"][kind] = [{"func": 0, "dev": 3}, {"func": 1, "dev": 3}]
    assert len(lookup.parse(entry, Life.RUNNING).passthrough) == 2
    assert codes(driver, entry) == ["XEN-007"]


@pytest.mark.parametrize(
    "kind", ["p9s", "pvcallsifs", "vtpms", "vsnds", "vfbs", "channels", "virtios"]
)
def test_devices_that_nothing_replicates_or_buffers(driver: XenDriver, kind: str) -> None:
    entry = pvh()
    entry["config"][kind] = [{"devid": 0}]
    (refused,) = driver.obstacles(lookup.parse(entry, Life.RUNNING), disks_may_differ=True)
    assert isinstance(refused, errors.OtherDevices)
    assert kind in str(refused)


def test_a_vif_served_by_a_driver_domain(driver: XenDriver) -> None:
    entry = pvh()
    entry["config"]["nics"][1]["backend_domid"] = 2
    assert codes(driver, entry) == ["XEN-009"]


def test_all_obstacles_are_found_at_once(driver: XenDriver) -> None:
    entry = other("hvm")
    entry["config"]["disks"] = DISKS
    entry["config"]["pcidevs"] = [{"dev": 3}]
    assert codes(driver, entry, Life.PAUSED) == ["XEN-004", "XEN-006", "XEN-007", "XEN-008"]


@pytest.mark.parametrize(
    "path",
    [("c_info", "name"), ("c_info", "type"), ("c_info", "uuid"), ("b_info", "max_memkb")],
)
def test_an_entry_without_something_is_named(path: tuple[str, str]) -> None:
    entry = pvh()
    del entry["config"][path[0]][path[1]]
    with pytest.raises(errors.ConfigUnreadable, match=path[1]):
        lookup.parse(entry, Life.RUNNING)


def listing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(lookup, "xl", lambda *arguments: text)


@pytest.mark.parametrize("name", ["web1", UUID, "3"])
def test_a_guest_is_found_by_name_uuid_or_number(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    listing(monkeypatch, json.dumps([DOM0, PVH]))
    monkeypatch.setattr(lookup, "_guest", lambda entry, version: lookup.parse(entry, Life.RUNNING))
    assert lookup.find(name, "4.17").name == "web1"


@pytest.mark.parametrize("name", ["Domain-0", "0", "web2", ""])
def test_dom0_and_strangers_are_no_guests(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    listing(monkeypatch, json.dumps([DOM0, PVH]))
    with pytest.raises(errors.NoSuchGuest):
        lookup.find(name, "4.17")


def test_a_listing_that_is_not_json(monkeypatch: pytest.MonkeyPatch) -> None:
    listing(monkeypatch, "libxl: error: libxl.c: no such thing\n")
    with pytest.raises(errors.ConfigUnreadable):
        lookup.find("web1", "4.17")


def test_a_domain_that_is_just_going_has_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    listing(monkeypatch, json.dumps([DOM0, {"domid": 2}, PVH]))
    assert [entry["domid"] for entry in lookup.entries()] == [0, 3]
