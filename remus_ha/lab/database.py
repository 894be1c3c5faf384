"""The port of a guest's database program: rows of an SQLite database, and files beside it.

An answer is a promise: a row is committed, a file and its name are synced, all on the guest's own
ext4. So whoever keeps what was answered can prove that an accident has lost none of it.
"""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import TracebackType

from remus_ha.lab.control import DATABASE_PORT
from remus_ha.lab.errors import BadValue, DatabaseRefused, LedgerUnreachable

_REFUSED_S = 0.1
_ABSENT = "absent"


class _Commands(ABC):
    """What can be asked. Every method raises LedgerUnreachable, DatabaseRefused, BadValue.

    Without an answer (LedgerUnreachable) a row or a file may be there or not.
    """

    @abstractmethod
    def _ask(self, line: str) -> str: ...

    def insert(self, text: str) -> int:
        """Commit a row; its number. A text is one line, not empty."""
        return int(_promised("row", f"insert {_one_line(text)}", self._ask))

    def row(self, number: int) -> str | None:
        """A row's text; None when it is not there."""
        return _or_none(self._ask(f"row {number}?"))

    def count(self) -> int:
        """How many rows there are."""
        return int(self._ask("count"))

    def save(self, name: str, text: str) -> None:
        """Write a file (letters, digits, ``-_.``) or replace it; it is synced when this returns."""
        _promised("saved", f"file {name} {_one_line(text)}", self._ask)

    def file(self, name: str) -> str | None:
        """A file's text; None when it is not there."""
        return _or_none(self._ask(f"file {name}?"))

    def check(self) -> str:
        """``ok``, or the first thing that SQLite's integrity check finds wrong."""
        return self._ask("check")


class DatabaseConnection(_Commands):
    """One connection, kept from command to command; a context manager. It never reconnects."""

    def __init__(self, connected: socket.socket, address: str, port: int) -> None:
        self._socket = connected
        self._answers = connected.makefile("r", encoding="utf-8", newline="\n")
        self._address, self._port = address, port

    def _ask(self, line: str) -> str:
        try:
            self._socket.sendall(f"{line}\n".encode())
            answer = self._answers.readline()
        except OSError as error:
            raise _unreachable(self._address, self._port, error) from error
        if not answer.endswith("\n"):
            raise _unreachable(self._address, self._port, "it closed the connection")
        word, _, rest = answer.removesuffix("\n").partition(" ")
        if word == "error":
            raise DatabaseRefused(command=line, words=rest)
        return answer.removesuffix("\n")

    def break_off(self) -> None:
        """From another thread: whoever waits for an answer hears that there will be none."""
        with suppress(OSError):  # it may have ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "DatabaseConnection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answers.close()
        self._socket.close()


class DatabaseControl(_Commands):
    """Asks one guest, each time on a new connection. ``enter`` is the lab's (``lab.enter``)."""

    def __init__(
        self,
        enter: Callable[[], AbstractContextManager[None]],
        address: str,
        port: int = DATABASE_PORT,
    ) -> None:
        self._enter = enter
        self._address = address
        self._port = port

    def connect(self, timeout_s: float = 60.0) -> DatabaseConnection:
        """A connection of its own; no answer within ``timeout_s`` breaks it. LedgerUnreachable."""
        try:
            with self._enter():
                connected = socket.create_connection((self._address, self._port), timeout_s)
        except OSError as error:
            raise _unreachable(self._address, self._port, error) from error
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return DatabaseConnection(connected, self._address, self._port)

    def wait_served(self, timeout_s: float = 60.0) -> None:
        """Until a guest that is starting serves its database. LedgerUnreachable."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with self.connect(timeout_s) as connection:
                    connection.count()
                return
            except LedgerUnreachable as error:
                refused = isinstance(error.__cause__, ConnectionRefusedError)
                if not refused or time.monotonic() >= deadline:
                    raise
            # nothing tells when its port is there
            time.sleep(_REFUSED_S)

    def _ask(self, line: str) -> str:
        with self.connect() as connection:
            return connection._ask(line)


def _promised(word: str, line: str, ask: Callable[[str], str]) -> str:
    said, _, rest = ask(line).partition(" ")
    if said != word:
        raise DatabaseRefused(command=line, words=f"{said} {rest}")
    return rest


def _one_line(text: str) -> str:
    if not text or "\n" in text or "\0" in text:
        raise BadValue(what="a row's or a file's text", value=text, wanted="one line")
    return text


def _or_none(answer: str) -> str | None:
    return None if answer == _ABSENT else answer


def _unreachable(address: str, port: int, detail: object) -> LedgerUnreachable:
    return LedgerUnreachable(proto="tcp", port=port, address=address, detail=detail)
