"""Guards the path of the page octets: real pipes, loopback sockets, nothing lost or reordered."""

import fcntl
import hashlib
import os
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from remus_ha.stream.errors import PeerClosed, ReaderGone, StreamOverrun
from remus_ha.stream.mover import (
    PIPE_LIMIT,
    PIPE_MAX,
    TAIL,
    Inflow,
    Mover,
    Wait,
    grow_pipe,
    readable,
)
from remus_ha.stream.tcp import tune

from .peers import DEADLINE_S, Background

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(5 * MIB + 12_345)


@dataclass
class Path:
    """Primary's pipe, both sockets, backup's pipe. ``close`` may be called at any time."""

    pipe_in: int
    pipe_out: int
    near: socket.socket
    far: socket.socket
    mover: Mover
    inflow: Inflow
    source: int  # the write end that the save helper has
    sink: int  # the read end that the restore has

    def close(self, *names: str) -> None:
        for name in names or ("source", "pipe_in", "near", "far", "pipe_out", "sink"):
            end = getattr(self, name)
            if isinstance(end, socket.socket):
                end.close()
            elif end >= 0:
                os.close(end)
                setattr(self, name, -1)


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname(), timeout=DEADLINE_S)
        far, _ = listener.accept()
    for sock in (near, far):
        tune(sock)
        sock.setblocking(False)
    return near, far


@pytest.fixture
def path() -> Iterator[Path]:
    pipe_in, source = os.pipe()
    sink, pipe_out = os.pipe()
    os.set_blocking(pipe_out, False)
    near, far = connected()
    made = Path(
        pipe_in, pipe_out, near, far, Mover(pipe_in, near), Inflow(far, pipe_out), source, sink
    )
    yield made
    made.close()


def write_all(path: Path, content: bytes, piece: int = 65_537) -> None:
    """What the save helper does: blocking writes of awkward sizes, then it closes."""
    view = memoryview(content)
    while view:
        view = view[os.write(path.source, view[:piece]) :]
    path.close("source")


def read_all(path: Path, piece: int = MIB) -> bytes:
    """What the restore does: blocking reads up to the end."""
    out = bytearray()
    while got := os.read(path.sink, piece):
        out += got
    return bytes(out)


def wait(*fds: tuple[int, int]) -> None:
    poll = select.poll()
    for fd, events in fds:
        poll.register(fd, events)
    assert poll.poll(DEADLINE_S * 1000), "nothing happened by the deadline"


def drive_mover(path: Path) -> None:
    """The primary's loop, up to the end of the stream."""
    while (why := path.mover.pump(MIB)) is not Wait.END:
        if why is Wait.SOURCE:
            wait((path.pipe_in, select.POLLIN))
        elif why is Wait.SINK:
            wait((path.near.fileno(), select.POLLOUT))
    path.close("near")


def drive_inflow(path: Path) -> Wait:
    """The backup's loop, up to the limit or the end."""
    while (why := path.inflow.pump(MIB)) not in (Wait.END, Wait.LIMIT):
        if why is Wait.SOURCE:
            wait((path.far.fileno(), select.POLLIN))
        elif why is Wait.SINK:
            wait((path.pipe_out, select.POLLOUT))
    return why


def everything(path: Path, content: bytes, read_piece: int = MIB) -> bytes:
    """Run the whole path; what came out at the restore's end: all but the tail."""
    writing = Background(lambda: write_all(path, content))
    moving = Background(lambda: drive_mover(path))
    reading = Background(lambda: read_all(path, read_piece))
    assert drive_inflow(path) is Wait.END
    path.close("pipe_out")
    writing.result()
    moving.result()
    return reading.result()


