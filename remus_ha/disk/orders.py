"""A local socket that one process gives another its orders by, and is told of what happens.

One JSON object a line each way, over a unix socket: ``{"do": VERB, "n": N}`` in, with a place of
the disk where the verb needs one, ``{"said": WORD, ...}`` out. An order that cannot be carried out
is answered ``failed`` with its error, and the verb.

Any number of clients, of which at most one is the owner. In every server::

    attend     (not answered) this client is the owner from now on; the one that came before it is
               dead or hangs: it is sent away, and what it has ordered is not begun any more
    status     status, with figures, and with ``attended``: whether there is an owner
    quit       gone, and the process ends

Every client may ask for the status, and any may say ``quit`` while there is no owner. All other
orders are the owner's. Only the owner hears what is said unasked; its absence is noticed.
"""

import abc
import contextlib
import itertools
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from remus_ha.disk.errors import NotAttending, OrderFailed
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
        """Raises ValueError for anything else."""
        try:
            fields = json.loads(line)
            numbers = [int(fields.get(key, -1)) for key in ("n", "offset", "length", "grain")]
            return cls(str(fields["do"]), *numbers)
        except (TypeError, LookupError, AttributeError, OverflowError, RecursionError) as e:
            raise ValueError(f"no order: {line[:80]!r}") from e


def attend(path: Path) -> socket.socket:
    """A connection to whoever serves ``path``, as its owner. Raises OSError where nobody does."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(str(path))
        made.sendall(_line({"do": "attend"}))
    except OSError:
        made.close()
        raise
    return made


def ask(path: Path, verb: str, timeout_s: float) -> Iterator[dict[str, Any]]:
    """What is answered to ``status`` or ``quit``, until the connection ends; no owner is disturbed.

    Raises OSError where nobody serves, TimeoutError where nothing is said for so long, ValueError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(timeout_s)
        asking.connect(str(path))
        asking.sendall(_line({"do": verb}))
        with asking.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


@dataclass(frozen=True, slots=True, eq=False)
class _Client:
    """One connection; they are numbered as they come."""

    socket: socket.socket
    number: int


class OrderServer(abc.ABC):
    """Serves on ``path`` once ``listen`` was called. ``say`` may be called by any thread.

    ``ended`` is called when the process is to end.
    """

    def __init__(self, path: Path, ended: Callable[[], None]) -> None:
        self._path, self._ended = path, ended
        self._lock = threading.Lock()
        self._owner: _Client | None = None
        self._numbers = itertools.count()

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
        """One of the owner's orders. Raises RemusError for one that cannot be."""

    @abc.abstractmethod
    def status(self) -> dict[str, Any]:
        """Figures for people. By any thread, while an order is carried out as well."""

    @abc.abstractmethod
    def settle(self) -> None:
        """The process is about to end: do what has to be done first. Raises RemusError."""

    @abc.abstractmethod
    def left(self) -> None:
        """The owner is gone, and no other has come in its place."""

    @property
    def attended(self) -> bool:
        """Whether there is an owner. Who only asks is none."""
        return self._owner is not None

    def say(self, word: str, **more: Any) -> None:
        """To the owner, if there is one. Never waits: one that has left some hundred lines unread

        is taken for gone.
        """
        with self._lock:
            if self._owner is not None:
                _send(self._owner.socket, word, more)

    def _answer(self, client: _Client, word: str, **more: Any) -> None:
        with self._lock:
            _send(client.socket, word, more)

    def _accept_all(self) -> None:
        while True:
            accepted, _ = self._listener.accept()
            client = _Client(accepted, next(self._numbers))
            serve = threading.Thread(target=self._serve, args=(client,), daemon=True)
            serve.start()

    def _serve(self, client: _Client) -> None:
        with contextlib.suppress(OSError), client.socket, client.socket.makefile("rb") as lines:
            while line := lines.readline(LINE):
                self._take(client, line)
        with self._lock:
            last = self._owner is client
            if last:
                self._owner = None
        if last:
            self.left()

    def _take(self, client: _Client, line: bytes) -> None:
        try:
            order = Order.parse(line)
        except ValueError:
            return  # not ours
        try:
            self._obey(client, order)
        except RemusError as e:
            self._fail(client, order, e)
        except OSError as e:
            self._fail(client, order, OrderFailed(verb=order.verb, path=self._path, detail=e))

    def _fail(self, client: _Client, order: Order, error: RemusError) -> None:
        self._answer(client, "failed", do=order.verb, n=order.n, error=error.as_dict())

    def _obey(self, client: _Client, order: Order) -> None:
        """Raises RemusError."""
        owner = self._owner
        if order.verb == "attend":
            self._attend(client)
        elif order.verb == "status":
            self._answer(client, "status", attended=self.attended, **self.status())
        elif order.verb == "quit" and owner in (client, None):
            self._quit(client)
        elif owner is client:
            self.carry_out(order)
        else:
            raise NotAttending(verb=order.verb, path=self._path)

    def _attend(self, client: _Client) -> None:
        """Of two owners the one that came later stays, whichever thread is the first here."""
        with self._lock:
            rivals = (self._owner or client, client)
            before, self._owner = sorted(rivals, key=lambda rival: rival.number)
            if before is not self._owner:
                with contextlib.suppress(OSError):
                    before.socket.shutdown(socket.SHUT_RDWR)

    def _quit(self, client: _Client) -> None:
        self.settle()
        self._path.unlink(missing_ok=True)
        self._answer(client, "gone")
        self._ended()


def _send(client: socket.socket, word: str, more: dict[str, Any]) -> None:
    octets = _line({"said": word, **more})
    try:
        whole = client.send(octets, socket.MSG_DONTWAIT) == len(octets)
    except BlockingIOError:
        whole = False
    except OSError:
        return  # a dead client's end shows where it is read
    if not whole:
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
