"""What a disk's daemon is told at its start."""

import enum
import json
from dataclasses import dataclass
from pathlib import Path


class Commit(enum.Enum):
    """Who makes an epoch that the primary has closed real on the backup."""

    AT_CLOSE = "at-close"  # nobody: it is real as soon as it is whole, as with the old driver
    COORDINATED = "coordinated"  # a receiver, over the daemon's local socket


@dataclass(frozen=True, slots=True)
class Setup:
    """``uri`` is the disk's name, ``directory`` the FIFOs', ``nbd`` and ``orders`` are sockets.

    ``commit`` and ``ack`` are values of ``Commit`` and of the store's ``Ack``. ``limit``: octets of
    a backup's journal. ``in_sync``: the operator's word that both images are the same.
    ``device``: the nbd device that is connected to the disk, if any.
    """

    uri: str
    directory: str
    nbd: str
    orders: str
    commit: str
    ack: str
    limit: int
    in_sync: bool
    device: str = ""
    ready_fd: int = -1

    @classmethod
    def load(cls, path: Path) -> "Setup":
        """Raises OSError, ValueError, TypeError."""
        return cls(**json.loads(path.read_text()))
