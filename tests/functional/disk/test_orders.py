"""The local socket that a store, a block server or a daemon takes its orders by."""

import errno
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remus_ha.disk.orders import Order, OrderServer, ask, attend
from tests.functional.disk.machine import Orders

DEADLINE_S = 10.0


class Server(OrderServer):
    """Does nothing but talk, and is at ``wait`` until ``go_on`` is set."""

    def __init__(self, path: Path) -> None:
        self.over = threading.Event()
        super().__init__(path, self.over.set)
        self.gone = threading.Event()
        self.go_on = threading.Event()
        self.carried_out: list[str] = []
        self.listen()

    def carry_out(self, order: Order) -> None:
        self.carried_out.append(order.verb)
        self.say("hello", n=order.n)
        if order.verb == "break":
            raise OSError(errno.EIO, "no")
        if order.verb == "wait":
            self.go_on.wait(DEADLINE_S)

    def status(self) -> dict[str, Any]:
        return {"orders": len(self.carried_out)}

    def settle(self) -> None:
        self.carried_out.append("settle")

    def left(self) -> None:
        self.gone.set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders"


@pytest.fixture
def server(path: Path) -> Server:
    return Server(path)


@pytest.fixture
def client(server: Server, path: Path) -> Iterator[socket.socket]:
    made = attend(path)
    made.settimeout(DEADLINE_S)
    made.sendall(b'{"do": "greet"}\n')
    assert json.loads(made.recv(4096))["said"] == "hello"
    yield made
    made.close()


@pytest.fixture
def owner(server: Server, path: Path) -> Iterator[Orders]:
    made = Orders(path)
    assert made.status()["attended"]
    yield made
    made.close()


def test_an_order_that_the_system_refuses_is_answered(
    server: Server, client: socket.socket
) -> None:
    """The connection goes on: its end would mean that the process has died."""
    client.sendall(b'{"do": "break", "n": 3}\n{"do": "greet"}\n')
    with client.makefile("rb") as lines:
        said = [json.loads(lines.readline()) for _ in range(3)]
    assert [line["said"] for line in said] == ["hello", "failed", "hello"]
    assert (said[1]["do"], said[1]["n"], said[1]["error"]["code"]) == ("break", 3, "DISK-175")


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


def test_a_question_displaces_nobody(server: Server, path: Path, owner: Orders) -> None:
    """The receiver of old was sent away by it, in the middle of a failover even."""
    told = next(ask(path, "status", DEADLINE_S))
    assert told == {"said": "status", "attended": True, "orders": 0}
    owner.order("greet", 3)
    assert owner.said("hello")["n"] == 3
    assert not server.gone.is_set()


def test_whoever_asks_is_answered_while_an_order_is_carried_out(
    server: Server, path: Path, owner: Orders
) -> None:
    owner.order("wait")
    owner.said("hello")
    assert next(ask(path, "status", DEADLINE_S))["orders"] == 1
    server.go_on.set()


def test_what_is_said_unasked_is_the_owners_alone(
    server: Server, path: Path, owner: Orders
) -> None:
    asker = Orders(path, owns=False)
    asker.status()
    server.say("prepared", n=1)
    assert owner.said("prepared")["n"] == 1
    asker.order("status")
    assert json.loads(asker._lines.readline())["said"] == "status"


@pytest.mark.parametrize("verb", ["finish", "quit"])
def test_who_only_asks_orders_nothing(server: Server, path: Path, owner: Orders, verb: str) -> None:
    asker = Orders(path, owns=False)
    asker.order(verb)
    refused = asker.said("failed")
    assert (refused["do"], refused["error"]["code"]) == (verb, "DISK-048")
    assert (server.carried_out, server.over.is_set()) == ([], False)


def test_nobodys_server_is_ended_by_anybody(server: Server, path: Path) -> None:
    asker = Orders(path, owns=False)
    asker.order("finish")
    assert asker.said("failed")["error"]["code"] == "DISK-048"
    asker.order("quit")
    asker.said("gone")
    assert server.over.wait(DEADLINE_S)
    assert server.carried_out == ["settle"]
    assert not path.exists()


def test_a_new_owner_takes_the_place_of_one_that_hangs(
    server: Server, path: Path, owner: Orders
) -> None:
    """What that one has ordered and nobody has begun with is not done behind the new one's back."""
    owner.order("wait")
    owner.said("hello")
    owner.order("greet")
    new = Orders(path)
    assert new.status()["attended"]
    server.go_on.set()
    assert not owner._lines.readline()  # sent away
    new.order("greet", 5)
    assert new.said("hello")["n"] == 5
    assert server.carried_out == ["wait", "greet"]
    assert not server.gone.is_set()


def test_an_owner_of_before_that_is_heard_late_displaces_nobody(server: Server, path: Path) -> None:
    """A dead receiver's first line may be read after its successor's: each has its thread."""
    dead, new = Orders(path, owns=False), Orders(path, owns=False)
    new.order("attend")
    assert new.status()["attended"]
    dead.order("attend")
    assert not dead._lines.readline()
    new.order("greet")
    new.said("hello")


def test_the_owners_end_is_noticed_whoever_else_asks(
    server: Server, path: Path, owner: Orders
) -> None:
    asker = Orders(path, owns=False)
    owner.order("greet")
    owner.said("hello")
    assert asker.status()["attended"]
    other = Orders(path)
    assert other.status()["attended"]
    other.close()
    assert server.gone.wait(DEADLINE_S)
    assert not asker.status()["attended"]


def test_the_end_of_who_asks_is_nobodys(server: Server, path: Path, owner: Orders) -> None:
    assert next(ask(path, "status", DEADLINE_S))
    asker = Orders(path, owns=False)
    asker.status()
    asker.close()
    owner.order("greet")
    owner.said("hello")
    assert not server.gone.is_set()
