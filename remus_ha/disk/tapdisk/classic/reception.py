"""The thread that takes a primary's connection in, and hands its epochs to the store."""

import socket
import threading
from collections.abc import Callable

from remus_ha.disk.store.engine import EpochStore
from remus_ha.disk.tapdisk.classic.flushes import Flushes
from remus_ha.disk.tapdisk.connection import Wake
from remus_ha.disk.tapdisk.errors import EpochTooLarge, ReplicationLost
from remus_ha.disk.tapdisk.fifo import TapdiskFifos
from remus_ha.disk.tapdisk.peer import STALL_S, BackupPeer
from remus_ha.disk.tapdisk.wire import SECTOR
from remus_ha.exceptions import RemusError
from remus_ha.loop import Loop

Lost = Callable[[RemusError], None]


class Reception:
    """The backup peer's ``Store`` over an ``EpochStore``: every ``creq`` closes the open epoch.

    Flushes fail here: a controller on the backup has nothing to end.
    """

    def __init__(
        self,
        disk: str,
        listener: socket.socket,
        store: EpochStore,
        fifos: TapdiskFifos,
        *,
        limit: int,
    ) -> None:
        """``limit``: the journal's, octets."""
        self._disk, self._store, self._limit = disk, store, limit
        self._peer = BackupPeer(listener, self, store.size // SECTOR)
        self._flushes = Flushes(fifos, lambda _: False)
        self._closing: tuple[int, Callable[[], None]] | None = None
        self._cut, self._wake = False, Wake()
        self._is_lost = False

    def start(self, on_lost: Lost) -> None:
        """``on_lost`` is called once, by the thread, unless ``cut`` came first."""
        threading.Thread(target=self._run, args=(on_lost,), name="reception", daemon=True).start()

    def cut(self) -> None:
        """Close the connection and listen no more; the store has to be severed. Idempotent."""
        self._cut = True
        self._wake.set()

    def prepared(self, n: int) -> None:
        """Epoch ``n`` is as safe as ``done`` promises. By any thread."""
        closing = self._closing
        if closing is not None and closing[0] == n:
            closing[1]()

    def close(self) -> None:
        """Removes the FIFOs."""
        self._flushes.close()

    def _run(self, on_lost: Lost) -> None:
        loop, peer = Loop(), self._peer
        loop.watch(self._flushes.fileno(), lambda _: self._flushes.look())
        loop.watch(self._wake.fileno(), lambda _: self._wake.clear())
        loop.watch(peer.fileno(), lambda _: peer.pump())
        looking = loop.every(STALL_S / 2, peer.pump)  # deadlines are kept by being looked at
        loop.until(lambda: self._cut or self._is_lost)
        loop.forget(peer.fileno())
        loop.cancel(looking)
        peer.close()
        if not self._cut and peer.error is not None:
            on_lost(peer.error)
        loop.until(lambda: False)

    # --- what the peer tells

    def write(self, offset_octets: int, data: bytes) -> None:
        """Waits for room. Raises EpochTooLarge, StoreSevered, StorePoisoned, ReplicationLost.

        It is not in the epoch then.
        """
        if self._store.open_octets > self._limit:
            raise EpochTooLarge(disk=self._disk, limit=self._limit)
        try:
            self._store.write(offset_octets, data)
        except OSError as e:
            raise ReplicationLost(vdev=self._disk, detail=e) from e

    def close_epoch(self, closed: Callable[[], None]) -> None:
        """Raises StoreSevered, StorePoisoned."""
        n = self._store.open_epoch
        self._closing = (n, closed)  # before: it may be prepared when ``close`` returns
        self._store.close(n)

    def lost(self) -> None:
        self._store.sever()
        self._is_lost = True
