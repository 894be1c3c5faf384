"""The data stream inside TLS: relays as real processes, octets as they cross the wire."""

import contextlib
import hashlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.stream import sealed
from remus_ha.stream.credentials import create
from remus_ha.stream.data import connect_data
from remus_ha.stream.errors import PeerClosed, RelayGone, Unreachable
from remus_ha.stream.relay import is_kernels
from remus_ha.stream.sealed import Relay, Stream
from remus_ha.stream.tcp import listen
from remus_ha.waiting import readable
from tests.functional.checkpoint.wire import Wire
from tests.functional.stream.peers import DEADLINE_S, LOOPBACK, Background, Session

SESSION_ID, KEY = bytes(range(16)), b"k" * 32
CONTENT = os.urandom(3 << 20)


class Both:
    """Relays of both sides, and the wire between them."""

    def __init__(self) -> None:
        self.session = Session()
        self.listener = listen(LOOPBACK)
        self.wire = Wire(self.listener.getsockname()[1])
        s = self.session
        self.backup = Relay(s.backup, s.primary.certificate, self.listener)
        self.primary = Relay(s.primary, s.backup.certificate)

    @property
    def address(self) -> tuple[str, int]:
        return LOOPBACK, self.wire.port

    def connect(self, key: bytes = KEY) -> tuple[Stream, Stream]:
        accepted = Background(lambda: self.backup.accept(SESSION_ID, KEY, DEADLINE_S))
        sent = self.primary.connect(self.address, SESSION_ID, key, DEADLINE_S)
        return sent, accepted.result()

    def close(self) -> None:
        self.primary.close()
        self.backup.close()
        self.wire.close()
        self.listener.close()


@pytest.fixture
def both() -> Iterator[Both]:
    made = Both()
    yield made
    made.close()


def receive(stream: Stream, count: int) -> bytes:
    stream.sock.settimeout(DEADLINE_S)
    got = b""
    while len(got) < count and (piece := stream.sock.recv(count - len(got))):
        got += piece
    return got


def send(stream: Stream, content: bytes) -> None:
    stream.sock.settimeout(DEADLINE_S)
    stream.sock.sendall(content)


def is_over(stream: Stream) -> bool:
    """Whether what is sent comes to an end, before much has been."""
    try:
        for _ in range(1000):
            send(stream, CONTENT)
    except (BrokenPipeError, ConnectionError):
        return True
    return False


def test_every_octet_arrives_and_none_crosses_the_wire_in_the_clear(both: Both) -> None:
    both.wire.tap = bytearray()
    sent, received = both.connect()
    marked = b"the guest's memory" * 100 + CONTENT
    sending = Background(lambda: send(sent, marked))
    got = receive(received, len(marked))
    sending.result()
    assert hashlib.sha256(got).digest() == hashlib.sha256(marked).digest()
    assert len(both.wire.tap) > len(marked)
    assert b"the guest's memory" not in both.wire.tap
    assert KEY not in both.wire.tap
    assert sent.how.startswith("TLS")
    assert not received.sock.get_inheritable()


def test_it_does_not_block_and_is_seen_to_move(both: Both) -> None:
    sent, received = both.connect()
    assert not sent.sock.getblocking()
    assert not received.sock.getblocking()
    assert sent.wire is not None
    assert sent.wire.getpeername()[1] == both.wire.port


def test_a_relay_rests_while_the_wire_takes_nothing(both: Both) -> None:
    sent, _received = both.connect()
    if sent.how != "TLS":
        pytest.skip("the kernel encrypts: there is no relay on this side")
    both.wire.silent = True
    sent.sock.setblocking(False)
    until = time.monotonic() + 1.0  # it fills whatever there is to fill
    while time.monotonic() < until:
        with contextlib.suppress(BlockingIOError):
            sent.sock.send(CONTENT)
    used = cpu_s(both.primary._process.pid)
    time.sleep(1.0)
    assert cpu_s(both.primary._process.pid) - used < 0.1
    both.wire.silent = False


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_end_on_either_side_shows_on_the_other(both: Both) -> None:
    sent, received = both.connect()
    sent.close()
    received.sock.settimeout(DEADLINE_S)
    assert received.sock.recv(1) == b""