class TestContent:
    """Guards every octet."""

    def test_whole_stream(self, path: Path) -> None:
        grow_pipe(path.pipe_in, MIB)
        got = everything(path, CONTENT)
        assert hashlib.sha256(got).digest() == hashlib.sha256(CONTENT[:-TAIL]).digest()
        assert path.mover.moved == path.inflow.moved == len(CONTENT)

    def test_slow_reader(self, path: Path) -> None:
        """Small buffers everywhere and a restore that takes crumbs: everything blocks in turn."""
        path.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        path.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        fcntl.fcntl(path.pipe_out, fcntl.F_SETPIPE_SZ, 4096)
        content = CONTENT[:60_000]
        assert everything(path, content, read_piece=501) == content[:-TAIL]

    def test_octets_do_not_enter_the_interpreter(self, path: Path) -> None:
        os.set_blocking(path.source, False)
        os.write(path.source, CONTENT[:65536])
        tracemalloc.start()
        try:
            while path.mover.moved < 65536:
                path.mover.pump(MIB)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4096

    def test_an_epochs_last_octets_are_not_held_back(self, path: Path) -> None:
        """Corked or Nagled tails would cost 40 to 200 ms an epoch."""
        took_s = []
        for n in range(1, 22):
            begun = time.monotonic()
            os.write(path.source, CONTENT[:50_001])
            while path.mover.moved < n * 50_001:
                path.mover.pump(MIB)
            left = 50_001
            while left:
                wait((path.far.fileno(), select.POLLIN))
                left -= len(path.far.recv(left))
            took_s.append(time.monotonic() - begun)
        assert statistics.median(took_s) < 0.03


class TestOffsets:
    """Guards that both sides count alike, and that the backup stops exactly where told."""

    def test_own_record_goes_exactly_between_two_epochs(self, path: Path) -> None:
        grow_pipe(path.pipe_out, 8 * MIB)
        first, record = 2 * MIB + 4321, b"another's record"
        path.inflow.limit = first
        writing = Background(lambda: write_all(path, CONTENT))
        moving = Background(lambda: drive_mover(path))
        assert drive_inflow(path) is Wait.LIMIT
        assert path.inflow.moved == readable(path.sink) + TAIL == first
        assert path.inflow.tail == CONTENT[first - TAIL : first]
        assert path.inflow.pump(MIB) is Wait.LIMIT
        os.write(path.pipe_out, record)
        path.inflow.limit = None
        assert drive_inflow(path) is Wait.END
        path.close("pipe_out")
        writing.result()
        moving.result()
        assert read_all(path) == CONTENT[: first - TAIL] + record + CONTENT[first:-TAIL]

    @pytest.mark.parametrize("limit", [9, 10, 4095, 4096, 65536, 65537, 70_000])
    def test_stops_at(self, path: Path, limit: int) -> None:
        grow_pipe(path.pipe_out, MIB)
        path.near.sendall(CONTENT[:70_000])
        path.inflow.limit = limit
        assert drive_inflow(path) is Wait.LIMIT
        assert path.inflow.moved == readable(path.sink) + TAIL == limit
        assert path.inflow.tail == CONTENT[limit - TAIL : limit]

    def test_many_epochs(self, path: Path) -> None:
        grow_pipe(path.pipe_in, MIB)
        grow_pipe(path.pipe_out, MIB)
        sizes, total, got = [9, 100_000, 16, 4096, 333_333], 0, b""
        for size in sizes:
            os.write(path.source, CONTENT[total : total + size])
            total += size
            assert path.mover.offset() == total
            path.inflow.limit = path.mover.offset()
            while path.inflow.pump(MIB) is not Wait.LIMIT:
                path.mover.pump(MIB)
            assert path.mover.backlog() == 0
            got += os.read(path.sink, size) + path.inflow.tail
        assert got == CONTENT[:total]

    def test_offset_counts_what_is_still_in_the_pipe(self, path: Path) -> None:
        grow_pipe(path.pipe_in, 16 * MIB)
        os.set_blocking(path.source, False)
        written = os.write(path.source, CONTENT)
        while path.mover.pump(MIB) is not Wait.SINK:
            pass
        assert 0 < path.mover.moved < written
        assert path.mover.backlog() > 0
        assert path.mover.offset() == written

    def test_limit_behind_us_is_an_overrun(self, path: Path) -> None:
        path.near.sendall(bytes(1000))
        wait((path.far.fileno(), select.POLLIN))
        path.inflow.pump(1000)
        with pytest.raises(StreamOverrun, match="stands at octet 1000, past the epoch's end at 9"):
            path.inflow.limit = 999
        path.inflow.limit = 1000
        assert path.inflow.pump(MIB) is Wait.LIMIT


