"""A local socket that one process gives another its orders by, and is told of what happens.

One JSON object a line each way, over a unix socket: ``{"do": VERB, "n": N}`` in, with a place of
the disk where the verb needs one, ``{"said": WORD, ...}`` out. An order that cannot be carried out
is answered ``failed`` with its error, and the verb.
One client at a time; a new one replaces a dead one.
"""

import abc
import contextlib
import json
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from remus_ha.exceptions import RemusError

LINE = 65536


@dataclass(frozen=True, slots=True)
class Order:
    """``n`` is an epoch; ``offset``, ``length`` and ``grain`` are octets. -1: not said."""

    verb: str
    n: int = -1
    offset: int = -1
    length: int = -1
    grain: int = -1

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Raises ValueError, TypeError, KeyError or AttributeError for anything else."""
        fields = json.loads(line)
        numbers = [int(fields.get(key, -1)) for key in ("n", "offset", "length", "grain")]
        return cls(str(fields["do"]), *numbers)


class OrderServer(abc.ABC):
    """Serves on ``path`` once ``listen`` was called. ``say`` may be called by any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._client: socket.socket | None = None

    def listen(self) -> None:
        """Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        os.chmod(self._path, 0o600)
        self._listener.listen(4)
        threading.Thread(target=self._accept_all, name="orders", daemon=True).start()

    @abc.abstractmethod
    def carry_out(self, order: Order) -> None:
        """One order. Raises RemusError for one that cannot be."""

    @abc.abstractmethod
    def left(self) -> None:
        """The client is gone, and no other has come in its place."""

    @property
    def attended(self) -> bool:
        """Whether somebody is connected."""
        return self._client is not None

    def say(self, word: str, **more: Any) -> None:
        """Never waits: a client that has left some hundred lines unread is taken for gone."""
        octets = json.dumps({"said": word, **more}).encode() + b"\n"
        with self._lock:
            client = self._client
            if client is None:
                return
            try:
                whole = client.send(octets, socket.MSG_DONTWAIT) == len(octets)
            except BlockingIOError:
                whole = False
            except OSError:
                return  # a dead client's end shows where it is read
            if not whole:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def _accept_all(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with self._lock:
                before, self._client = self._client, client
            if before is not None:
                with contextlib.suppress(OSError):
                    before.shutdown(socket.SHUT_RDWR)
            serve = threading.Thread(target=self._serve, args=(client,), daemon=True)
            serve.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, client.makefile("rb") as lines:
            while line := lines.readline(LINE):
                self._take(line)
        with self._lock:
            last = self._client is client
            if last:
                self._client = None
        if last:
            self.left()

    def _take(self, line: bytes) -> None:
        try:
            order = Order.parse(line)
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # not ours
        try:
            self.carry_out(order)
        except RemusError as e:
            self.say("failed", do=order.verb, n=order.n, error=e.as_dict())
