"""What both hosts have to know of a protected disk."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from remus_ha import rundir
from remus_ha.disk.qemuimg import FORMATS
from remus_ha.disk.tapdisk.errors import UriInvalid
from remus_ha.disk.tapdisk.uri import parse

VDEV = re.compile("[a-z]{2,4}[0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """One disk that is replicated. ``size`` and ``limit`` are octets.

    ``identity`` names the primary's storage, so that the backup can tell whether its own is the
    very same; ``overwrite``: the operator's word that an image in the way may be lost;
    ``generation``: how new the guest's own image is (``remus_ha.disk.lineage``). ``uri`` names a
    disk that a daemon on either host serves already, instead of a store of the session's own;
    epoch n of the session is epoch ``base + n + 1`` of those daemons.
    """

    vdev: str
    path: str  # on the backup
    size: int
    ack: str  # remus_ha.disk.ack.Ack
    identity: str
    overwrite: bool
    limit: int
    generation: int
    format: str = "raw"  # of the image on both hosts
    uri: str = ""
    base: int = 0


def journal_of(image: Path) -> Path:
    """Where an image's uncommitted epochs lie: on its own file system, so that they share its fate.

    A block device has none; its journal is in the product's state directory.
    """
    if image.is_block_device():
        return rundir.STATE / "journal" / quote(image.as_posix().strip("/"), safe="")
    return image.with_name(f".{image.name}.epochs")


def valid(spec: DiskSpec) -> bool:
    """Whether it can be believed: it comes from the other host, and names files here."""
    return bool(
        VDEV.fullmatch(spec.vdev)
        and spec.path.startswith("/")
        and "\0" not in spec.path
        and spec.size > 0
        and spec.limit > 0
        and spec.generation >= 0
        and spec.ack in ("received", "durable")
        and spec.format in FORMATS
        and spec.base >= 0
        and (not spec.uri or _is_of(spec.uri, spec.path))
    )


def _is_of(uri: str, image: str) -> bool:
    try:
        return parse(uri).path == image
    except UriInvalid:
        return False
