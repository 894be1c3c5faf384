"""Both ends of the replication link on loopback, and scripted others, for the tests here."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from remus_ha.disk.tapdisk.peer import BackupPeer, PrimaryPeer, connect

LOOPBACK = "127.0.0.1"
DEADLINE_S = 10.0
DISK_SECTORS = 2048


@dataclass
class Clock:
    """Time that passes only when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeStore:
    """Notes what it is told; closes an epoch at once, or, ``withheld``, when a test says so."""

    withheld: bool = False
    told: list[tuple[object, ...]] = field(default_factory=list)
    closing: list[Callable[[], None]] = field(default_factory=list)
    failure: Exception | None = None

    def write(self, offset_octets: int, data: bytes) -> None:
        if self.failure:
            raise self.failure
        self.told.append(("write", offset_octets, data))

    def close_epoch(self, closed: Callable[[], None]) -> None:
        self.told.append(("close",))
        self.closing.append(closed)
        if not self.withheld:
            closed()

    def lost(self) -> None:
        self.told.append(("lost",))

    @property
    def verbs(self) -> list[object]:
        return [entry[0] for entry in self.told]


def serve_until(condition: Callable[[], bool], *peers: PrimaryPeer | BackupPeer) -> None:
    """Serve the peers, all in this thread, as often as something happens on one of them."""
    until, poll = time.monotonic() + DEADLINE_S, select.poll()
    for peer in peers:
        poll.register(peer, select.POLLIN)
    while not condition():
        assert time.monotonic() < until, "it has not come about at the deadline"
        poll.poll(100)
        for peer in peers:
            peer.pump()


def new_listener() -> socket.socket:
    return socket.create_server((LOOPBACK, 0))


def address_of(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return host, port


@contextmanager
def scripted_backup(
    clock: Callable[[], float] = time.monotonic, *, queue_limit: int = 8 << 20
) -> Iterator[tuple[PrimaryPeer, socket.socket]]:
    """Our primary, connected to a plain socket."""
    with new_listener() as listener:
        sock = socket.create_connection(address_of(listener), timeout=DEADLINE_S)
        primary = PrimaryPeer(sock, clock=clock, queue_limit=queue_limit)
        other, _address = listener.accept()
    with other:
        other.settimeout(DEADLINE_S)
        yield primary, other
        primary.close()


@contextmanager
def scripted_primary(
    store: FakeStore, clock: Callable[[], float] = time.monotonic, *, stall_s: float = 3.0
) -> Iterator[tuple[BackupPeer, socket.socket]]:
    """Our backup, connected to a plain socket."""
    listener = new_listener()
    with socket.create_connection(address_of(listener), timeout=DEADLINE_S) as other:
        backup = BackupPeer(listener, store, DISK_SECTORS, clock=clock, stall_s=stall_s)
        serve_until(lambda: backup.connected, backup)
        yield backup, other
        backup.close()


@contextmanager
def both(store: FakeStore) -> Iterator[tuple[PrimaryPeer, BackupPeer]]:
    listener = new_listener()
    primary = connect(address_of(listener), DEADLINE_S)
    backup = BackupPeer(listener, store, DISK_SECTORS)
    serve_until(lambda: backup.connected, backup)
    yield primary, backup
    primary.close()
    backup.close()


def read_exactly(sock: socket.socket, octets: int) -> bytes:
    got = b""
    while len(got) < octets:
        piece = sock.recv(octets - len(got))
        assert piece, f"the connection ended after {got!r}"
        got += piece
    return got


def ended(sock: socket.socket) -> bool:
    """Whether the other end has closed or reset the connection; waits for it."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
