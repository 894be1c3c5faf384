"""A backup's daemon in a receiver's loop, in the words of a session's own store.

The daemon serves a disk on this host before a session, and after it: nothing here ends it. It
counts its primary's commits, over all sessions; epoch n of a session is its ``base + n + 1``. The
receiver does not close an epoch there, it hears that the primary's commit has.
"""

from collections.abc import Callable
from typing import Any

from remus_ha.disk.errors import StoreOrder
from remus_ha.disk.store.client import StoreClient
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.loop import Loop

_NUMBERED = ("prepared", "committed", "finished", "hashed")


class DaemonClient(StoreClient):
    """Said by it: ``closed`` once an epoch that ``close`` was ordered for is prepared.

    A look (``hash``), one at a time, waits for that as well: until then the daemon does not know
    its epoch's end.
    """

    def __init__(
        self,
        loop: Loop,
        disk: str,
        files: Files,
        base: int,
        *,
        said: Callable[[StoreClient, dict[str, Any]], None],
        ended: Callable[[StoreClient], None],
    ) -> None:
        """Raises OSError where no daemon serves."""
        self._first = base + 1  # the daemon's number of the session's epoch 0
        self._closing = self._real = -1
        self._wanted: tuple[int, dict[str, int]] | None = None
        super().__init__(loop, disk, files.orders, said=said, ended=ended)
        # What was prepared before the daemon had an owner again it has told nobody.
        super().order("status")

    def order(self, verb: str, n: int = -1, **place: int) -> None:
        if verb == "close":
            self._closing = n
            self._look_closed()
        elif verb == "quit":
            self._said(self, {"said": "gone"})  # the session's: the disk is the guest's now
        elif verb == "hash":
            self._wanted = n, place
            self._look(self.prepared)
        elif verb == "commit":
            self._real = max(self._real, n)
            super().order(verb, self._first + n)
        else:
            super().order(verb)

    def _look(self, prepared: int) -> None:
        """Before anybody commits that epoch."""
        if self._wanted is not None and self._wanted[0] <= prepared:
            (n, place), self._wanted = self._wanted, None
            super().order("hash", self._first + n, **place)

    def _take(self, message: dict[str, Any]) -> None:
        word = message["said"]
        if word == "status":
            self._take({"said": "prepared", "n": message["prepared"]})
            if not self.gone:  # what was just told may have ended it
                super()._take(message)
        elif word in _NUMBERED or message.get("do") == "hash":
            self._take_numbered({**message, "n": int(message["n"]) - self._first})
        else:
            super()._take(message)

    def _take_numbered(self, message: dict[str, Any]) -> None:
        word, n = message["said"], message["n"]
        if word == "prepared":
            self._look(n)
            super()._take(message)
            self._look_closed()
        elif word == "finished" and max(n, -1) != self._real:
            detail = f"it has finished at {n}"
            e = StoreOrder(disk=self.disk, action="finish", n=self._real, detail=detail)
            super()._take({"said": "failed", "do": "finish", "error": e.as_dict()})
        else:
            super()._take(message)

    def _look_closed(self) -> None:
        n = self._closing
        if 0 <= n <= self.prepared and not self.gone:  # what was just told may have ended it
            self._closing = -1
            self._said(self, {"said": "closed", "n": n})

    def abandon(self) -> None:
        self.close()

    def kill(self) -> None:
        """It has not answered: the same as if it had ended, but it may be a guest's disk."""
        if not self.gone:
            self._parted()

    def _parted(self) -> None:
        self.close()
        self._ended(self)
