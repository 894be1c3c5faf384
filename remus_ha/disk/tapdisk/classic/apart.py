"""Whether an image has, or may have, writes that the other host's image lacks.

The protocol compares nothing, so two images that have grown apart would be taken for a pair again
by the next start, and the guest that fails over would find a disk that never was. Hence a record
beside the image, on its disk before the first such write: a primary makes it when it begins to
serve and removes it once the backup holds everything; a backup makes it when a guest writes here.
"""

from pathlib import Path

from remus_ha import rundir
from remus_ha.disk.spec import journal_of


class Apart:
    """The record of one image."""

    def __init__(self, image: Path) -> None:
        self.path = journal_of(image) / "apart"

    def __bool__(self) -> bool:
        return self.path.exists()

    def set(self) -> None:
        """It is on the disk when this returns. Idempotent. Raises OSError."""
        rundir.write_json_durably(self.path, {})

    def clear(self) -> None:
        """Idempotent. Raises OSError."""
        self.path.unlink(missing_ok=True)
