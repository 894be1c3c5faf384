"""Whether the disks of a guest find room on this host together.

Each image was looked at alone before; what their stores are going to take adds up, per file system.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from remus_ha.disk import qemuimg
from remus_ha.disk.errors import RoomShort
from remus_ha.disk.spec import DiskSpec, journal_of

# A journal may grow to the disk's limit, which few need: this much no session goes without. Two or
# three epochs of a busy guest.
JOURNAL_LEAST = 64 << 20


@dataclass(slots=True)
class _Wanted:
    """Of one file system, which ``there`` lies on."""

    there: Path
    octets: int = 0
    disks: list[str] = field(default_factory=list)


def lacking(specs: Sequence[DiskSpec]) -> list[RoomShort]:
    """File systems without the room for what the stores of these disks begin with.

    The disks have passed ``check_target``. Raises QemuImgFailed.
    """
    wanted: dict[int, _Wanted] = {}
    for spec in specs:
        for place, octets in _needs(spec):
            there = next(path for path in (place, *place.parents) if path.is_dir())
            of = wanted.setdefault(there.stat().st_dev, _Wanted(there))
            of.octets += octets
            of.disks += [spec.vdev] if spec.vdev not in of.disks else []
    return [error for of in wanted.values() if (error := _judge(of))]


def _judge(of: _Wanted) -> RoomShort | None:
    room = os.statvfs(of.there)
    free = room.f_bavail * room.f_frsize
    if free >= of.octets:
        return None
    return RoomShort(
        path=of.there,
        host=socket.gethostname(),
        disks=" and ".join(of.disks),
        wanted=of.octets,
        free=free,
    )


def _needs(spec: DiskSpec) -> Iterator[tuple[Path, int]]:
    """Where the disk's store takes how many octets. A daemon's has what it needs."""
    if spec.uri:
        return
    image = Path(spec.path)
    if not image.is_block_device():
        yield image.resolve().parent, _missing(spec, image)
    journal = journal_of(image)
    # The store removes what an earlier session has left.
    left = sum(file.stat().st_blocks * 512 for file in journal.glob("epoch-*"))
    yield journal, max(0, min(JOURNAL_LEAST, spec.limit) - left)


def _missing(spec: DiskSpec, image: Path) -> int:
    """Octets of its file that have no space yet."""
    qcow2 = spec.format == qemuimg.QCOW2
    whole = qemuimg.room_for(spec.size) if qcow2 else spec.size
    if not image.exists():
        return whole
    taken = image.stat().st_blocks * 512
    if qcow2:
        found = qemuimg.info(image)
        taken = 0 if found.beneath or found.shared else found.taken
    return max(0, whole - taken)