def test_a_wire_that_breaks_shows_on_both_sides(both: Both) -> None:
    sent, received = both.connect()
    both.wire.cut()
    assert receive(received, 1) == b""
    assert is_over(sent)


@pytest.mark.parametrize("side", ["primary", "backup"])
def test_a_relay_that_dies_shows_itself(both: Both, side: str) -> None:
    sent, received = both.connect()
    if sent.how != "TLS":
        pytest.skip("the kernel encrypts: there is no relay on this side")
    os.kill(getattr(both, side)._process.pid, signal.SIGKILL)
    if side == "backup":
        assert receive(received, 1) == b""
    assert is_over(sent)
    sent.close()
    assert receive(received, 1) == b""


def test_a_stranger_does_not_keep_the_primary_out(both: Both) -> None:
    accepted = Background(lambda: both.backup.accept(SESSION_ID, KEY, DEADLINE_S))
    address = both.listener.getsockname()
    plain = connect_data(address, SESSION_ID, KEY, DEADLINE_S)
    other = Relay(create(), both.session.backup.certificate)
    # Under TLS 1.3 it may learn only afterwards that it is refused.
    with contextlib.suppress(PeerClosed):
        assert is_over(other.connect(address, SESSION_ID, KEY, DEADLINE_S))
    sent = both.primary.connect(both.address, SESSION_ID, KEY, DEADLINE_S)
    received = accepted.result()
    send(sent, b"in")
    assert receive(received, 2) == b"in"
    plain.close()
    other.close()


def test_the_wrong_key_lets_nobody_in(both: Both) -> None:
    accepted = Background(lambda: both.backup.accept(SESSION_ID, KEY, 2.0))
    both.primary.connect(both.address, SESSION_ID, b"K" * 32, DEADLINE_S)
    with pytest.raises(sealed.WrongPeer):
        accepted.result()


def test_a_backup_that_is_another_is_found_out(both: Both) -> None:
    other = Relay(both.session.primary, create().certificate)
    Background(lambda: both.backup.accept(SESSION_ID, KEY, DEADLINE_S))
    with pytest.raises(sealed.WrongPeer):
        other.connect(both.address, SESSION_ID, KEY, DEADLINE_S)


def test_nobody_listens(both: Both) -> None:
    with socket.create_server((LOOPBACK, 0)) as gone:
        address = gone.getsockname()
    with pytest.raises(Unreachable):
        both.primary.connect(address, SESSION_ID, KEY, DEADLINE_S)


def test_a_relay_that_died_before_it_was_needed_is_a_typed_error(both: Both) -> None:
    both.primary._process.kill()
    both.primary._process.wait()
    with pytest.raises(RelayGone, match="STREAM-015"):
        both.primary.connect(both.address, SESSION_ID, KEY, DEADLINE_S)


def test_a_relay_that_hangs_is_not_waited_for(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "SLACK_S", 0.2)
    both.primary.wait_ready(lambda: None)
    os.kill(both.primary._process.pid, signal.SIGSTOP)
    with pytest.raises(RelayGone, match="does not answer"):
        both.primary.connect(both.address, SESSION_ID, KEY, 0.1)


def test_a_relay_that_does_not_start_is_not_waited_for_for_ever(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "START_S", 0.1)
    monkeypatch.setattr(sealed, "BEAT_S", 0.05)
    both.primary._is_ready = False
    both.primary.wait_ready(lambda: None) if readable(both.primary._control.fileno(), 5) else None
    beats: list[int] = []
    with pytest.raises(RelayGone, match="did not start"):
        both.primary.wait_ready(lambda: beats.append(1))
    assert beats


def test_nothing_outlives_whoever_has_started_it(both: Both, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        relay = Relay(both.session.primary, both.session.backup.certificate)
        (tmp_path / "pid").write_text(str(relay._process.pid))
        os._exit(0)
    os.waitpid(child, 0)
    process = Path("/proc", (tmp_path / "pid").read_text())
    until = time.monotonic() + DEADLINE_S
    while process.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_ordinary_connection_is_not_taken_for_the_kernels() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not is_kernels(near)
    with socket.create_server((LOOPBACK, 0)) as server:
        with socket.create_connection(server.getsockname()) as sock:
            assert not is_kernels(sock)
