"""What the block server's things are called: whoever comes after a dead process finds them by it.

In QEMU by their nodes' names, in the file system by the disk's name in one directory.
"""

from dataclasses import dataclass
from pathlib import Path

from remus_ha.disk.qemu.names import PREFIX


def server(vdev: str) -> str:
    """The node that is QEMU's connection to the block server."""
    return f"{PREFIX}tap-{vdev}"


def keep(vdev: str) -> str:
    """The export that keeps the image's node while the disk is not on it."""
    return f"{PREFIX}keep-{vdev}"


@dataclass(frozen=True, slots=True)
class Files:
    """Of one disk's block server."""

    directory: Path
    vdev: str

    @property
    def nbd(self) -> Path:
        """Where QEMU connects."""
        return self.directory / f"{self.vdev}.nbd"

    @property
    def keep(self) -> Path:
        """Where QEMU would serve what it keeps; nobody connects."""
        return self.directory / "keep.nbd"

    @property
    def orders(self) -> Path:
        return self.directory / f"{self.vdev}.orders"

    @property
    def setup(self) -> Path:
        return self.directory / f"{self.vdev}.json"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.vdev}.log"
