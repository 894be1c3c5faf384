"""Guards the backup's end: whole epochs only, ``done`` only when closed, one primary, one loss."""

import socket
import threading
import time
from itertools import pairwise

import pytest

from remus_ha.disk.errors import StorePoisoned
from remus_ha.disk.tapdisk.errors import (
    CommitsOverlap,
    PeerLost,
    PeerStalled,
    UnknownCode,
    WriteOutOfRange,
    WriteTooLarge,
)
from remus_ha.disk.tapdisk.peer import BackupPeer
from remus_ha.disk.tapdisk.wire import HEADER, Write, encode
from remus_ha.loop import Loop
from remus_ha.waiting import readable

from .peers import (
    DEADLINE_S,
    DISK_SECTORS,
    Clock,
    FakeStore,
    address_of,
    both,
    ended,
    new_listener,
    read_exactly,
    scripted_primary,
    serve_until,
)

DATA = bytes(range(256)) * 4
WRITE = encode(Write(5, DATA))


def silent(sock: socket.socket) -> bool:
    """Whether nothing has come."""
    return not readable(sock, 0)


def test_writes_and_epochs_reach_the_store_in_their_order() -> None:
    store = FakeStore()
    with scripted_primary(store) as (backup, other):
        other.sendall(WRITE + b"sreq" + encode(Write(0, DATA)) + b"creq" + WRITE)
        serve_until(lambda: len(store.told) == 4, backup)
        assert store.told == [
            ("write", 5 * 512, DATA),
            ("write", 0, DATA),
            ("close",),
            ("write", 5 * 512, DATA),
        ]
        assert read_exactly(other, 4) == b"done"
        assert silent(other)


def test_done_is_withheld_until_the_epoch_is_closed() -> None:
    store = FakeStore(withheld=True)
    with scripted_primary(store) as (backup, other):
        other.sendall(WRITE + b"creq" + WRITE)
        serve_until(lambda: store.verbs == ["write", "close", "write"], backup)
        backup.pump()
        assert silent(other)
        store.closing[0]()
        serve_until(lambda: not silent(other), backup)
        assert read_exactly(other, 4) == b"done"
        store.closing[0]()  # once too often
        backup.pump()
        other.sendall(b"creq")
        serve_until(lambda: len(store.closing) == 2, backup)
        store.closing[0]()  # and too late
        backup.pump()
        assert silent(other)
        store.closing[1]()
        store.closing[0]()
        serve_until(lambda: not silent(other), backup)
        assert read_exactly(other, 4) == b"done"


def test_an_epoch_may_be_closed_by_another_thread() -> None:
    store = FakeStore(withheld=True)
    with scripted_primary(store) as (backup, other):
        other.sendall(b"creq")
        serve_until(lambda: bool(store.closing), backup)
        closer = threading.Timer(0.05, store.closing[0])
        closer.start()
        begun = time.monotonic()
        backup.serve(DEADLINE_S * 2)
        assert time.monotonic() - begun < DEADLINE_S
        assert read_exactly(other, 4) == b"done"
        closer.join()


def test_two_commits_at_once_are_a_breach() -> None:
    store = FakeStore(withheld=True)
    with scripted_primary(store) as (backup, other):
        other.sendall(b"creqcreq" + WRITE)
        serve_until(lambda: backup.error is not None, backup)
        assert isinstance(backup.error, CommitsOverlap)
        assert store.verbs == ["close", "lost"]
        assert ended(other)
        store.closing[0]()  # nobody is there to be answered
        backup.pump()


@pytest.mark.parametrize("octets", [2, 4, 9, 16, 17, 16 + 1023])
def test_loss_inside_a_message(octets: int) -> None:
    """In the code, the header and the data."""
    store = FakeStore()
    with scripted_primary(store) as (backup, other):
        other.sendall(WRITE + b"creq" + WRITE + WRITE[:octets])
        other.close()
        serve_until(lambda: backup.error is not None, backup)
        backup.pump()
        assert store.verbs == ["write", "close", "write", "lost"]
        assert isinstance(backup.error, PeerLost)
        assert f"{octets} octets into a message" in str(backup.error)


