"""One end of an encrypted data stream: ``python -m remus_ha.stream.relay --control FD``.

A process of its own, so that no page octets enter the epoch loop's interpreter: plain on a local
socket, TLS 1.3 on the connection with the other host. ``remus_ha.stream.sealed`` starts it and
gives its orders: JSON on a socket of the kind SEQPACKET. The first message says who it is, the
second one what it connects; it answers with the local socket, or with why there is none. Before
that it says that it is ready: an interpreter takes its time to start.

Where OpenSSL has left the encryption to the kernel, the connection itself is handed over, and this
process is done: whoever has it splices into it as into any other.
"""

import argparse
import base64
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from remus_ha.exceptions import RemusError
from remus_ha.stream.control import accept_tls, connect_tls
from remus_ha.stream.credentials import (
    Credentials,
    client_context,
    decode_certificate,
    server_context,
)
from remus_ha.stream.data import accept_opening, opening
from remus_ha.stream.errors import PeerClosed

ORDER_LIMIT = 65536
READY = b"ready"
CHUNK = 256 << 10
_SOL_TLS, _TLS_TX = 282, 1
_OP_ENABLE_KTLS = 1 << 3  # openssl/ssl.h; the ssl module names it from Python 3.12 on


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="remus-ha-relay", description=__doc__)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--listener", type=int, default=-1, help="the backup's end")
    args = parser.parse_args(argv)
    control = socket.socket(fileno=args.control)
    me = json.loads(control.recv(ORDER_LIMIT))
    own = Credentials(decode_certificate(me["certificate"]), me["pem"].encode())
    peer = decode_certificate(me["peer"])
    control.send(READY)
    order = control.recv(ORDER_LIMIT)
    if not order:
        return 0
    try:
        if args.listener >= 0:
            listener = socket.socket(fileno=args.listener)
            pump = _accepted(control, json.loads(order), own, peer, listener)
        else:
            pump = _connected(control, json.loads(order), own, peer)
    except RemusError as e:
        control.send(json.dumps({"error": type(e).__name__, "facts": _words(e)}).encode())
        return 1
    threading.Thread(target=_end_with, args=(control,), daemon=True).start()
    pump()
    return 0


def _words(e: RemusError) -> dict[str, str]:
    return {name: str(value) for name, value in e.facts.items()}


def _end_with(control: socket.socket) -> None:
    """Whoever started this process is gone: nobody is left to relay for."""
    if not control.recv(1):
        os._exit(0)


def _connected(
    control: socket.socket, order: dict[str, Any], own: Credentials, peer: bytes
) -> Callable[[], None]:
    context = client_context(own, peer)
    context.context.options |= _OP_ENABLE_KTLS
    sock = connect_tls((order["host"], order["port"]), context, order["deadline_s"])
    sock.settimeout(None)
    try:
        sock.sendall(opening(bytes.fromhex(order["session"]), base64.b64decode(order["key"])))
    except OSError as e:
        raise PeerClosed(detail=e.strerror or e) from e
    if is_kernels(sock):
        _hand_over(control, {"kernel": True}, [sock.fileno()])
        return lambda: None
    near, far = local_pair()
    with far:
        _hand_over(control, {"kernel": False}, [far.fileno(), sock.fileno()])
    return lambda: _copy(near.recv_into, sock.sendall)


def _accepted(
    control: socket.socket,
    order: dict[str, Any],
    own: Credentials,
    peer: bytes,
    listener: socket.socket,
) -> Callable[[], None]:
    session, key = bytes.fromhex(order["session"]), base64.b64decode(order["key"])
    sock = accept_opening(
        lambda deadline_s: accept_tls(listener, server_context(own, peer), deadline_s),
        session,
        key,
        order["deadline_s"],
    )
    sock.settimeout(None)
    listener.close()
    near, far = local_pair()
    with far:
        _hand_over(control, {"kernel": False}, [far.fileno()])
    return lambda: _copy(sock.recv_into, near.sendall)


def _hand_over(control: socket.socket, answer: dict[str, Any], fds: list[int]) -> None:
    socket.send_fds(control, [json.dumps(answer).encode()], fds)


def is_kernels(sock: socket.socket) -> bool:
    """Whether the kernel encrypts what is written to the connection."""
    try:
        version, cipher = struct.unpack("HH", sock.getsockopt(_SOL_TLS, _TLS_TX, 4))
    except OSError:
        return False
    return bool(version and cipher)


def local_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a plain stream, with room for what a relay encrypts at once and more."""
    pair = socket.socketpair()
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * CHUNK)
    return pair


def _copy(take: Callable[[memoryview], int], give: Callable[[memoryview], object]) -> None:
    """Until one of them ends; an end on either side shows itself on the other one."""
    view = memoryview(bytearray(CHUNK))
    try:
        while count := take(view):
            give(view[:count])
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main())
