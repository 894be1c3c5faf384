"""What a block server does beside serving: nothing, or carrying the disk's writes to its store."""

import enum
import threading
from collections.abc import Callable
from typing import Any

from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.backlog import Backlog
from remus_ha.disk.tapdisk.copying import Copying
from remus_ha.disk.tapdisk.errors import AlreadyReplicating, NotReplicating
from remus_ha.disk.tapdisk.sender import Sender, Told
from remus_ha.disk.tapdisk.store_connection import Where
from remus_ha.disk.tapdisk.theirs import Theirs

Say = Callable[..., None]


class Role(enum.Enum):
    """It goes down this list once, and never up."""

    FRESH = "fresh"  # unprotected: the image here, and nothing else
    PRIMARY = "primary"  # every write goes to the store as well
    UNPROTECTED = "unprotected"  # lost or freed: the image here, and nothing else


class Replication:
    """``say`` takes a word and its facts: ``reached n``, ``progress``, ``synced``, ``moving``,
    ``lost``.

    Where the store has found an image, only what differs from it is copied.

    The first reason for which replication ends is said, unless ``free`` ended it.
    """

    def __init__(
        self, disk: str, image: Image, backlog: Backlog, where: Where, *, rate: int, say: Say
    ) -> None:
        self._disk, self._backlog, self._say = disk, backlog, say
        self._lock = threading.Lock()
        self._role = Role.FRESH
        self._marked = self._reached = -1
        self._synced = False
        self._reason = ""
        told = Told(
            connected=self._on_connected,
            reached=self._on_reached,
            copied=self._on_copied,
            moving=lambda: say("moving"),
            lost=self._on_lost,
        )
        self._sender = Sender(backlog, where, told)
        self._theirs = Theirs(where)
        self._copying = Copying(
            image, backlog, self._theirs, rate=rate, told=self._on_progress, lost=self._on_lost
        )

    def sync(self) -> None:
        """Connect, keep every write from now on, copy the rest. Raises AlreadyReplicating."""
        with self._lock:
            if self._role is not Role.FRESH:
                raise AlreadyReplicating(disk=self._disk)
            self._role = Role.PRIMARY
        self._sender.start()

    def mark(self, n: int) -> None:
        """What has been written by now is epoch n's. Raises NotReplicating."""
        if not self._backlog.mark(n):
            raise NotReplicating(disk=self._disk, verb=f"mark epoch {n}")
        self._marked = n

    def closed(self, n: int) -> None:
        """The store has closed epoch n: the writes behind its mark may follow."""
        self._backlog.go_on(n)

    def lose(self, reason: str) -> None:
        """The store can no longer be kept alike."""
        if self._role is Role.PRIMARY:
            self._on_lost(reason)

    def free(self) -> None:
        """The guest's writes wait for nobody from now on. Idempotent."""
        self._end("")

    def _end(self, reason: str) -> bool:
        """Whether this ended it."""
        with self._lock:
            before, self._role = self._role, Role.UNPROTECTED
            if before is not Role.UNPROTECTED:
                self._reason = reason
        self._backlog.drop()
        self._copying.end()
        self._theirs.end()
        self._sender.end()
        return before is Role.PRIMARY

    def _on_connected(self) -> None:
        """Not earlier: nobody would take what is kept, and a full backlog holds the guest up."""
        with self._lock:
            if self._role is Role.PRIMARY:
                self._backlog.open()
        self._copying.start()

    def _on_reached(self, n: int) -> None:
        self._reached = n
        self._say("reached", n=n)

    def _on_progress(self, done: int, sent: int) -> None:
        self._say("progress", done=done, sent=sent)

    def _on_copied(self) -> None:
        self._synced = True
        self._say("synced")

    def _on_lost(self, reason: str) -> None:
        if self._end(reason):
            self._say("lost", reason=reason)

    def status(self) -> dict[str, Any]:
        """For people: octets and epochs."""
        return {
            "disk": self._disk,
            "role": self._role.value,
            "synced": self._synced,
            "copied_octets": self._copying.done,
            "sent_octets": self._copying.sent,
            "marked": self._marked,
            "reached": self._reached,
            "lost": self._reason,
            **self._backlog.figures(),
        }
