"""What serves a domain's disks in dom0, as xenstore tells it."""

from dataclasses import dataclass
from typing import Any

from remus_ha.disk.qemuimg import FORMATS
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import Guest
from remus_ha.hypervisor.xen.diskwatch import disks_of


@dataclass(frozen=True, slots=True)
class ServedDisk:
    """A writable disk that a QEMU serves. ``size`` is octets, ``node`` QEMU's block node."""

    vdev: str
    path: str
    size: int
    node: str
    format: str


def served(xs: Any, guest: Guest) -> tuple[list[ServedDisk], list[RemusError]]:
    """The guest's writable disks, and why some of them cannot be replicated.

    ``xs``: a connection of ``xen.lowlevel.xs``.
    """
    nodes = disks_of(xs, guest.domid, "qdisk")
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