class TestWaits:
    """Guards that a call never blocks and says what to wait for."""

    def test_budget(self, path: Path) -> None:
        os.write(path.source, bytes(5000))
        assert path.mover.pump(3000) is Wait.BUDGET
        assert path.mover.moved == 3000
        wait((path.far.fileno(), select.POLLIN))
        assert path.inflow.pump(100) is Wait.BUDGET
        assert path.inflow.moved == 100

    def test_budget_that_ends_at_the_limit(self, path: Path) -> None:
        path.near.sendall(bytes(100))
        wait((path.far.fileno(), select.POLLIN))
        path.inflow.limit = 100
        assert path.inflow.pump(100) is Wait.LIMIT

    def test_nothing_to_move(self, path: Path) -> None:
        assert path.mover.pump(MIB) is Wait.SOURCE
        assert path.inflow.pump(MIB) is Wait.SOURCE

    def test_full_socket(self, path: Path) -> None:
        grow_pipe(path.pipe_in, 16 * MIB)
        os.set_blocking(path.source, False)
        os.write(path.source, CONTENT)
        while (why := path.mover.pump(MIB)) is Wait.BUDGET:
            pass
        assert why is Wait.SINK

    def test_full_pipe(self, path: Path) -> None:
        sent = path.near.send(bytes(MIB))
        assert sent > 65536
        while (why := path.inflow.pump(MIB)) is Wait.SOURCE:
            wait((path.far.fileno(), select.POLLIN))
        assert why is Wait.SINK
        assert 0 < path.inflow.moved == readable(path.sink) < sent

    def test_end(self, path: Path) -> None:
        os.write(path.source, b"last and the tail")
        path.close("source")
        assert path.mover.pump(MIB) is Wait.END
        assert path.mover.moved == 17
        path.close("near")
        assert drive_inflow(path) is Wait.END
        assert os.read(path.sink, 17) == b"last and "

    @pytest.mark.parametrize("octets", [1, 7, 8])
    def test_what_is_held_back_wakes_nobody(self, path: Path, octets: int) -> None:
        """And what follows it does."""
        path.near.sendall(CONTENT[:octets])
        wait((path.far.fileno(), select.POLLIN))
        assert path.inflow.pump(MIB) is Wait.SOURCE
        assert (readable(path.far.fileno()), readable(path.sink)) == (0, 0)
        path.near.sendall(CONTENT[octets : octets + 3])
        wait((path.far.fileno(), select.POLLIN))
        assert path.inflow.pump(MIB) is Wait.SOURCE
        assert readable(path.sink) == max(0, octets + 3 - TAIL)
        path.inflow.limit = octets + 3
        assert path.inflow.pump(MIB) is Wait.LIMIT
        assert path.inflow.tail == CONTENT[: octets + 3][-TAIL:]

    def test_what_is_held_back_waits_for_a_full_pipe_too(self, path: Path) -> None:
        """Until then the limit is not reached, although all octets have come."""
        path.near.sendall(CONTENT[:8])
        wait((path.far.fileno(), select.POLLIN))
        assert path.inflow.pump(MIB) is Wait.SOURCE
        filled = os.write(path.pipe_out, bytes(65536))
        path.near.sendall(CONTENT[8:12])
        wait((path.far.fileno(), select.POLLIN))
        path.inflow.limit = 12
        for _ in range(2):
            assert path.inflow.pump(MIB) is Wait.SINK
            assert path.inflow.tail is None
        os.read(path.sink, filled)
        assert path.inflow.pump(MIB) is Wait.LIMIT
        assert os.read(path.sink, 100) == CONTENT[:4]
        assert path.inflow.tail == CONTENT[4:12]


