"""Guards the primary's end: order, one commit at a time, and an end with a reason at once."""

import socket
import struct
import threading
import time

import pytest

from remus_ha.disk.tapdisk.errors import (
    BacklogFull,
    CommitOutstanding,
    CommitOverdue,
    PeerLost,
    PeerStalled,
    PeerUnreachable,
    UnexpectedDone,
    UnknownCode,
    WriteUnaligned,
)
from remus_ha.disk.tapdisk.peer import PrimaryPeer, connect
from remus_ha.disk.tapdisk.wire import Signal, Write, encode
from remus_ha.loop import Loop

from .peers import DEADLINE_S, Clock, address_of, new_listener, read_exactly, scripted_backup


def submit_until_refused(primary: PrimaryPeer) -> int:
    """How many full messages it took before it said that its queue is full."""
    for sent in range(1 << 16):
        try:
            primary.submit(0, bytes(4096))
        except BacklogFull:
            return sent
    pytest.fail("the queue has no bound")


def test_writes_leave_in_their_order_and_split() -> None:
    data = b"".join(bytes([n]) * 512 for n in range(10))
    with scripted_backup() as (primary, other):
        primary.submit(512 * 7, data)
        primary.submit(0, data[:512])
        primary.commit(DEADLINE_S)
        expected = b"".join(
            encode(m) for m in (Write(7, data[:4096]), Write(15, data[4096:]), Write(0, data[:512]))
        ) + encode(Signal.COMMIT)
        assert read_exactly(other, len(expected)) == expected


def test_a_commit_is_done_when_the_backup_says_so() -> None:
    with scripted_backup() as (primary, other):
        primary.commit(DEADLINE_S)
        primary.pump()
        assert primary.committing
        other.sendall(b"do")
        primary.serve(DEADLINE_S)
        assert (primary.committing, primary.acknowledged) == (True, 0)
        other.sendall(b"ne")
        primary.wait_done()
        assert (primary.committing, primary.acknowledged) == (False, 1)


def test_one_commit_at_a_time() -> None:
    with scripted_backup() as (primary, other):
        primary.commit(DEADLINE_S)
        with pytest.raises(CommitOutstanding):
            primary.commit(DEADLINE_S)
        primary.submit(0, bytes(512))  # the next epoch's writes need not wait
        other.sendall(b"done")
        primary.wait_done()
        primary.commit(DEADLINE_S)
        assert read_exactly(other, 4 + 16 + 512 + 4)[-4:] == b"creq"


def test_an_overdue_answer_ends_the_connection() -> None:
    """A late ``done`` would answer the next commit."""
    clock = Clock()
    with scripted_backup(clock) as (primary, other):
        primary.commit(0.5)
        clock.now += 0.49
        primary.pump()
        assert primary.error is None
        clock.now += 0.02
        with pytest.raises(CommitOverdue, match=r"within 0\.5 s") as caught:
            primary.wait_done()
        assert "Release no output" in caught.value.advice
        assert read_exactly(other, 4) == b"creq"
        assert other.recv(1) == b""
        with pytest.raises(CommitOverdue):
            primary.commit(DEADLINE_S)


def test_wait_ends_at_the_deadline_by_itself() -> None:
    with scripted_backup() as (primary, _other):
        begun = time.monotonic()
        primary.commit(0.05)
        with pytest.raises(CommitOverdue):
            primary.wait_done()
        assert 0.05 <= time.monotonic() - begun < DEADLINE_S / 2


def test_an_answer_that_came_in_time_counts_though_it_is_read_late() -> None:
    clock = Clock()
    with scripted_backup(clock) as (primary, other):
        primary.commit(0.5)
        other.sendall(b"done")
        clock.now += 0.4
        primary.serve(DEADLINE_S)
        clock.now += 9
        primary.wait_done()
        assert primary.acknowledged == 1


def test_loss_is_told_while_nothing_is_asked() -> None:
    with scripted_backup() as (primary, other):
        other.close()
        primary.serve(DEADLINE_S)
        assert isinstance(primary.error, PeerLost)
        for call in (lambda: primary.submit(0, bytes(512)), lambda: primary.commit(1.0)):
            with pytest.raises(PeerLost, match="it closed the connection"):
                call()


