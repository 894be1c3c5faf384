"""TCP as both the control and the data connection use it."""

import socket
import struct

from remus_ha.stream.errors import PortInUse, Unreachable

USER_TIMEOUT_MS = 10_000
_SO_MAX_PACING_RATE = 47  # asm-generic/socket.h; the socket module does not name it


def tune(
    sock: socket.socket, user_timeout_ms: int = USER_TIMEOUT_MS, *, idle: bool = False
) -> None:
    """Send small things at once; let the kernel give up on a silent peer after the timeout.

    A backstop only: detection is by progress, in the loop. ``idle``: it may have nothing to send
    for long, and somebody else notices the peer's death then. Otherwise the kernel asks the peer,
    and with a short timeout gives up for a single answer that is lost.
    """
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
    sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, user_timeout_ms)
    if idle:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(tcp, socket.TCP_KEEPIDLE, 2)
    sock.setsockopt(tcp, socket.TCP_KEEPINTVL, 2)
    sock.setsockopt(tcp, socket.TCP_KEEPCNT, max(1, user_timeout_ms // 2000))


def pace(sock: socket.socket, octets_per_s: int) -> None:
    """Let the kernel send no faster than that, whoever writes and however much.

    TCP paces the connection by itself where its device has no ``fq``. Headers come on top.
    """
    rate = struct.pack("L", octets_per_s)
    sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, rate)


def listen(host: str, port: int = 0) -> socket.socket:
    """A listening socket on a numeric address, IPv4 or IPv6; port 0: any. Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=8)
    except OSError as e:
        raise PortInUse(address=f"{host} port {port}", detail=e.strerror or e) from e


def connect_tcp(address: tuple[str, int], deadline_s: float) -> socket.socket:
    """A tuned TCP connection within ``deadline_s`` seconds. Raises Unreachable."""
    try:
        sock = socket.create_connection(address, timeout=max(deadline_s, 0.001))
    except OSError as e:
        where = f"{address[0]} port {address[1]}"
        raise Unreachable(address=where, detail=e.strerror or e) from e
    tune(sock)
    return sock


def accept_tcp(listener: socket.socket, deadline_s: float) -> socket.socket:
    """The next connection within ``deadline_s`` seconds, tuned. Raises Unreachable."""
    listener.settimeout(max(deadline_s, 0.001))
    try:
        sock, _address = listener.accept()
    except OSError as e:
        detail = e.strerror or "it did not connect in time"
        raise Unreachable(address="the peer", detail=detail) from e
    tune(sock)
    return sock
