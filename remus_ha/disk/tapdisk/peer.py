"""Both ends of the replication link: the primary sends a disk's writes, the backup stores them.

Neither end blocks or raises in ``pump``, and one descriptor stands for all that it waits for. In
an epoll loop::

    loop.watch(peer.fileno(), lambda _: peer.pump())
    loop.every(STALL_S / 2, peer.pump)  # deadlines are kept by being looked at

In a thread of its own: ``peer.serve(wait_s)``, again and again. Apart from a store's ``closed``,
one thread uses a peer.
"""

import functools
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol

from remus_ha.disk.tapdisk.connection import READ, Connection, Wake
from remus_ha.disk.tapdisk.errors import (
    BacklogFull,
    CommitOutstanding,
    CommitOverdue,
    CommitsOverlap,
    PeerStalled,
    PeerUnreachable,
    UnexpectedDone,
)
from remus_ha.disk.tapdisk.wire import (
    TO_BACKUP,
    TO_PRIMARY,
    Decoder,
    Message,
    Signal,
    Write,
    encode,
    split,
)
from remus_ha.exceptions import RemusError
from remus_ha.stream.tcp import tune

QUEUE_LIMIT = 8 << 20
STALL_S = 3.0

_FOREVER_S = 3600.0
_CHUNKS_PER_PUMP = 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Clock = Callable[[], float]


class PrimaryPeer:
    """The primary's end: writes in the order of ``submit``, at most one commit unanswered.

    Once the connection has ended, ``error`` says why, and every call that wants something of the
    peer raises it: the disk is unprotected from then on, there is no way back for this object.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        queue_limit: int = QUEUE_LIMIT,
        clock: Clock = time.monotonic,
    ) -> None:
        tune(sock)
        self._link = Connection(sock, Decoder(TO_PRIMARY))
        self._limit, self._clock = queue_limit, clock
        self._epoll = select.epoll()
        self._epoll.register(sock, READ)
        self._events = READ
        self._due: float | None = None
        self._deadline_s = 0.0
        self.acknowledged = 0  # commits that were answered, since the beginning

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def error(self) -> RemusError | None:
        """Why the connection has ended, once it has."""
        return self._link.error

    @property
    def committing(self) -> bool:
        """Whether a commit is unanswered."""
        return self._due is not None

    @property
    def queued(self) -> int:
        """Octets that the kernel has not taken yet."""
        return self._link.queued

    def submit(self, offset_octets: int, data: bytes) -> None:
        """Send one write of the guest; returns before the backup has it.

        Raises WriteUnaligned and BacklogFull (nothing is sent then), or why the connection ended.
        """
        self._insist()
        octets = b"".join(encode(write) for write in split(offset_octets, data))
        if self.queued + len(octets) > self._limit:
            raise BacklogFull(queued=self.queued, limit=self._limit)
        self._send(octets)

    def commit(self, deadline_s: float) -> None:
        """End the epoch; ``acknowledged`` grows when the backup has closed it.

        An answer that takes longer ends the connection. Raises CommitOutstanding, or why the
        connection ended.
        """
        self._insist()
        if self.committing:
            raise CommitOutstanding
        self._due, self._deadline_s = self._clock() + deadline_s, deadline_s
        self._send(encode(Signal.COMMIT))

    def pump(self) -> None:
        """Send and read what can be now; look at the deadline."""
        self._link.flush()
        for _ in range(_CHUNKS_PER_PUMP):
            for message in self._link.receive():
                self._take(message)
            if self._link.drained:
                break
        if self._due is not None and self._clock() >= self._due:
            self._link.end(CommitOverdue(seconds=self._deadline_s))
        self._rewatch()

    def serve(self, wait_s: float) -> None:
        """One round: wait at most ``wait_s`` for something, and ``pump``."""
        if self._due is not None:
            wait_s = min(wait_s, self._due - self._clock())
        self._epoll.poll(max(0.0, wait_s))
        self.pump()

    def wait_done(self) -> None:
        """Until the commit is answered. Raises CommitOverdue, or why the connection ended."""
        while self.committing:
            self._insist()
            self.serve(_FOREVER_S)

    def drain(self, deadline_s: float) -> None:
        """Until the kernel has taken everything; a peer for which that lasts longer is given up.

        Raises PeerStalled, or why the connection ended.
        """
        until = self._clock() + deadline_s
        while self.queued:
            left_s = until - self._clock()
            if left_s <= 0:
                detail = f"{self.queued} octets are untaken"
                self._link.end(PeerStalled(seconds=deadline_s, detail=detail))
            else:
                self.serve(left_s)
        self._insist()

    def close(self) -> None:
        """End the connection; the backup takes it for a loss. Idempotent."""
        self._link.close()
        self._epoll.close()

    def _insist(self) -> None:
        if self._link.error is not None:
            raise self._link.error

    def _send(self, octets: bytes) -> None:
        self._link.send(octets)
        self._rewatch()
        self._insist()

    def _take(self, message: Message) -> None:
        if self._due is None:
            self._link.end(UnexpectedDone())
        else:
            self._due = None
            self.acknowledged += 1

    def _rewatch(self) -> None:
        if self._link.error is None and self._events != self._link.events:
            self._events = self._link.events
            self._epoll.modify(self._link, self._events)


def connect(address: tuple[str, int], deadline_s: float) -> PrimaryPeer:
    """The primary's end, connected within ``deadline_s`` seconds. Raises PeerUnreachable.

    The backup has to listen already: a disk whose writes wait for it would stop its guest.
    """
    try:
        sock = socket.create_connection(address, timeout=max(deadline_s, 0.001))
    except OSError as e:
        where = f"{address[0]} port {address[1]}"
        raise PeerUnreachable(address=where, detail=e.strerror or str(e)) from e
    return PrimaryPeer(sock)


class Store(Protocol):
    """What keeps the writes on the backup.

    A RemusError from ``write`` or ``close_epoch`` ends the connection, and ``lost`` follows.
    """

    def write(self, offset_octets: int, data: bytes) -> None:
        """Whole sectors inside the disk, at most 8, for the open epoch; in the primary's order."""

    def close_epoch(self, closed: Callable[[], None]) -> None:
        """The open epoch is whole, and what is written from now on belongs to the next.

        Call ``closed`` once, at any time and from any thread, when the epoch is as safe as ``done``
        has to promise. It must not be called for an epoch that could not be kept.
        """

    def lost(self) -> None:
        """The primary is gone, or cannot be understood: the open epoch will never be whole.

        Called at most once, last. An epoch that is being closed is not concerned.
        """


