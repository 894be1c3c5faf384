"""Whose disk an image is, and how new it is: a record beside the image, on its own file system.

The generation is that of the guest's register (design §4): of the session that last wrote here, or
of the win by which this host's copy became the guest. It says which of two images of one disk is
the newer one, so that an older one never overwrites it without a word. Which blocks differ it does
not say; their checksums do.

An image without a record is somebody else's.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from remus_ha import rundir
from remus_ha.disk.errors import LineageUnwritable
from remus_ha.disk.spec import journal_of

NEVER = 0  # older than every session


@dataclass(frozen=True, slots=True)
class Lineage:
    """``generation``: ``NEVER`` for an image that no session has written yet."""

    uuid: str
    vdev: str
    generation: int

    def is_of(self, uuid: str, vdev: str) -> bool:
        return (self.uuid, self.vdev) == (uuid, vdev)


def lineage_of(image: Path) -> Lineage | None:
    """None where there is no record that can be read."""
    try:
        return Lineage(**rundir.read_json(_file(image)))
    except TypeError:
        return None


def generation_of(image: Path, uuid: str, vdev: str) -> int:
    """Of this very disk; ``NEVER`` where the image is no image of it."""
    found = lineage_of(image)
    return found.generation if found is not None and found.is_of(uuid, vdev) else NEVER


def record(image: Path, lineage: Lineage) -> None:
    """A power cut does not undo it. Raises LineageUnwritable."""
    try:
        rundir.write_json_durably(_file(image), asdict(lineage))
    except OSError as e:
        raise LineageUnwritable(path=image, detail=e.strerror or e) from e


def _file(image: Path) -> Path:
    return journal_of(image) / "lineage.json"
