"""Noticing that a guest has other disks than those that its protection began with.

What is plugged in meanwhile is not replicated, what is resized no longer fits, and the copy would
find neither. Everything is read from the back-ends' directories, where only dom0 writes.
"""

from collections.abc import Mapping
from typing import Any

from remus_ha.exceptions import RemusError
from remus_ha.hypervisor import errors
from remus_ha.hypervisor.xen import paths

BACKENDS = "/local/domain/0/backend"
_KINDS = ("qdisk", "vbd")  # served by a QEMU, by the kernel


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


class DiskWatch:
    """``fileno`` is readable when ``change`` is worth a look, at first at once.

    ``before``: what ``disks_of`` said when the protection was arranged.
    """

    def __init__(self, xs: Any, domid: int, before: Mapping[str, int]) -> None:
        """``xs``: a connection of its own."""
        self._xs, self._domid, self._before = xs, domid, before
        for kind in _KINDS:
            xs.watch(f"{BACKENDS}/{kind}/{domid}", kind)

    @classmethod
    def open(cls, version: str, domid: int, before: Mapping[str, int]) -> "DiskWatch":
        paths.add_bindings(version)
        from xen.lowlevel import xs  # noqa: PLC0415  (needs dom0)

        return cls(xs.xs(), domid, before)

    def fileno(self) -> int:
        return int(self._xs.fileno())

    def change(self) -> RemusError | None:
        """What is not as it was. Takes in what made ``fileno`` readable."""
        while self._xs.check_watch() is not None:
            pass
        return difference(self._before, disks_of(self._xs, self._domid))

    def close(self) -> None:
        self._xs.close()