class BackupPeer:
    """The backup's end: one connection in its life, taken by the first who comes.

    While that lives every other is reset, and afterwards nobody listens: a primary that came back
    would send writes on top of ones that are missing. Whatever ends the connection, the store
    hears ``lost`` once and never of the open epoch's end; ``error`` says why.
    """

    def __init__(
        self,
        listener: socket.socket,
        store: Store,
        disk_sectors: int,
        *,
        stall_s: float = STALL_S,
        clock: Clock = time.monotonic,
    ) -> None:
        """``stall_s``: how long one message may take from its first octet to its last."""
        listener.setblocking(False)
        self._listener, self._store, self._disk_sectors = listener, store, disk_sectors
        self._stall_s, self._clock = stall_s, clock
        self._link: Connection | None = None
        self._events = READ
        self._since: float | None = None  # the unfinished message's first octet
        self._closing: object | None = None  # the commit that is to be answered
        self._closed: object | None = None  # the last one that the store has closed
        self._wake = Wake()
        self._epoll = select.epoll()
        for waited in (listener, self._wake):
            self._epoll.register(waited, READ)
        self.error: RemusError | None = None
        self.refused = 0

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def connected(self) -> bool:
        return self._link is not None and self.error is None

    def pump(self) -> None:
        """Do what can be done now; look at the deadline."""
        self._wake.clear()
        if self.error is not None:
            return
        if self._link is not None:
            self._serve_link(self._link)
        if self.error is None:
            self._accept()

    def serve(self, wait_s: float) -> None:
        """One round: wait at most ``wait_s`` for something, and ``pump``."""
        if self._since is not None:
            wait_s = min(wait_s, self._since + self._stall_s - self._clock())
        self._epoll.poll(max(0.0, wait_s))
        self.pump()

    def close(self) -> None:
        """Let go of everything; the store is not told. Idempotent."""
        self._listener.close()
        if self._link is not None:
            self._link.close()
        self._wake.close()
        self._epoll.close()

    def _accept(self) -> None:
        try:
            sock, _address = self._listener.accept()
        except OSError:
            return  # nobody, or somebody who has gone again
        if self._link is not None:
            self._refuse(sock)
            return
        tune(sock)
        self._link = Connection(sock, Decoder(TO_BACKUP, self._disk_sectors))
        self._epoll.register(sock, READ)

    def _refuse(self, sock: socket.socket) -> None:
        self.refused += 1
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.close()

    def _serve_link(self, link: Connection) -> None:
        link.flush()
        try:
            self._read(link)
        except RemusError as e:
            link.end(e)
        self._answer(link)
        if link.error is not None:
            self._finish(link.error)
        elif self._events != link.events:
            self._events = link.events
            self._epoll.modify(link, self._events)

    def _read(self, link: Connection) -> None:
        for _ in range(_CHUNKS_PER_PUMP):
            messages = link.receive()
            for message in messages:
                self._take(message)
            self._watch_stall(link, finished=bool(messages))
            if link.drained:
                break

    def _watch_stall(self, link: Connection, *, finished: bool) -> None:
        if not link.held:
            self._since = None
        elif finished or self._since is None:
            self._since = self._clock()
        elif link.drained and self._clock() - self._since >= self._stall_s:
            detail = f"a message broke off after {link.held} octets"
            raise PeerStalled(seconds=self._stall_s, detail=detail)

    def _take(self, message: Message) -> None:
        if isinstance(message, Write):
            self._store.write(message.offset_octets, message.data)
        elif message is Signal.COMMIT:
            self._close_epoch()

    def _close_epoch(self) -> None:
        if self._closing is not None:
            raise CommitsOverlap
        self._closing = commit = object()
        self._store.close_epoch(functools.partial(self._epoch_closed, commit))

    def _epoch_closed(self, commit: object) -> None:
        if commit is self._closing:  # else it was said before, or belongs to the past
            self._closed = commit
            self._wake.set()

    def _answer(self, link: Connection) -> None:
        if self._closing is not None and self._closing is self._closed:
            self._closing = None
            link.send(encode(Signal.DONE))

    def _finish(self, error: RemusError) -> None:
        self.error = error
        self._listener.close()
        self._since = None
        self._store.lost()
