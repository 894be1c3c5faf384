"""The thread that carries a primary's writes, and the ends of its epochs, to the backup."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from remus_ha.disk.tapdisk.backlog import Backlog, Mark, Piece
from remus_ha.disk.tapdisk.classic.flushes import Flushes
from remus_ha.disk.tapdisk.connection import Wake
from remus_ha.disk.tapdisk.errors import PeerStalled
from remus_ha.disk.tapdisk.peer import STALL_S, PrimaryPeer
from remus_ha.exceptions import RemusError
from remus_ha.loop import Loop

COMMIT_S = 10.0  # an answer that takes longer ends the connection


@dataclass(frozen=True, slots=True)
class Told:
    """Called by the stream's thread: mark k's commit is answered; the peer is gone, once, last."""

    committed: Callable[[int], None]
    lost: Callable[[RemusError], None]


class Stream:
    """One connection in its life. ``run`` is its thread, and serves the FIFO after the loss too.

    A mark is sent only when the commit before it is answered; nothing behind it overtakes it.
    """

    def __init__(self, backlog: Backlog, peer: PrimaryPeer, flushes: Flushes, told: Told) -> None:
        self._backlog, self._peer, self._flushes, self._told = backlog, peer, flushes, told
        self._due: int | None = None  # the mark that is to be sent next
        self._committing: int | None = None  # the one that is not answered
        self._queued, self._moved = 0, 0.0  # octets that the kernel did not take, and since when
        self._given_up: RemusError | None = None
        self._wake = Wake()
        backlog.wake = self._wake.set

    def run(self) -> None:
        """Never returns."""
        loop, peer = Loop(), self._peer
        loop.watch(self._flushes.fileno(), lambda _: self._flushes.look())
        loop.watch(self._wake.fileno(), lambda _: self._wake.clear())
        loop.watch(peer.fileno(), lambda _: peer.pump())
        looking = loop.every(STALL_S / 4, peer.pump)  # deadlines are kept by being looked at
        try:
            loop.until(self._serve)
            raise peer.error or AssertionError
        except RemusError as e:
            loop.forget(peer.fileno())
            loop.cancel(looking)
            peer.close()
            self._told.lost(e)
        loop.until(lambda: False)

    def give_up(self, error: RemusError) -> None:
        """Close the connection, so that the backup hears of a loss. Idempotent; by any thread."""
        self._given_up = self._given_up or error
        self._wake.set()

    def _serve(self) -> bool:
        """Send what can be sent now; whether the connection has ended. Raises RemusError."""
        self._hear()
        while self._peer.error is None and self._given_up is None and self._send_one():
            pass
        if self._given_up is not None:
            raise self._given_up
        self._watch_stall()
        return self._peer.error is not None

    def _hear(self) -> None:
        if self._committing is not None and not self._peer.committing:
            k, self._committing = self._committing, None
            self._told.committed(k)

    def _send_one(self) -> bool:
        """False where nothing can be sent now."""
        if self._due is not None:
            return self._commit(self._due)
        entry = None if self._peer.queued else self._backlog.take()
        if isinstance(entry, Piece):
            # Zeroes travel as data: the protocol has nothing else.
            data = bytes(entry.length) if entry.data is None else entry.data
            self._peer.submit(entry.offset, data)
            self._backlog.acknowledged(entry)  # the order of the stream is the order there
        elif isinstance(entry, Mark):
            self._due = entry.n
        return entry is not None

    def _commit(self, k: int) -> bool:
        if self._committing is not None:
            return False
        self._peer.commit(COMMIT_S)
        self._committing, self._due = k, None
        self._backlog.go_on(k)
        return True

    def _watch_stall(self) -> None:
        now = time.monotonic()
        if not self._peer.queued or self._peer.queued != self._queued:
            self._queued, self._moved = self._peer.queued, now
        elif now - self._moved >= STALL_S:
            detail = f"{self._queued} octets are untaken"
            raise PeerStalled(seconds=STALL_S, detail=detail)