def test_loss_between_messages() -> None:
    store = FakeStore()
    with scripted_primary(store) as (backup, other):
        other.sendall(WRITE)
        other.close()
        serve_until(lambda: backup.error is not None, backup)
        for _ in range(3):
            backup.pump()
        assert store.verbs == ["write", "lost"]


def test_loss_by_reset() -> None:
    store = FakeStore()
    with scripted_primary(store) as (backup, other):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        other.close()
        serve_until(lambda: backup.error is not None, backup)
        assert store.verbs == ["lost"]
        assert "reset" in str(backup.error)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"wreq" + HEADER.pack(9, 0) + bytes(9 * 512), WriteTooLarge),
        (b"wreq" + HEADER.pack(1, DISK_SECTORS) + bytes(512), WriteOutOfRange),
        (b"done", UnknownCode),
    ],
)
def test_a_breach_loses_the_open_epoch_and_nothing_else(
    octets: bytes, error: type[Exception]
) -> None:
    store = FakeStore()
    with scripted_primary(store) as (backup, other):
        other.sendall(WRITE + b"creq" + WRITE + octets + b"creq" + WRITE)
        serve_until(lambda: backup.error is not None, backup)
        assert isinstance(backup.error, error)
        assert store.verbs == ["write", "close", "write", "lost"]
        while not ended(other):
            pass


def test_a_store_that_fails_ends_the_connection() -> None:
    store = FakeStore(failure=StorePoisoned(disk="xvda", detail="no space left"))
    with scripted_primary(store) as (backup, other):
        other.sendall(WRITE + b"creq")
        serve_until(lambda: backup.error is not None, backup)
        assert isinstance(backup.error, StorePoisoned)
        assert store.verbs == ["lost"]
        assert ended(other)


def test_a_second_connection_is_refused_while_one_lives() -> None:
    store = FakeStore()
    with scripted_primary(store) as (backup, other):
        with socket.create_connection(address_of(backup._listener), DEADLINE_S) as second:
            serve_until(lambda: backup.refused == 1, backup)
            with pytest.raises(ConnectionResetError):
                second.recv(1)
        other.sendall(WRITE + b"creq")
        serve_until(lambda: store.verbs == ["write", "close"], backup)
        assert read_exactly(other, 4) == b"done"
        assert backup.error is None


def test_nobody_is_served_after_the_loss() -> None:
    """A primary that comes back would write on top of what is missing."""
    store = FakeStore()
    with scripted_primary(store) as (backup, other):
        address = address_of(backup._listener)
        other.close()
        serve_until(lambda: backup.error is not None, backup)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, DEADLINE_S)
        assert store.verbs == ["lost"]


@pytest.mark.parametrize("octets", [1, 4, 16, 17])
def test_a_stall_inside_a_message_is_noticed(octets: int) -> None:
    store, clock = FakeStore(), Clock()
    with scripted_primary(store, clock, stall_s=3.0) as (backup, other):
        other.sendall(WRITE + WRITE[:octets])
        serve_until(lambda: bool(store.told), backup)
        clock.now += 2.9
        backup.pump()
        assert backup.error is None
        clock.now += 0.2
        backup.pump()
        assert isinstance(backup.error, PeerStalled)
        assert store.verbs == ["write", "lost"]
        assert ended(other)


def test_octet_after_octet_is_a_stall_too() -> None:
    store, clock = FakeStore(), Clock()
    with scripted_primary(store, clock, stall_s=3.0) as (backup, other):
        sent = 0
        while backup.error is None and sent < 9:
            other.sendall(WRITE[sent : sent + 1])
            sent += 1
            backup.serve(DEADLINE_S)
            clock.now += 1
        assert isinstance(backup.error, PeerStalled)
        assert sent == 4


