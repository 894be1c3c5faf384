"""Whether this host can hold a disk of a guest: all that is known before anything is changed."""

import socket
from pathlib import Path

from remus_ha.disk import errors, records
from remus_ha.disk.identity import identity_of
from remus_ha.disk.spec import DiskSpec
from remus_ha.disk.store import images


def may_overwrite(spec: DiskSpec, uuid: str) -> bool:
    """Whether an image at the disk's path is this disk's own, or may be lost."""
    return spec.overwrite or records.is_known(uuid, spec.vdev, spec.path)


def check_target(spec: DiskSpec, uuid: str) -> None:
    """Raises the Target errors of ``remus_ha.disk.errors``, SharedDisk, QemuImgFailed."""
    path = Path(spec.path)
    if path.exists() and spec.identity and identity_of(path) == spec.identity:
        raise errors.SharedDisk(path=path, host=socket.gethostname())
    images.check(
        path,
        spec.size,
        spec.format,
        known=may_overwrite(spec, uuid),
        overwrite=spec.overwrite,
    )
