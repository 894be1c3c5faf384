"""Records beside an image, of what its next daemon could not tell by the image alone.

``Apart``: it has, or may have, writes that the other host's image lacks. The protocol compares
nothing, so two images that have grown apart would be taken for a pair again by the next start, and
the guest that fails over would find a disk that never was. Hence the record is on the disk before
the first such write: a primary makes it when it begins to serve and removes it once the backup
holds everything; a backup makes it when a guest writes here.

``Taken``: a backup's image is the guest's, which may only have read so far. A backup makes it when
it takes over, and removes it at its end where no guest has written.

Whichever there is, everything that was committed is in the image: the journal is of no more use.
"""

from pathlib import Path

from remus_ha import rundir
from remus_ha.disk.spec import journal_of


class _Record:
    """Of one image; true where it is there."""

    name: str

    def __init__(self, image: Path) -> None:
        self.path = journal_of(image) / self.name

    def __bool__(self) -> bool:
        return self.path.exists()

    def set(self) -> None:
        """It is on the disk when this returns. Idempotent. Raises OSError."""
        rundir.write_json_durably(self.path, {})

    def clear(self) -> None:
        """Idempotent. Raises OSError."""
        self.path.unlink(missing_ok=True)


class Apart(_Record):
    """The image may differ from the other host's."""

    name = "apart"


class Taken(_Record):
    """The image is the guest's here, after a failover."""

    name = "taken"


def is_the_guests(image: Path) -> bool:
    """Whether a daemon that has died was serving the guest's own disk."""
    return bool(Apart(image) or Taken(image))
