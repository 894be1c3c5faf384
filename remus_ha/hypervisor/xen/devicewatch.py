"""Noticing that a guest has other disks or vifs than those that its protection began with.

A disk that is plugged in meanwhile is not replicated, one that is resized no longer fits, a vif's
output is not held, and the copy would find none of them. Everything is read from the back-ends'
directories, where only dom0 writes.
"""

from collections.abc import Collection, Mapping
from typing import Any

from remus_ha.exceptions import RemusError
from remus_ha.hypervisor import errors
from remus_ha.hypervisor.xen import paths

BACKENDS = "/local/domain/0/backend"
# Served by a QEMU, by the kernel, by a tapdisk without the kernel (Xen 4.19 and later).
_KINDS = ("qdisk", "vbd", "vbd3")
_VIF = "vif"


def disks_of(xs: Any, domid: int, *kinds: str) -> dict[str, int]:
    """Octets of each disk that dom0 serves to the domain, by its name in the guest.

    0 where its back-end has not told them. A disk that is being taken out is none any more.
    ``kinds``: of back-ends, by default all. ``xs``: a connection of ``xen.lowlevel.xs``.
    """
    found: dict[str, int] = {}
    for kind in kinds or _KINDS:
        top = f"{BACKENDS}/{kind}/{domid}"
        for devid in xs.ls("", top) or []:
            vdev = _read(xs, f"{top}/{devid}/dev")
            if vdev and _read(xs, f"{top}/{devid}/online") != "0":
                found[vdev] = _size(xs, f"{top}/{devid}")
    return found


def macs_of(xs: Any, domid: int) -> set[str]:
    """Of the vifs that dom0 serves to the domain and is not taking out, in lower case."""
    top = f"{BACKENDS}/{_VIF}/{domid}"
    there = [f"{top}/{n}" for n in xs.ls("", top) or []]
    return {
        mac.lower()
        for vif in there
        if (mac := _read(xs, f"{vif}/mac")) and _read(xs, f"{vif}/online") != "0"
    }


def _size(xs: Any, top: str) -> int:
    sectors, sector = _read(xs, f"{top}/sectors"), _read(xs, f"{top}/sector-size")
    return int(sectors) * int(sector) if sectors and sector else 0


def _read(xs: Any, path: str) -> str:
    value: bytes | None = xs.read("", path)
    return (value or b"").decode()


def difference(before: Mapping[str, int], now: Mapping[str, int]) -> RemusError | None:
    """The first disk that is not as it was, as a DiskChanged."""
    for vdev in sorted({**before, **now}):
        if vdev not in now:
            return errors.DiskChanged(vdev=vdev, what="detached")
        if vdev not in before:
            return errors.DiskChanged(vdev=vdev, what="attached")
        if before[vdev] != now[vdev]:
            what = f"resized from {before[vdev]} to {now[vdev]} octets"
            return errors.DiskChanged(vdev=vdev, what=what)
    return None


def vif_difference(before: Collection[str], now: Collection[str]) -> RemusError | None:
    """The first vif, by its MAC, that was not there or is not there any more."""
    for mac in sorted({*before, *now}):
        if mac not in now:
            return errors.VifChanged(mac=mac, what="detached")
        if mac not in before:
            return errors.VifChanged(mac=mac, what="attached")
    return None


class DeviceWatch:
    """``fileno`` is readable when ``change`` is worth a look, at first at once.

    ``disks``, ``macs``: what ``disks_of`` and ``macs_of`` said when the protection was arranged.
    """

    def __init__(
        self, xs: Any, domid: int, disks: Mapping[str, int], macs: Collection[str]
    ) -> None:
        """``xs``: a connection of its own."""
        self._xs, self._domid, self._disks, self._macs = xs, domid, disks, macs
        for kind in (*_KINDS, _VIF):
            xs.watch(f"{BACKENDS}/{kind}/{domid}", kind)

    @classmethod
    def open(
        cls, version: str, domid: int, disks: Mapping[str, int], macs: Collection[str]
    ) -> "DeviceWatch":
        paths.add_bindings(version)
        from xen.lowlevel import xs  # noqa: PLC0415  (needs dom0)

        return cls(xs.xs(), domid, disks, macs)

    def fileno(self) -> int:
        return int(self._xs.fileno())

    def change(self) -> RemusError | None:
        """What is not as it was. Takes in what made ``fileno`` readable."""
        while self._xs.check_watch() is not None:
            pass
        changed = difference(self._disks, disks_of(self._xs, self._domid))
        return changed or vif_difference(self._macs, macs_of(self._xs, self._domid))

    def close(self) -> None:
        self._xs.close()
