"""The local socket that a store or a block server takes its orders by."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk.orders import Order, OrderServer

DEADLINE_S = 10.0


class Server(OrderServer):
    """Does nothing but talk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gone = threading.Event()
        self.came = threading.Event()
        self.listen()

    def carry_out(self, order: Order) -> None:
        self.came.set()

    def left(self) -> None:
        self.gone.set()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "orders")


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[socket.socket]:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(DEADLINE_S)
    made.connect(str(tmp_path / "orders"))
    made.sendall(b'{"do": "hello"}\n')
    assert server.came.wait(DEADLINE_S)
    yield made
    made.close()


def test_a_client_that_never_reads_holds_nobody_up(server: Server, client: socket.socket) -> None:
    for n in range(100_000):
        if server.gone.is_set():
            break
        server.say("prepared", n=n)
    assert server.gone.wait(DEADLINE_S)


def test_whoever_reads_hears_everything(server: Server, client: socket.socket) -> None:
    with client.makefile("rb") as lines:
        for n in range(2000):
            server.say("prepared", n=n)
            assert lines.readline().strip().endswith(f'"n": {n}}}'.encode())
