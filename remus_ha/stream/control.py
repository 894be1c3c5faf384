"""The control channel: frames over TLS, for a single-threaded epoll loop.

Setting up (``connect_control``, ``accept_control``) may block, up to its deadline.
A ``ControlChannel`` never blocks: register ``fileno()`` for reading, and for writing while
``wants_write``; call ``pump()`` on every event, and again at once while ``ready``.
"""

import contextlib
import select
import socket
import ssl
import time
from types import TracebackType
from typing import Self

from remus_ha.stream.credentials import PinnedContext
from remus_ha.stream.errors import (
    HandshakeFailed,
    PeerClosed,
    ProtocolError,
    SendQueueFull,
    Unreachable,
    WrongPeer,
)
from remus_ha.stream.frames import Frame, FrameReader, encode
from remus_ha.stream.tcp import accept_tcp, connect_tcp

SEND_LIMIT = 4 * 65536
CLIENT_DEADLINE_S = 3.0

_CHUNK = 16384
_CHUNKS_PER_PUMP = 16
_BLOCKED = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "DECRYPT_ERROR", "ACCESS_DENIED")


class ControlChannel:
    """Frames to and from one authenticated peer.

    Never blocks, holds at most ``SEND_LIMIT`` octets to send and one unfinished frame received.
    Once the connection has ended, ``pump`` raises the reason every time.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reader = FrameReader()
        self._queue = bytearray()
        self._read_wants_write = False
        self._end: PeerClosed | WrongPeer | HandshakeFailed | ProtocolError | None = None

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether to wait for the descriptor to become writable as well."""
        return self._end is None and (bool(self._queue) or self._read_wants_write)

    @property
    def ready(self) -> bool:
        """Whether ``pump`` has what epoll cannot see: octets already decrypted, or an end."""
        return self._end is not None or self._sock.pending() > 0

    @property
    def queued(self) -> int:
        """Octets accepted by ``send`` and not yet handed to the kernel."""
        return len(self._queue)

    def send(self, frame: Frame) -> None:
        """Queue a frame and hand over what the kernel takes now.

        A frame sent after the connection ended goes nowhere; ``pump`` tells. Raises SendQueueFull
        (nothing is queued then), ValueError for a frame that does not fit the format.
        """
        octets = encode(frame)
        if len(self._queue) + len(octets) > SEND_LIMIT:
            raise SendQueueFull(queued=len(self._queue), limit=SEND_LIMIT)
        if self._end is None:
            self._queue += octets
            self._flush()

    def pump(self) -> list[Frame]:
        """Send what is queued, read what is there (256 KiB at most), return the whole frames.

        Frames that came before the connection's end are returned before its error is raised:
        PeerClosed, a ProtocolError, or WrongPeer when the peer refused our certificate (under
        TLS 1.3 the connecting side learns of that only here).
        """
        self._flush()
        frames: list[Frame] = []
        for _ in range(_CHUNKS_PER_PUMP):
            octets = None if self._end else self._read()
            if not octets:
                break
            self._take(octets, frames)
        if self._end and not frames:
            raise self._end
        return frames

    def close(self) -> None:
        """Hand over what the kernel takes, say goodbye to TLS, close. Idempotent."""
        self._flush()
        with contextlib.suppress(OSError, ValueError):
            self._sock.unwrap()
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        if self._end is not None or not self._queue:
            return
        try:
            while self._queue:
                del self._queue[: self._sock.send(self._queue)]
        except _BLOCKED:
            pass
        except OSError as e:
            self._finish(_ended(e))

    def _read(self) -> bytes | None:
        """One record's octets; None when there are none now, or the connection ended."""
        self._read_wants_write = False
        try:
            octets = self._sock.recv(_CHUNK)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._read_wants_write = True
            return None
        except OSError as e:
            self._finish(_ended(e))
            return None
        if not octets:
            self._finish(PeerClosed(detail="it closed the connection"))
        return octets

    def _take(self, octets: bytes, frames: list[Frame]) -> None:
        try:
            frames += self._reader.feed(octets)
        except ProtocolError as e:
            self._finish(e)
        else:
            if self._reader.error:
                self._finish(self._reader.error)

    def _finish(self, error: PeerClosed | HandshakeFailed | ProtocolError) -> None:
        """The first reason stays; what was queued will never leave."""
        self._end = self._end or error
        self._queue.clear()


