"""A stream with a rate goes slower than one without, in the clear and through a relay."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from remus_ha.checkpoint.outflow import Outflow
from remus_ha.loop import Loop
from remus_ha.stream.data import accept_data, connect_data
from remus_ha.stream.sealed import Stream
from remus_ha.stream.tcp import listen
from tests.functional.stream.peers import DEADLINE_S, LOOPBACK, Background
from tests.functional.stream.test_sealed import KEY, SESSION_ID, Both

OCTETS = 2 << 20
RATE_MBIT_S = 8  # two seconds for all of them
Ends = tuple[Stream, Stream]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def plain(stack: ExitStack) -> Ends:
    with listen(LOOPBACK) as listener:
        accepted = Background(lambda: accept_data(listener, SESSION_ID, KEY, DEADLINE_S))
        sock = connect_data(listener.getsockname(), SESSION_ID, KEY, DEADLINE_S)
        ends = Stream(sock, sock), Stream(accepted.result())
    for end in ends:
        stack.callback(end.close)
    return ends


def encrypted(stack: ExitStack) -> Ends:
    both = Both()
    stack.callback(both.close)
    return both.connect()


def carried_s(ends: Ends, rate_mbit_s: int) -> float:
    """How long all of the octets take, from the primary's pipe to the backup's socket."""
    sent, received = ends
    loop = Loop()
    outflow = Outflow(loop, sent, rate_mbit_s)
    began = time.monotonic()
    feeding = threading.Thread(target=feed, args=(outflow.write_end,))
    feeding.start()
    times: list[float] = []
    taking = Background(lambda: times.append(take(received)))
    outflow.go()
    loop.every(0.01, lambda: None)
    loop.until(lambda: bool(times), began + DEADLINE_S)
    taking.result()
    feeding.join()
    outflow.close()
    return times[0] - began


def feed(fd: int) -> None:
    octets = bytes(OCTETS)
    while octets:
        octets = octets[os.write(fd, octets) :]


def take(received: Stream) -> float:
    """When all had come."""
    received.sock.settimeout(DEADLINE_S)
    left = OCTETS
    while left:
        left -= len(received.sock.recv(min(left, 1 << 18)))
    return time.monotonic()


@pytest.mark.parametrize("connect", [plain, encrypted])
def test_what_has_a_rate_takes_its_time(
    stack: ExitStack, connect: Callable[[ExitStack], Ends]
) -> None:
    unbound_s = min(carried_s(connect(stack), 0) for _ in range(3))
    bound_s = min(carried_s(connect(stack), RATE_MBIT_S) for _ in range(2))
    assert bound_s > 3 * unbound_s
