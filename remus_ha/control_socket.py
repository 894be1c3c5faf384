"""The per-guest processes' local socket: one JSON line asked, JSON lines answered.

Served out of the process's own loop. A request is ``{"command": NAME, …}``; what answers is a
function from the request to a JSON value. A slow or rude client is cut, never waited for.
"""

import contextlib
import functools
import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remus_ha.exceptions import RemusError
from remus_ha.loop import Loop

LIMIT = 65536
MAX_CLIENTS = 32
SO_SNDBUFFORCE = 32  # asm-generic/socket.h; as root a whole answer fits, however long
Answer = Callable[[dict[str, Any]], Any]


class NotRunning(RemusError):
    code = "PROTECT-002"
    cause = "no process answers for guest {uuid} ({detail})"
    remedy = "Look at 'remus-ha status'; 'remus-ha cleanup' resolves what is left over."


class ControlSocket:
    """Listens on a unix socket and answers out of ``loop``."""

    def __init__(self, loop: Loop, path: Path, answer: Answer) -> None:
        self._loop, self._path, self._answer = loop, path, answer
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen(64)
        loop.watch(self._listener.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it went away again, or there are no descriptors: it may come back
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients)))
        client.setblocking(False)
        self._clients[client.fileno()] = (client, bytearray())
        self._loop.watch(client.fileno(), functools.partial(self._read, client.fileno()))

    def _read(self, fd: int, _events: int) -> None:
        client, buffer = self._clients[fd]
        try:
            octets = client.recv(LIMIT)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        buffer += octets
        if not octets or len(buffer) > LIMIT:
            self._drop(fd)
            return
        while b"\n" in buffer:
            line, _, rest = bytes(buffer).partition(b"\n")
            buffer[:] = rest
            if not self._reply(client, line):
                self._drop(fd)
                return

    def _reply(self, client: socket.socket, line: bytes) -> bool:
        try:
            request = json.loads(line)
            answer = self._answer(request if isinstance(request, dict) else {})
        except RemusError as e:
            answer = {"error": e.as_dict()}
        except (ValueError, TypeError, OverflowError, RecursionError) as e:
            answer = {"error": {"code": "REMUS-000", "cause": str(e), "remedy": ""}}
        octets = json.dumps(answer).encode() + b"\n"
        client.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, len(octets))
        try:
            return client.send(octets) == len(octets)
        except OSError:
            return False

    def _drop(self, fd: int) -> None:
        client, _ = self._clients.pop(fd)
        self._loop.forget(fd)
        client.close()

    def close(self) -> None:
        for fd in list(self._clients):
            self._drop(fd)
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)


def ask(path: Path, uuid: str, request: dict[str, Any], timeout_s: float = 5.0) -> Any:
    """Ask a per-guest process. Raises NotRunning."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as s:
        # A full backlog makes a connect with a Python timeout fail at once; the kernel's waits.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout_s), 0))
        try:
            s.connect(str(path))
            s.settimeout(timeout_s)
            s.sendall(json.dumps(request).encode() + b"\n")
            with s.makefile("rb") as f:
                line = f.readline(1 << 22)
        except OSError as e:
            raise NotRunning(uuid=uuid, detail=e.strerror or str(e)) from e
    if not line:
        raise NotRunning(uuid=uuid, detail="it closed the connection")
    try:
        return json.loads(line)
    except ValueError as e:
        raise NotRunning(uuid=uuid, detail="it broke off") from e
