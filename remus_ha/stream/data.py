"""Opening the data connection: only whoever got the key over the control channel may.

The connecting side first sends 52 octets: ``RmHD``, the session (16), the key of the Welcome
frame (32). The stream's offsets count from the octet after them. The key is good for one
connection: close the listener once it was shown.
"""

import hmac
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

from remus_ha.stream.errors import PeerClosed, Unreachable, WrongPeer
from remus_ha.stream.fields import KEY_OCTETS, SESSION_OCTETS
from remus_ha.stream.tcp import accept_tcp, connect_tcp

MAGIC = b"RmHD"
Sock = TypeVar("Sock", bound=socket.socket)
OPENING_OCTETS = len(MAGIC) + SESSION_OCTETS + KEY_OCTETS
CLIENT_DEADLINE_S = 3.0


def opening(session: bytes, key: bytes) -> bytes:
    """The first octets of a data connection."""
    if len(session) != SESSION_OCTETS or len(key) != KEY_OCTETS:
        raise ValueError("a session or a key of the wrong length")
    return MAGIC + session + key


def connect_data(
    address: tuple[str, int], session: bytes, key: bytes, deadline_s: float
) -> socket.socket:
    """A non-blocking data socket within ``deadline_s`` seconds. Raises Unreachable, PeerClosed."""
    sock = connect_tcp(address, deadline_s)
    try:
        sock.sendall(opening(session, key))
    except OSError as e:
        sock.close()
        raise PeerClosed(detail=e.strerror or e) from e
    sock.setblocking(False)
    return sock


def accept_data(
    listener: socket.socket, session: bytes, key: bytes, deadline_s: float
) -> socket.socket:
    """Wait for the peer's data connection, ``deadline_s`` seconds in all; non-blocking.

    Connections without the key are dropped and the waiting goes on. Raises at the deadline
    WrongPeer if there were such, else Unreachable.
    """
    return accept_opening(lambda left_s: accept_tcp(listener, left_s), session, key, deadline_s)


def accept_opening(
    accept: Callable[[float], Sock], session: bytes, key: bytes, deadline_s: float
) -> Sock:
    """The same of connections that ``accept(deadline_s)`` brings."""
    until = time.monotonic() + deadline_s
    refusal: WrongPeer | None = None
    while True:
        try:
            sock = accept(until - time.monotonic())
        except Unreachable as e:
            raise refusal or e from e
        sock.setblocking(False)
        shown = _receive(sock, min(until, time.monotonic() + CLIENT_DEADLINE_S))
        if hmac.compare_digest(shown, opening(session, key)):
            return sock
        sock.close()
        refusal = WrongPeer(detail="a data connection came without the session's key")


def _receive(sock: socket.socket, until: float) -> bytes:
    """The opening, or as much of it as came in time."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    got = b""
    while len(got) < OPENING_OCTETS:
        try:
            piece = sock.recv(OPENING_OCTETS - len(got))
        except (BlockingIOError, ssl.SSLWantReadError):
            if not poll.poll(max(0.0, (until - time.monotonic()) * 1000)):
                break
            continue
        except OSError:
            break
        if not piece:
            break
        got += piece
    return got
