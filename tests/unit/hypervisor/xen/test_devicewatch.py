"""A guest's disks and vifs in a played xenstore, and what is noticed of them."""

import os

import pytest

from remus_ha.hypervisor.xen.devicewatch import DeviceWatch, disks_of, macs_of
from remus_ha.waiting import readable

DOMID = 3
MAC, OTHER_MAC = "00:16:3e:00:00:0a", "00:16:3e:00:00:0b"


class Xenstore:
    """A store with watches: like the real one, it fires each once when it is set."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self._watches: dict[str, str] = {}
        self._fired: list[tuple[str, str]] = []
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)

    def ls(self, _transaction: str, path: str) -> list[str] | None:
        inner = (node for node in self.nodes if node.startswith(path + "/"))
        return sorted({node[len(path) + 1 :].split("/")[0] for node in inner}) or None

    def read(self, _transaction: str, path: str) -> bytes | None:
        return self.nodes[path].encode() if path in self.nodes else None

    def watch(self, path: str, token: str) -> None:
        self._watches[path] = token
        self._fire(path, token)

    def _fire(self, path: str, token: str) -> None:
        self._fired.append((path, token))
        os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        return self._fd

    def check_watch(self) -> tuple[str, str] | None:
        if not self._fired:
            return None
        if len(self._fired) == 1:
            os.eventfd_read(self._fd)
        return self._fired.pop(0)

    def close(self) -> None:
        os.close(self._fd)

    def put(self, kind: str, devid: int, **values: str) -> None:
        """What dom0 writes of a disk; fires."""
        top = f"/local/domain/0/backend/{kind}/{DOMID}/{devid}"
        for key, value in values.items():
            path = f"{top}/{key.replace('_', '-')}"
            self.nodes[path] = value
            for watched, token in self._watches.items():
                if path.startswith(watched):
                    self._fire(path, token)

    def attach(self, vdev: str, devid: int, sectors: int = 2048, kind: str = "qdisk") -> None:
        size = {"sectors": str(sectors), "sector_size": "512"}
        self.put(kind, devid, dev=vdev, online="1", state="4", **size)


@pytest.fixture
def store() -> Xenstore:
    made = Xenstore()
    made.attach("xvda", 51712)
    made.attach("xvdb", 51728, kind="vbd")
    made.put("vif", 0, mac=MAC.upper(), online="1")
    return made


@pytest.fixture
def watch(store: Xenstore) -> DeviceWatch:
    return DeviceWatch(store, DOMID, disks_of(store, DOMID), macs_of(store, DOMID))


def has_news(watch: DeviceWatch) -> bool:
    return readable(watch, 0)


def test_all_that_dom0_serves(store: Xenstore) -> None:
    assert disks_of(store, DOMID) == {"xvda": 1 << 20, "xvdb": 1 << 20}
    assert disks_of(store, DOMID, "qdisk") == {"xvda": 1 << 20}
    assert disks_of(store, 4) == {}


def test_at_first_there_is_a_look_and_nothing_to_say(watch: DeviceWatch) -> None:
    assert has_news(watch)
    assert watch.change() is None
    assert not has_news(watch)


def test_what_has_changed_since_it_was_arranged_is_seen_at_once(store: Xenstore) -> None:
    watch = DeviceWatch(store, DOMID, {"xvda": 1 << 20}, {MAC})
    assert has_news(watch)
    assert "xvdb was attached" in str(watch.change())


@pytest.mark.parametrize("kind", ["qdisk", "vbd", "vbd3"])
def test_a_new_disk(store: Xenstore, watch: DeviceWatch, kind: str) -> None:
    watch.change()
    store.attach("xvdc", 51744, kind=kind)
    assert has_news(watch)
    assert str(watch.change()) == "XEN-030: disk xvdc was attached while the guest was protected"


def test_a_new_disk_is_seen_before_its_size_is_known(store: Xenstore, watch: DeviceWatch) -> None:
    store.put("qdisk", 51744, dev="xvdc", online="1")
    assert "xvdc was attached" in str(watch.change())


def test_another_size(store: Xenstore, watch: DeviceWatch) -> None:
    watch.change()
    store.put("qdisk", 51712, sectors="4096")
    assert has_news(watch)
    assert f"xvda was resized from {1 << 20} to {1 << 21} octets" in str(watch.change())


def test_a_disk_that_is_being_taken_out_is_gone(store: Xenstore, watch: DeviceWatch) -> None:
    """The toolstack says so before the back-end lets go."""
    store.put("qdisk", 51712, online="0", state="5")
    assert "xvda was detached" in str(watch.change())


def test_a_disk_that_has_been_taken_out(store: Xenstore, watch: DeviceWatch) -> None:
    store.nodes = {path: value for path, value in store.nodes.items() if "/51712/" not in path}
    assert "xvda was detached" in str(watch.change())


def test_a_new_vif(store: Xenstore, watch: DeviceWatch) -> None:
    watch.change()
    store.put("vif", 1, mac=OTHER_MAC, online="1")
    assert has_news(watch)
    what = f"vif {OTHER_MAC} was attached while the guest was protected"
    assert str(watch.change()) == f"XEN-031: {what}"


def test_a_vif_that_is_being_taken_out_is_gone(store: Xenstore, watch: DeviceWatch) -> None:
    store.put("vif", 0, online="0")
    assert f"{MAC} was detached" in str(watch.change())


def test_what_does_not_matter_is_no_change(store: Xenstore, watch: DeviceWatch) -> None:
    store.put("qdisk", 51712, state="3", hotplug_status="connected")
    store.put("vif", 0, state="3")
    assert watch.change() is None
