"""A ledger on loopback that can be told to misbehave, as a badly failed over guest would."""

import copy
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class FakeGuest:
    """Answers as ``guest/ledger.c`` does. ``rollback`` returns to the last ``checkpoint``."""

    def __init__(self, proto: str) -> None:
        self._proto = proto
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        if proto == "tcp":
            self._socket.listen(1)
        self._state = {"total": 0, "count": 0, "ticks": 0, "last": 0}
        self._saved = dict(self._state)
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.silent = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def checkpoint(self) -> None:
        with self._lock:
            self._saved = copy.copy(self._state)

    def rollback(self) -> None:
        with self._lock:
            self._state = copy.copy(self._saved)

    def reset_connection(self) -> None:
        assert self._connection is not None
        self._connection.shutdown(socket.SHUT_RDWR)

    def answer(self, line: str) -> str:
        name, seq, amount = line.split()
        with self._lock:
            self._state["ticks"] += 1
            if int(seq) > self._state["last"]:
                self._state["last"] = int(seq)
                self._state["total"] += int(amount)
                self._state["count"] += 1
            return "{} {} {total} {count} {ticks}\n".format(name, seq, **self._state)

    def _serve(self) -> None:
        if self._proto == "udp":
            while data := self._socket.recvfrom(2048):
                if data[0] == b"end":
                    return
                if not self.silent:
                    self._socket.sendto(self.answer(data[0].decode()).encode(), data[1])
        self._connection, _ = self._socket.accept()
        # One file for both ways would forget what it has read ahead whenever something is written.
        with self._connection, self._connection.makefile("r") as requests:
            with suppress(ConnectionError):  # the client does not wait for all answers
                for line in requests:
                    if not self.silent:
                        self._connection.sendall(self.answer(line).encode())

    @contextmanager
    def running(self) -> Iterator["FakeGuest"]:
        self._thread.start()
        try:
            yield self
        finally:
            if self._proto == "udp":
                self._socket.sendto(b"end", ("127.0.0.1", self.port))
            self._thread.join(10)
            self._socket.close()
            assert not self._thread.is_alive()