def connect_control(
    address: tuple[str, int], context: PinnedContext, deadline_s: float
) -> ControlChannel:
    """Connect and shake hands within ``deadline_s`` seconds from now.

    Raises Unreachable, HandshakeFailed, WrongPeer. That the *server* refuses *us* may show only
    in the first ``pump``.
    """
    return ControlChannel(connect_tls(address, context, deadline_s))


def connect_tls(
    address: tuple[str, int], context: PinnedContext, deadline_s: float
) -> ssl.SSLSocket:
    """The same of a connection for whatever it may carry; it does not block."""
    until = time.monotonic() + deadline_s
    return _secure(connect_tcp(address, deadline_s), context, until)


def accept_control(
    listener: socket.socket, context: PinnedContext, deadline_s: float
) -> ControlChannel:
    """``accept_tls`` for frames."""
    return ControlChannel(accept_tls(listener, context, deadline_s))


def accept_tls(listener: socket.socket, context: PinnedContext, deadline_s: float) -> ssl.SSLSocket:
    """Wait for the peer, ``deadline_s`` seconds from now in all.

    Whoever is not the peer is turned away, at the latest after ``CLIENT_DEADLINE_S``, and the
    waiting goes on. Raises, at the deadline, the last refusal (HandshakeFailed, WrongPeer), or
    Unreachable if nobody came.
    """
    until = time.monotonic() + deadline_s
    refusal: HandshakeFailed | None = None
    while True:
        try:
            sock = accept_tcp(listener, until - time.monotonic())
        except Unreachable as e:
            raise refusal or e from e
        try:
            return _secure(sock, context, min(until, time.monotonic() + CLIENT_DEADLINE_S))
        except HandshakeFailed as e:
            refusal = e


def _secure(sock: socket.socket, context: PinnedContext, until: float) -> ssl.SSLSocket:
    secured = sock
    try:
        sock.setblocking(False)
        secured = wrapped = context.wrap(sock)
        _shake_hands(wrapped, until)
        context.check(wrapped)
    except OSError as e:
        secured.close()
        raise _refused(e) from e
    except HandshakeFailed:
        secured.close()
        raise
    return wrapped


def _shake_hands(sock: ssl.SSLSocket, until: float) -> None:
    poll = select.poll()
    while True:
        try:
            return sock.do_handshake()
        except ssl.SSLWantReadError:
            poll.register(sock, select.POLLIN)
        except ssl.SSLWantWriteError:
            poll.register(sock, select.POLLOUT)
        left_ms = (until - time.monotonic()) * 1000
        if left_ms <= 0 or not poll.poll(left_ms):
            raise HandshakeFailed(detail="it did not finish in time")


def _refused(e: OSError) -> HandshakeFailed:
    """What a failed handshake means."""
    if isinstance(e, ssl.SSLCertVerificationError):
        return WrongPeer(detail=f"its certificate is not the one agreed on ({e.verify_message})")
    reason = (e.reason if isinstance(e, ssl.SSLError) else e.strerror) or "the connection broke"
    if "ALERT" in reason and any(word in reason for word in _CERTIFICATE_ALERTS):
        return WrongPeer(detail=f"it refuses this host's certificate ({reason})")
    return HandshakeFailed(detail=reason)


def _ended(e: OSError) -> PeerClosed | HandshakeFailed:
    """What an error on an established connection means."""
    if isinstance(e, ssl.SSLError) and not isinstance(e, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _refused(e)
    return PeerClosed(detail=e.strerror or "it closed the connection")
