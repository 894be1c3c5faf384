"""The receiver's end of a store's local socket, in the receiver's loop.

The orders of one store are carried out in the order they are given, so ``commit`` before ``cut``
and ``finish`` is rolled forward whatever comes between.
"""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remus_ha.disk.orders import attend
from remus_ha.loop import Loop

_CHUNK = 65536


class StoreClient:
    """One store's connection. ``said(client, message)`` is called for whatever the store says.

    ``ended(client)`` is called once when the store is gone, ordered or not.
    """

    def __init__(
        self,
        loop: Loop,
        disk: str,
        path: Path,
        *,
        said: Callable[["StoreClient", dict[str, Any]], None],
        ended: Callable[["StoreClient"], None],
    ) -> None:
        """Raises OSError where no store serves ``path``."""
        self._loop, self.disk, self._said, self._ended = loop, disk, said, ended
        self._partial = b""
        self._socket = attend(path)
        self._socket.setblocking(False)
        self.pid = _peer_pid(self._socket)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # it has just ended
            self._socket.close()
            raise
        self.prepared = -1
        self.committed = -1
        self.gone = False
        loop.watch(self._socket.fileno(), self._read)

    def order(self, verb: str, n: int = -1, **place: int) -> None:
        """Give an order; a store that is gone shows itself in the loop."""
        line = json.dumps({"do": verb, "n": n, **place}).encode() + b"\n"
        try:
            self._socket.send(line)
        except BlockingIOError:
            self.kill()  # a few dozen octets find no room: it has not read for a long time
        except OSError:
            pass

    def abandon(self) -> None:
        """Let go of it; a store ends, with whatever it was at."""
        self.order("cut")
        self.kill()
        self.close()

    def kill(self) -> None:
        """End a store that does not answer; what it has committed can be taken up again."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _read(self, _events: int) -> None:
        try:
            octets = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._parted()
            return
        *lines, self._partial = (self._partial + octets).split(b"\n")
        for line in lines:
            if self.gone:
                return  # a line before has ended the session: nobody wants to hear the rest
            self._take(json.loads(line))

    def _parted(self) -> None:
        """Nobody can give it orders any more: if it lives, it must not keep the image."""
        self.kill()
        self.close()
        self._ended(self)

    def _take(self, message: dict[str, Any]) -> None:
        if message["said"] == "prepared":
            self.prepared = max(self.prepared, int(message["n"]))
        elif message["said"] == "committed":
            self.committed = max(self.committed, int(message["n"]))
        self._said(self, message)

    def close(self) -> None:
        """Idempotent."""
        if not self.gone:
            self.gone = True
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            os.close(self._pidfd)
            self._pidfd = -1


def _peer_pid(connection: socket.socket) -> int:
    """The process at the other end (SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(raw[:4], "little", signed=True)
