"""One HTTP/1.1 connection on which every exchange as a whole ends by a deadline.

The usual clients bound each phase and each ``recv`` on its own, so a dripping answer lasts as
long as it likes; and they do not say whether a failed request had left. Here both are certain:
``NotSent`` means that no byte of the request was given to the kernel, ``Lost`` that it may have
been served. ``http.client`` parses the answers.
"""

import io
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, cast

from remus_ha.witness.deadline import Deadline
from remus_ha.witness.resolve import resolve
from remus_ha.witness.url import Endpoint

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_ANSWER = 1 << 20  # octets; a register's answer has a few hundred
IDLE_LIMIT_S = 10.0  # a longer idle connection may be dead without this side knowing


class WireError(Exception):
    """The exchange failed; the text says why."""


class NotSent(WireError):
    """No byte of the request left."""


class Lost(WireError):
    """The request may have been served, its answer is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    body: bytes


class Canceller:
    """Lets another thread break off what this thread waits for on a socket."""

    def __init__(self, fired: threading.Event) -> None:
        self._fired = fired
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None

    def attach(self, sock: socket.socket | None) -> None:
        """Name the socket that is waited for; None before it is closed."""
        with self._lock:
            self._sock = sock
        if sock is not None and self._fired.is_set():
            raise NotSent("interrupted")

    def fire(self) -> None:
        """Break off, from another thread: the socket reports its end at once."""
        self._fired.set()
        with self._lock:
            if self._sock is not None:
                _shut(self._sock)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # not connected (any more): nobody waits on it for long


class _Source(io.RawIOBase):
    """A socket as a raw stream whose reads all end by the same deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        _arm(self._sock, self._deadline)
        return self._sock.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What ``HTTPResponse`` asks a socket for."""
        return io.BufferedReader(self)


def _arm(sock: socket.socket, deadline: Deadline) -> None:
    left = deadline.remaining()
    if left <= 0:
        raise TimeoutError("timed out")
    sock.settimeout(left)


class Wire:
    """A connection to one endpoint. Any failure makes it useless: close it."""

    def __init__(self, endpoint: Endpoint, canceller: Canceller) -> None:
        self.endpoint = endpoint
        self._canceller = canceller
        self._sock: socket.socket | None = None
        self._idle_since = 0.0
        self._keep = False

    def connect(self, tls: ssl.SSLContext | None, deadline: Deadline) -> None:
        """Resolve, connect, shake hands. Raises NotSent."""
        family, address = resolve(self.endpoint, deadline)
        try:
            self._adopt(socket.socket(family, socket.SOCK_STREAM))
            sock = self._socket()
            _arm(sock, deadline)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._shake_hands(tls, deadline)
        except OSError as e:
            raise NotSent(str(e)) from e

    def _shake_hands(self, tls: ssl.SSLContext, deadline: Deadline) -> None:
        """``do_handshake`` takes the socket's timeout for the handshake as a whole."""
        sock = tls.wrap_socket(
            self._socket(), server_hostname=self.endpoint.host, do_handshake_on_connect=False
        )
        self._adopt(sock)
        _arm(sock, deadline)
        sock.do_handshake()

    def _adopt(self, sock: socket.socket) -> None:
        self._sock = sock
        self._canceller.attach(sock)

    def _socket(self) -> socket.socket:
        if self._sock is None:
            raise NotSent("not connected")
        return self._sock

    def is_reusable(self) -> bool:
        """Whether another request may be sent: kept alive, not idle for long, not ended."""
        if self._sock is None or not self._keep:
            return False
        if time.monotonic() - self._idle_since > IDLE_LIMIT_S:
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def post(self, path: str, body: bytes, deadline: Deadline) -> Answer:
        """One exchange. Raises NotSent, Lost."""
        response = self._begin(path, body, deadline)
        try:
            data = response.read(MAX_ANSWER + 1)
        except (OSError, HTTPException, ValueError) as e:
            raise Lost(_text(e)) from e
        if len(data) > MAX_ANSWER:
            raise Lost(f"the answer is longer than {MAX_ANSWER} octets")
        if response.length:
            raise Lost("the answer was cut short")
        self._keep = response.isclosed() and not response.will_close
        self._idle_since = time.monotonic()
        return Answer(response.status, data)

    def lines(self, path: str, body: bytes, deadline: Deadline) -> Iterator[bytes]:
        """The lines of an endless answer, until the deadline (Lost) or its end."""
        response = self._begin(path, body, deadline)
        try:
            while line := response.readline(MAX_ANSWER):
                yield line
        except (OSError, HTTPException, ValueError) as e:
            raise Lost(_text(e)) from e

    def _begin(self, path: str, body: bytes, deadline: Deadline) -> HTTPResponse:
        sock = self._socket()
        self._keep = False
        self._canceller.attach(sock)
        try:
            _arm(sock, deadline)
        except TimeoutError as e:
            raise NotSent("timed out") from e
        try:
            sock.sendall(self._request(path, body))
            # HTTPResponse wants nothing of a socket but makefile().
            source = cast(socket.socket, _Source(sock, deadline))
            response = HTTPResponse(source, method="POST")
            response.begin()
        except (OSError, HTTPException, ValueError) as e:
            raise Lost(_text(e)) from e
        return response

    def _request(self, path: str, body: bytes) -> bytes:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.endpoint}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("ascii") + body

    def close(self) -> None:
        """Idempotent."""
        self._canceller.attach(None)
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


def _text(e: Exception) -> str:
    return str(e) or type(e).__name__