def test_idle_between_messages_is_no_stall() -> None:
    store, clock = FakeStore(), Clock()
    with scripted_primary(store, clock) as (backup, other):
        for _ in range(3):
            other.sendall(WRITE)
            serve_until(lambda: bool(store.told), backup)
            store.told.clear()
            clock.now += 3600
            backup.pump()
        for piece in (WRITE[:7], WRITE[7:]):
            other.sendall(piece)
            backup.serve(DEADLINE_S)
            assert backup.error is None
        assert store.verbs == ["write"]


def test_a_long_stream_cut_anywhere_is_no_stall() -> None:
    """Every message is begun anew, however late the other one was."""
    store, clock = FakeStore(), Clock()
    with scripted_primary(store, clock, stall_s=3.0) as (backup, other):
        stream = WRITE * 4
        for start, end in pairwise((0, 1500, 2600, 3700, len(stream))):
            other.sendall(stream[start:end])
            backup.serve(DEADLINE_S)
            clock.now += 2
        assert backup.error is None
        assert store.verbs == ["write"] * 4


def test_serve_wakes_at_the_stall_by_itself() -> None:
    store = FakeStore()
    with scripted_primary(store, stall_s=0.05) as (backup, other):
        other.sendall(b"wr")
        begun = time.monotonic()
        while backup.error is None:
            backup.serve(DEADLINE_S * 2)
        assert time.monotonic() - begun < DEADLINE_S
        assert store.verbs == ["lost"]


def test_closing_it_is_no_loss() -> None:
    store = FakeStore()
    with scripted_primary(store) as (backup, other):
        other.sendall(WRITE)
        serve_until(lambda: bool(store.told), backup)
        backup.close()
        backup.close()
        assert ended(other)
        assert store.verbs == ["write"]


def test_many_epochs_between_both_ends_in_one_loop() -> None:
    store, loop = FakeStore(), Loop()
    with both(store) as (primary, backup):
        for peer in (primary, backup):
            loop.watch(peer.fileno(), lambda _events, peer=peer: peer.pump())  # type: ignore[misc]
        for epoch in range(50):
            primary.submit(epoch * 512, DATA)
            primary.submit(0, bytes(20 * 512))
            primary.commit(DEADLINE_S)
            assert loop.until(lambda: not primary.committing, time.monotonic() + DEADLINE_S)
        assert store.verbs == (["write"] * 4 + ["close"]) * 50
        assert primary.acknowledged == 50
    loop.close()


def test_in_a_thread() -> None:
    store = FakeStore()
    with both(store) as (primary, backup):

        def work() -> None:
            while backup.error is None:
                backup.serve(DEADLINE_S)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        primary.submit(0, DATA)
        primary.commit(DEADLINE_S)
        primary.wait_done()
        primary.close()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        assert store.verbs == ["write", "close", "lost"]


def test_the_loop_rests_after_the_loss() -> None:
    """What stays readable would keep the loop busy."""
    store = FakeStore(withheld=True)
    loop = Loop()
    with scripted_primary(store) as (backup, other):
        rounds: list[int] = []

        def ready(events: int) -> None:
            rounds.append(events)
            backup.pump()

        loop.watch(backup.fileno(), ready)
        other.sendall(b"creq")
        other.close()
        assert loop.until(lambda: backup.error is not None, time.monotonic() + DEADLINE_S)
        store.closing[0]()
        loop.until(lambda: False, time.monotonic() + 0.05)
        rounds.clear()
        loop.until(lambda: False, time.monotonic() + 0.05)
        assert rounds == []
    loop.close()


def test_socket_is_tuned() -> None:
    with both(FakeStore()) as (_primary, backup):
        assert backup._link is not None
        sock = backup._link._sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_somebody_who_has_gone_before_being_accepted() -> None:
    store, listener = FakeStore(), new_listener()
    socket.create_connection(address_of(listener), DEADLINE_S).close()
    backup = BackupPeer(listener, store, DISK_SECTORS)
    serve_until(lambda: backup.error is not None, backup)
    assert store.verbs == ["lost"]
    backup.close()
