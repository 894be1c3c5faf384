"""One TCP connection of the replication link, as both roles use it. Never blocks."""

import os
import select
import socket
import threading

from remus_ha.disk.tapdisk.errors import PeerLost
from remus_ha.disk.tapdisk.wire import Decoder, Message
from remus_ha.exceptions import RemusError

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
_CHUNK = 65536


class Connection:
    """Octets out in their order, messages in, one end.

    The first reason for which it ended stays in ``error``; from then on nothing is sent or read,
    and the descriptor is closed, so that the peer learns of it at once.
    """

    def __init__(self, sock: socket.socket, decoder: Decoder) -> None:
        sock.setblocking(False)
        self._sock, self._decoder = sock, decoder
        self._queue = bytearray()
        self.error: RemusError | None = None
        self.drained = True  # the last reading left nothing that was there

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def events(self) -> int:
        """What to wait for."""
        return READ | WRITE if self._queue else READ

    @property
    def queued(self) -> int:
        """Octets that the kernel has not taken yet."""
        return len(self._queue)

    @property
    def held(self) -> int:
        """Octets of an unfinished message from the peer."""
        return self._decoder.held

    def send(self, octets: bytes) -> None:
        """Queue, and hand over what the kernel takes now; nothing happens after the end."""
        if self.error is None:
            self._queue += octets
            self.flush()

    def flush(self) -> None:
        """Hand over what the kernel takes now."""
        try:
            while self._queue:
                del self._queue[: self._sock.send(self._queue)]
        except BlockingIOError:
            pass
        except OSError as e:
            self.end(PeerLost(detail=e.strerror or str(e)))

    def receive(self) -> list[Message]:
        """The messages that one chunk completes; what came after them may have set ``error``."""
        octets = b"" if self.error else self._read()
        messages = self._decoder.feed(octets)
        if self._decoder.error:
            self.end(self._decoder.error)
        return messages

    def _read(self) -> bytes:
        self.drained = True
        try:
            octets = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return b""
        except OSError as e:
            self.end(PeerLost(detail=e.strerror or str(e)))
            return b""
        if not octets:
            where = f", {self.held} octets into a message" if self.held else ""
            self.end(PeerLost(detail=f"it closed the connection{where}"))
        self.drained = len(octets) < _CHUNK
        return octets

    def end(self, error: RemusError) -> None:
        """For ``error``, unless it has ended already."""
        if self.error is None:
            self.error = error
            self._queue.clear()
            self._sock.close()

    def close(self) -> None:
        """End it from this side; what the kernel has not taken is lost. Idempotent."""
        self.end(PeerLost(detail="it was closed on this host"))


class Wake:
    """Makes an epoll wait return, from any thread."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._fd

    def set(self) -> None:
        with self._lock:  # the number of a closed descriptor may be somebody else's by now
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            pass

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1
