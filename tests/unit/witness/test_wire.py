"""The wire against servers that answer anything, on loopback."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from remus_ha.witness.deadline import Deadline
from remus_ha.witness.url import Endpoint
from remus_ha.witness.wire import MAX_ANSWER, Canceller, Lost, NotSent, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(serve: Serve) -> Iterator[Endpoint]:
    """Calls ``serve`` with each connection, after a request's end was read."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                while connection.recv(65536):
                    serve(connection)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield Endpoint("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextlib.contextmanager
def connected(serve: Serve) -> Iterator[Wire]:
    with serving(serve) as endpoint:
        wire = Wire(endpoint, Canceller(threading.Event()))
        wire.connect(None, Deadline(2))
        try:
            yield wire
        finally:
            wire.close()


def sender(*parts: bytes, pause_s: float = 0.0, end: bool = False) -> Serve:
    def serve(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        if end:
            connection.shutdown(socket.SHUT_RDWR)

    return serve


def test_one_connection_serves_many_exchanges() -> None:
    with connected(sender(OK)) as wire:
        for _ in range(3):
            answer = wire.post("/x", b"{}", Deadline(2))
            assert (answer.status, answer.body) == (200, b"hi")
            assert wire.is_reusable()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ],
)
def test_other_ways_to_say_the_same(answer: bytes) -> None:
    with connected(sender(answer)) as wire:
        assert wire.post("/x", b"{}", Deadline(2)).body == b"hi"
        assert wire.is_reusable()


def test_an_error_status_is_an_answer() -> None:
    with connected(sender(OK.replace(b"200 OK", b"503 No"))) as wire:
        assert wire.post("/x", b"{}", Deadline(2)).status == 503


@pytest.mark.parametrize(
    "parts",
    [
        [OK[i : i + 1] for i in range(len(OK))],
        [b"HTTP/1.1 200 OK\r\n"] + [b"X: y\r\n"] * 40,
        [b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"] + [b"x"] * 40,
    ],
    ids=["all of it", "endless headers", "the body"],
)
def test_a_dripping_answer_is_bounded_as_a_whole(parts: list[bytes]) -> None:
    with connected(sender(*parts, pause_s=0.05)) as wire:
        start = time.monotonic()
        with pytest.raises(Lost):
            wire.post("/x", b"{}", Deadline(0.4))
        assert 0.35 < time.monotonic() - start < 0.9


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x01\x02",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhi",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"x" * 100000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_ANSWER + 2),
    ],
)
def test_a_broken_answer_is_lost(answer: bytes) -> None:
    with connected(sender(answer, end=True)) as wire:
        with pytest.raises(Lost):
            wire.post("/x", b"{}", Deadline(2))
        assert not wire.is_reusable()


def test_a_connection_that_the_server_ended_is_not_used_again() -> None:
    with connected(sender(OK, end=True)) as wire:
        wire.post("/x", b"{}", Deadline(2))
        time.sleep(0.05)
        assert not wire.is_reusable()


def test_a_refused_connection_was_not_sent() -> None:
    with serving(sender()) as endpoint:
        pass
    with pytest.raises(NotSent, match="refused"):
        Wire(endpoint, Canceller(threading.Event())).connect(None, Deadline(2))


def test_no_time_left_means_not_sent() -> None:
    with connected(sender(OK)) as wire, pytest.raises(NotSent):
        wire.post("/x", b"{}", Deadline(0))


def test_another_thread_breaks_it_off() -> None:
    interrupted = threading.Event()
    canceller = Canceller(interrupted)
    with serving(sender(pause_s=5)) as endpoint:
        wire = Wire(endpoint, canceller)
        wire.connect(None, Deadline(2))
        timer = threading.Timer(0.2, canceller.fire)
        timer.start()
        start = time.monotonic()
        with pytest.raises(Lost):
            wire.post("/x", b"{}", Deadline(5))
        assert time.monotonic() - start < 1.0
        with pytest.raises(NotSent, match="interrupted"):
            wire.post("/x", b"{}", Deadline(5))
        wire.close()


def test_lines_come_one_by_one_until_the_deadline() -> None:
    chunks = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\none\n\r\n"]
    with connected(sender(*chunks, pause_s=0.01)) as wire:
        lines = wire.lines("/x", b"{}", Deadline(0.3))
        assert next(lines) == b"one\n"
        with pytest.raises(Lost):
            next(lines)