def test_loss_ends_a_wait_at_once() -> None:
    with scripted_backup() as (primary, other):
        primary.commit(60.0)
        read_exactly(other, 4)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        timer = threading.Timer(0.05, other.close)
        timer.start()
        begun = time.monotonic()
        with pytest.raises(PeerLost, match="reset"):
            primary.wait_done()
        assert time.monotonic() - begun < DEADLINE_S
        timer.join()


def test_done_and_then_the_end_is_done() -> None:
    with scripted_backup() as (primary, other):
        primary.commit(DEADLINE_S)
        read_exactly(other, 4)
        other.sendall(b"done")
        other.close()
        primary.wait_done()
        primary.serve(DEADLINE_S)
        with pytest.raises(PeerLost):
            primary.commit(DEADLINE_S)


@pytest.mark.parametrize("answers", [b"done", b"donedone"])
def test_an_answer_to_nothing_ends_the_connection(answers: bytes) -> None:
    with scripted_backup() as (primary, other):
        if len(answers) > 4:
            primary.commit(DEADLINE_S)
        other.sendall(answers)
        while primary.error is None:
            primary.serve(DEADLINE_S)
        assert isinstance(primary.error, UnexpectedDone)


@pytest.mark.parametrize("answer", [b"fail", b"creq", b"HTTP"])
def test_another_answer_is_none(answer: bytes) -> None:
    with scripted_backup() as (primary, other):
        primary.commit(DEADLINE_S)
        other.sendall(answer)
        with pytest.raises(UnknownCode):
            primary.wait_done()
        assert primary.acknowledged == 0


def test_a_backup_that_takes_nothing_fills_a_bounded_queue() -> None:
    with scripted_backup(queue_limit=1 << 20) as (primary, other):
        sent = 4112 * submit_until_refused(primary)
        assert (1 << 20) - 4112 < primary.queued <= 1 << 20
        with pytest.raises(PeerStalled, match="octets are untaken") as caught:
            primary.drain(0.05)
        got = 0
        while piece := other.recv(1 << 20):
            got += len(piece)
        assert f" {sent - got} octets" in str(caught.value)


def test_what_the_kernel_did_not_take_at_once_follows_by_itself() -> None:
    with scripted_backup() as (primary, other):
        data = b"".join(n.to_bytes(4, "big") * 128 for n in range(8192))
        primary._link._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        half = len(data) // 2
        for start in (0, half):
            primary.submit(start, data[start : start + half])
            assert primary.queued
        received = bytearray()
        reader = threading.Thread(
            target=lambda: received.extend(read_exactly(other, len(data) // 4096 * 4112)),
            daemon=True,
        )
        reader.start()
        primary.drain(DEADLINE_S)
        reader.join(DEADLINE_S)
        assert b"".join(received[n + 16 : n + 4112] for n in range(0, len(received), 4112)) == data


def test_in_the_loop() -> None:
    """Its one descriptor tells of room to send as well as of answers."""
    loop = Loop()
    with scripted_backup() as (primary, other):
        loop.watch(primary.fileno(), lambda _events: primary.pump())
        primary.submit(0, bytes(6 << 20))
        primary.commit(DEADLINE_S)

        def take(_events: int) -> None:
            other.recv(1 << 20)

        loop.watch(other.fileno(), take)
        assert loop.until(lambda: not primary.queued, time.monotonic() + DEADLINE_S)
        other.sendall(b"done")
        assert loop.until(lambda: not primary.committing, time.monotonic() + DEADLINE_S)
        assert primary.acknowledged == 1
    loop.close()


def test_a_refused_write_sends_nothing() -> None:
    with scripted_backup() as (primary, other):
        with pytest.raises(WriteUnaligned):
            primary.submit(0, bytes(5000))
        primary.commit(DEADLINE_S)
        assert read_exactly(other, 4) == b"creq"


def test_nobody_listens() -> None:
    with new_listener() as listener:
        address = address_of(listener)
    with pytest.raises(PeerUnreachable, match=f"127.0.0.1 port {address[1]}: Connection refused"):
        connect(address, DEADLINE_S)


def test_socket_is_tuned() -> None:
    with scripted_backup() as (primary, _other):
        sock = primary._link._sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
