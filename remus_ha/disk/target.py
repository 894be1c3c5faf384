"""Whether this host can hold a disk of a guest: all that is known before anything is changed."""

import socket
from pathlib import Path

from remus_ha.disk import errors
from remus_ha.disk.identity import identity_of
from remus_ha.disk.lineage import NEVER, Lineage, generation_of, lineage_of, record
from remus_ha.disk.spec import DiskSpec
from remus_ha.disk.store import images
from remus_ha.disk.tapdisk.classic.standing import check_backup


def may_overwrite(spec: DiskSpec, uuid: str) -> bool:
    """Whether an image at the disk's path is this disk's own, or may be lost."""
    found = lineage_of(Path(spec.path))
    return spec.overwrite or (found is not None and found.is_of(uuid, spec.vdev))


def claim(spec: DiskSpec, uuid: str) -> None:
    """The store has the image: it is this disk's from now on, made anew or given up to it.

    Raises LineageUnwritable.
    """
    path = Path(spec.path)
    found = lineage_of(path)
    if found is None or not found.is_of(uuid, spec.vdev):
        record(path, Lineage(uuid, spec.vdev, NEVER))


def check_target(spec: DiskSpec, uuid: str) -> None:
    """Raises DaemonUnfit, and the Target errors of ``remus_ha.disk.errors``, SharedDisk,

    QemuImgFailed.
    """
    path, host = Path(spec.path), socket.gethostname()
    if path.exists() and spec.identity and identity_of(path) == spec.identity:
        raise errors.SharedDisk(path=path, host=host)
    theirs = generation_of(path, uuid, spec.vdev)
    if theirs > spec.generation and path.exists() and not spec.overwrite:
        raise errors.TargetNewer(path=path, host=host, theirs=theirs, ours=spec.generation)
    if spec.uri:
        check_backup(spec)
        return
    images.check(
        path,
        spec.size,
        spec.format,
        known=may_overwrite(spec, uuid),
        overwrite=spec.overwrite,
    )
