"""What every way of replicating a running guest's disks offers to the primary's process.

A driver works beside the epoch loop and reports through a descriptor; nothing here ever waits.
Whatever goes wrong, the guest goes on on its own disk: it never sees an error of ours.
"""

import abc
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from remus_ha.disk.qemuimg import FORMATS
from remus_ha.stream.tcp import USER_TIMEOUT_MS


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One disk and the store it goes to. ``size`` is octets; ``port`` the store's NBD port.

    ``path`` is the image on this host, empty where nobody needs to know. ``uri`` names a disk that
    a daemon on either host has served since the guest was started, and ``base`` the epochs of it
    that had ended before this session.
    """

    vdev: str
    node: str  # of the hypervisor's back-end
    size: int
    port: int
    path: str = ""
    uri: str = ""
    base: int = 0


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the stores are. ``tls``: directory of the key; ``rate``: octets/s.

    ``rate`` bounds the synchronisation, 0: no bound. What the guest writes is never slowed down.
    ``patience_ms``: how long a write may wait for a network that takes nothing.
    """

    address: str
    tls: Path
    rate: int
    patience_ms: int = USER_TIMEOUT_MS


class Stage(enum.Enum):
    """How far a driver is; it only ever goes down this list."""

    ATTACHING = "attaching"
    SYNCING = "syncing"  # what was there before is being copied
    MIRRORED = "mirrored"  # what the guest sees completed is in its store before its epoch ends
    FREEING = "freeing"
    FREE = "free"  # nothing of ours is in the guest's way


@dataclass(frozen=True, slots=True)
class Progress:
    """Synchronisation of one disk: octets done, of how many; ``sent`` differed on the backup."""

    vdev: str
    done: int
    of: int
    sent: int


class DiskDriver(abc.ABC):
    """All replicated disks of one guest. Used by one thread.

    ``formats``: of the images that it can replicate a running guest's disks in.
    """

    formats: ClassVar[tuple[str, ...]] = FORMATS

    @abc.abstractmethod
    def fileno(self) -> int:
        """Readable when ``pump`` has news."""

    @abc.abstractmethod
    def begin(self) -> None:
        """Attach to the running disks and copy them; ends in MIRRORED or with a loss."""

    @abc.abstractmethod
    def pump(self) -> None:
        """Take the news in. Raises DiskError once, when a disk is replicated no more."""

    @property
    @abc.abstractmethod
    def stage(self) -> Stage:
        """As of the last ``pump``."""

    @abc.abstractmethod
    def progress(self) -> tuple[Progress, ...]:
        """Of every disk, as of the last ``pump``."""

    @abc.abstractmethod
    def end_epoch(self, n: int) -> None:
        """The guest is suspended: what it has written by now is epoch n's, and nothing else is.

        The driver sees to it that the backup is told so (``close_there``, given at its making)
        after the last write of epoch n and before the first one of epoch n + 1 is there.
        """

    @abc.abstractmethod
    def may_go_on(self, n: int) -> bool:
        """Whether the guest may write again without spoiling epoch n."""

    @abc.abstractmethod
    def closed(self, n: int) -> None:
        """The backup's answer: what comes now belongs to epoch n + 1."""

    @abc.abstractmethod
    def resumed(self, n: int) -> None:
        """The guest runs again: find out whether epoch n lacks nothing; ``vouches`` tells."""

    @abc.abstractmethod
    def vouches(self, n: int) -> bool:
        """Whether every write that the guest saw completed in epoch n is, or will be, in n.

        A write whose replication failed looks like any other to the guest, and the word of the
        failure may come later than the guest's suspend: the epoch is not the backup's before this.
        """

    @property
    def moved_at(self) -> float:
        """When the backup last took something of what an epoch waits for (``time.monotonic``).

        0 where no epoch ever waits for its writes.
        """
        return 0.0

    @abc.abstractmethod
    def free(self) -> None:
        """Take everything of ours off the disks, also what an earlier process left; then FREE.

        The guest's writes wait for nobody from the first instants on. Idempotent.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go; after ``FREE``, or where nothing was begun."""
