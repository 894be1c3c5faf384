"""A TCP proxy that loses answers on demand."""

import enum
import socket
import threading
from collections.abc import Iterator
from types import TracebackType


class Mode(enum.Enum):
    PASS = "pass"
    SWALLOW = "swallow"  # requests arrive, answers vanish, the connection stays
    CUT = "cut"  # requests arrive, one answer ends its connection instead, then PASS


class Proxy:
    """Listens on loopback and forwards to a loopback port."""

    def __init__(self, target_port: int) -> None:
        self.mode = Mode.PASS
        self.requests = 0
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._socks: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self.port}/test"

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        for sock in (self._listener, *self._socks):
            _end(sock)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._socks += [client, server]
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        for data in _chunks(client):
            self.requests += data.count(b"POST ")
            server.sendall(data)
        _end(server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        for data in _chunks(server):
            if self.mode is Mode.CUT:
                self.mode = Mode.PASS
                break
            if self.mode is Mode.PASS:
                client.sendall(data)
        _end(client)


def _chunks(sock: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            data = sock.recv(65536)
        except OSError:
            return
        if not data:
            return
        yield data


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()
