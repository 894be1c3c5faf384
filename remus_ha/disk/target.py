"""Whether this host can hold a disk of a guest: all that is known before anything is changed."""

import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


def opened_as_they_are(config: dict[str, Any], specs: Sequence[DiskSpec]) -> list[dict[str, Any]]:
    """libxl's disks of the guest that are not replicated: the copy opens them by their path."""
    replicated = {spec.vdev for spec in specs}
    return [
        disk
        for disk in config.get("disks", [])
        if disk["vdev"] not in replicated and disk.get("pdev_path")
    ]


def storage_of(path: str) -> object:
    """The same for every path here that leads to one image, be it made already or not."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_rdev if stat.S_ISBLK(status.st_mode) else (status.st_dev, status.st_ino)


def clashes(
    specs: Sequence[DiskSpec], config: dict[str, Any], host: str, storage: Callable[[str], object]
) -> list[errors.DiskError]:
    """Disks that would have the image of a replicated one; ``storage`` as ``storage_of``.

    ``config`` is the copy's: where its other disks lie on ``host``.
    """
    owners: dict[object, str] = {}
    places = [(spec.vdev, spec.path) for spec in specs]
    for vdev, path in places:
        owners.setdefault(storage(path), vdev)
    places += [(disk["vdev"], disk["pdev_path"]) for disk in opened_as_they_are(config, specs)]
    return [
        errors.TargetTwice(path=path, host=host, first=first, second=vdev)
        for vdev, path in places
        if (first := owners.get(storage(path), vdev)) != vdev
    ]