class TestDeath:
    """Guards that the other side's end becomes a typed error, never a signal or a hang."""

    def test_backup_resets(self, path: Path) -> None:
        path.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        path.close("far")
        os.write(path.source, bytes(4096))
        with pytest.raises(PeerClosed, match="reset by peer"):
            path.mover.pump(MIB)

    def test_backup_closes(self, path: Path) -> None:
        path.close("far")
        os.write(path.source, bytes(4096))
        assert path.mover.pump(100) is Wait.BUDGET  # answered by a reset
        wait((path.near.fileno(), select.POLLERR | select.POLLHUP))
        with pytest.raises(PeerClosed, match=r"Broken pipe|reset"):
            path.mover.pump(100)

    def test_primary_resets(self, path: Path) -> None:
        path.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        path.close("near")
        with pytest.raises(PeerClosed, match="reset by peer"):
            drive_inflow(path)

    def test_restore_ends(self, path: Path) -> None:
        path.near.sendall(bytes(4096))
        wait((path.far.fileno(), select.POLLIN))
        path.close("sink")
        with pytest.raises(ReaderGone):
            path.inflow.pump(MIB)

    def test_silent_peer_is_given_up_by_the_kernel_too(self, path: Path) -> None:
        """TCP_USER_TIMEOUT as the last resort: a peer that never takes anything."""
        tune(path.near, user_timeout_ms=300)
        path.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        grow_pipe(path.pipe_in, 16 * MIB)
        os.set_blocking(path.source, False)
        os.write(path.source, CONTENT)
        while path.mover.pump(MIB) is not Wait.SINK:
            pass
        wait((path.near.fileno(), select.POLLERR | select.POLLHUP))
        with pytest.raises(PeerClosed, match="timed out"):
            path.mover.pump(MIB)


@pytest.fixture
def pipe() -> Iterator[int]:
    """A pipe's write end; the system-wide ceiling is put back afterwards."""
    ceiling = PIPE_MAX.read_text()
    r, w = os.pipe()
    yield w
    os.close(r)
    os.close(w)
    if os.geteuid() == 0:
        PIPE_MAX.write_text(ceiling)


GROW_AS_NOBODY = """
import os
from remus_ha.stream.mover import grow_pipe
os.setgroups([]); os.setgid(65534); os.setuid(65534)
r, w = os.pipe()  # counted on a user that has no other pipes
print(grow_pipe(w, 64 << 20))
"""


class TestGrowPipe:
    """Guards that a pipe gets as large as it may, and never smaller than it was."""

    def test_ordinary_size(self, pipe: int) -> None:
        assert grow_pipe(pipe, 1_000_000) == MIB
        assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == MIB

    @pytest.mark.parametrize("wanted", [0, 1, -5, 65536])
    def test_never_shrinks(self, pipe: int, wanted: int) -> None:
        assert grow_pipe(pipe, wanted) == 65536

    @pytest.mark.skipif(os.geteuid() != 0, reason="the ceiling is raised by root")
    def test_past_the_ceiling(self, pipe: int) -> None:
        assert grow_pipe(pipe, 64 * MIB) == 64 * MIB
        os.set_blocking(pipe, False)
        assert os.write(pipe, bytes(64 * MIB)) == 64 * MIB

    @pytest.mark.parametrize("wanted", [PIPE_LIMIT * 2, 1 << 32, 1 << 40])
    def test_absurd_size_is_as_near_as_it_gets(self, pipe: int, wanted: int) -> None:
        granted = grow_pipe(pipe, wanted)
        assert 65536 < granted <= PIPE_LIMIT
        assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == granted

    @pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
    def test_without_permission_it_gets_what_is_allowed(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", GROW_AS_NOBODY], capture_output=True, text=True, check=True
        )
        assert 65536 < int(done.stdout) <= int(PIPE_MAX.read_text())
