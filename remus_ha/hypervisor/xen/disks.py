"""What serves a domain's disks in dom0, as xenstore tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remus_ha.disk.qemuimg import FORMATS, RAW
from remus_ha.disk.tapdisk.classic import standing
from remus_ha.disk.tapdisk.uri import parse
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import Guest
from remus_ha.hypervisor.xen.devicewatch import disks_of


@dataclass(frozen=True, slots=True)
class ServedDisk:
    """A writable disk that a QEMU serves. ``size`` is octets, ``node`` QEMU's block node.

    Or that a daemon serves: then ``uri`` is its name.
    """

    vdev: str
    path: str  # of the image
    size: int
    node: str
    format: str
    uri: str = ""


def served(xs: Any, guest: Guest) -> tuple[list[ServedDisk], list[RemusError]]:
    """The guest's writable disks, and why some of them cannot be replicated.

    ``xs``: a connection of ``xen.lowlevel.xs``.
    """
    nodes = disks_of(xs, guest.domid, "qdisk")
    by_daemons = _by_daemons(xs, guest, nodes)
    if by_daemons:
        return by_daemons, []
    found: list[ServedDisk] = []
    obstacles: list[RemusError] = []
    for disk in guest.disks:
        if not disk.writable:
            continue
        if not nodes.get(disk.vdev):
            obstacles.append(errors.DiskNotInQemu(name=guest.name, vdev=disk.vdev))
        elif disk.format not in FORMATS:
            obstacles.append(errors.DiskFormat(name=guest.name, vdev=disk.vdev, format=disk.format))
        else:
            size, node = nodes[disk.vdev], f"{disk.vdev}-{disk.format}"
            found.append(ServedDisk(disk.vdev, disk.path, size, node, disk.format))
    return found, obstacles


def _by_daemons(xs: Any, guest: Guest, nodes: Mapping[str, int]) -> list[ServedDisk]:
    """All writable disks of a guest of which no QEMU serves one; empty if one has no daemon."""
    disks = [disk for disk in guest.disks if disk.writable]
    if not disks or any(nodes.get(disk.vdev) for disk in disks):
        return []
    daemons, sizes = standing.attached(), disks_of(xs, guest.domid, "vbd")
    if not all(disk.path in daemons and sizes.get(disk.vdev) for disk in disks):
        return []
    return [_by_daemon(disk.vdev, sizes[disk.vdev], daemons[disk.path].uri) for disk in disks]


def _by_daemon(vdev: str, size: int, uri: str) -> ServedDisk:
    return ServedDisk(vdev, parse(uri).path, size, "", RAW, uri)
