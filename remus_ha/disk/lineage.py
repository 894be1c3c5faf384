"""Whose disk an image is, and how new it is: a record beside the image, on its own file system.

The generation is that of the guest's register (design §4): of the last session that began with
this image as the guest's own, or of the win by which this host's copy became the guest. A replica
is one step behind the guest's own image from its first copy on; before, it is older than anything.
So an older image never overwrites a newer one without a word, nor does half of a copy. Which blocks
differ the record does not say; their checksums do.

An image without a record is somebody else's. So is one that took the place of the record's.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from remus_ha import rundir
from remus_ha.disk.errors import LineageUnwritable
from remus_ha.disk.identity import image_at
from remus_ha.disk.spec import journal_of

NEVER = 0  # older than every session


@dataclass(frozen=True, slots=True)
class Lineage:
    """``generation``: ``NEVER`` is older than any guest's own image."""

    uuid: str
    vdev: str
    generation: int

    def is_of(self, uuid: str, vdev: str) -> bool:
        return (self.uuid, self.vdev) == (uuid, vdev)


def in_session(before: int, session: int) -> int:
    """How new the guest's own image is in a session that began with that generation.

    ``before``: how new it was; a register that was wiped counts from the beginning again.
    """
    return max(before, session)


def of_replica(owns: int) -> int:
    """How new a whole copy of the guest's own image is: the guest writes on."""
    return max(NEVER, owns - 1)


def of_win(owns: int, win: int) -> int:
    """How new the replica is as the guest's own, since the swap that made it so."""
    return max(owns + 1, win)


def lineage_of(image: Path) -> Lineage | None:
    """None where there is no record of this very image that can be read."""
    try:
        told = dict(rundir.read_json(_file(image)))
        of = told.pop("image", "")  # empty: nothing told which image it was, or nobody asked
        found = Lineage(**told)
    except (TypeError, ValueError):
        return None
    return found if of in ("", image_at(image)) else None


def generation_of(image: Path, uuid: str, vdev: str) -> int:
    """Of this very disk; ``NEVER`` where the image is no image of it."""
    found = lineage_of(image)
    return found.generation if found is not None and found.is_of(uuid, vdev) else NEVER


def record(image: Path, lineage: Lineage) -> None:
    """A power cut does not undo it. Raises LineageUnwritable."""
    try:
        told = {**asdict(lineage), "image": image_at(image)}
        rundir.write_json_durably(_file(image), told)
    except OSError as e:
        raise LineageUnwritable(path=image, detail=e.strerror or e) from e


def _file(image: Path) -> Path:
    return journal_of(image) / "lineage.json"
