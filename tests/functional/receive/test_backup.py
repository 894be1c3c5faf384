"""The backup alone, against a primary that the test plays frame by frame."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from remus_ha.core import backup as backup_table
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.exceptions import RemusError
from remus_ha.receive import replica
from remus_ha.receive.request import Reply
from remus_ha.stream.control import ControlChannel, connect_control
from remus_ha.stream.credentials import client_context, create, decode_certificate
from remus_ha.stream.data import connect_data
from remus_ha.stream.errors import PeerClosed, WrongPeer
from remus_ha.stream.frames import (
    Ack,
    Epoch,
    Error,
    Frame,
    Heartbeat,
    HeartbeatReply,
    Hello,
    Phase,
    Role,
    Stop,
    StopReason,
    Welcome,
)
from remus_ha.stream.xenstream import CHECKPOINT_END, EPOCH_END, LIBXC_CHECKPOINT
from tests.functional.checkpoint.pair import NAME, UUID, Pair
from tests.functional.hypervisor.fake_helper import numbered
from tests.functional.stream.peers import receive as frames_of

B = backup_table.State
SESSION = bytes(range(16))
A, OTHER = Identity("a", "nonce-a"), Identity("b", "nonce-b")
HELLO = Hello(
    session=SESSION,
    role=Role.PRIMARY,
    version="",
    features=("xen=4.17", "generation=1"),
    name=NAME,
    uuid=UUID,
    host="a",
    nonce="nonce-a",
)


class Player:
    """The primary's side of one session with a real backup."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        pair.session = SESSION.hex()
        self.reply: Reply = pair.start_backup()
        self.channel: ControlChannel
        self.data: socket.socket
        self.sent = 0

    def shake_hands(self) -> None:
        context = client_context(self.pair._own, decode_certificate(self.reply.certificate))
        self.channel = connect_control(("127.0.0.1", self.reply.control_port), context, 10.0)

    def begin(self, hello: Hello = HELLO) -> None:
        self.shake_hands()
        self.channel.send(hello)
        (welcome,) = frames_of(self.channel, 1)
        assert isinstance(welcome, Welcome)
        assert (welcome.host, welcome.nonce) == ("b", "nonce-b")
        address = ("127.0.0.1", self.reply.data_port)
        self.data = connect_data(address, SESSION, welcome.data_key, 10.0)
        self.data.setblocking(True)

    def write(self, octets: bytes) -> None:
        self.data.sendall(octets)
        self.sent += len(octets)

    def mark(self, n: int, offset: int | None = None) -> None:
        self.channel.send(Epoch(SESSION, n, self.sent if offset is None else offset))

    def acked(self) -> int:
        """The epoch of the next frame, which has to be an acknowledgement of this session."""
        (frame,) = frames_of(self.channel, 1)
        assert isinstance(frame, Ack)
        assert frame.session == SESSION
        return frame.n

    def is_silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for that long."""
        until = time.monotonic() + seconds
        got: list[Frame] = []
        while time.monotonic() < until and not got:
            got = self.channel.pump()
            time.sleep(0.01)
        return not got

    def epochs(self, count: int) -> None:
        for n in range(count):
            self.write(numbered(n, 1000))
            self.mark(n)
            assert self.acked() == n

    def beat(self) -> None:
        self.channel.send(Heartbeat(SESSION, 0, Phase.RUNNING, time.monotonic_ns()))

    def state(self) -> str:
        return str(self.pair.status("backup").get("detail"))

    def wait_state(self, state: backup_table.State) -> None:
        self.pair.wait(lambda: self.state() == state.value)

    def has_said(self, words: str) -> bool:
        """Whether the backup's journal has them."""
        return any(words in event["text"] for event in self.pair.backup_process.journal.after(0))

    def close(self) -> None:
        for end in ("channel", "data"):
            if hasattr(self, end):
                getattr(self, end).close()


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    made.detect_ms = 5000
    made.store.register, made.store.opened = Register(1, Kind.HOLDER, A), 1
    yield made
    made.close()


@pytest.fixture
def player(pair: Pair) -> Iterator[Player]:
    made = Player(pair)
    yield made
    made.close()


def pair_up(pair: Pair) -> None:
    """The primary has swapped."""
    pair.store.register = Register(2, Kind.PAIR, A, OTHER)


# --- epochs


def test_an_epoch_is_acknowledged_when_all_of_it_is_with_the_restoring_process(
    player: Player,
) -> None:
    player.begin()
    epoch = b"x" * 1992 + LIBXC_CHECKPOINT
    player.write(epoch[:1000])
    player.mark(0, offset=2000)
    assert player.is_silent(), "the mark is there, half of the octets is not"
    player.write(epoch[1000:-1])
    assert player.is_silent()
    player.write(epoch[-1:])
    assert player.acked() == 0
    player.pair.wait(lambda: player.pair.restore.path.read_bytes().endswith(epoch + CHECKPOINT_END))


def test_octets_that_come_before_their_mark_are_not_acknowledged(player: Player) -> None:
    player.begin()
    player.write(numbered(0, 5000))
    assert player.is_silent()
    player.mark(0)
    assert player.acked() == 0


def test_nothing_passes_an_epochs_end_before_it_is_committed(player: Player) -> None:
    """What belongs to the next epoch comes after our record, whenever it arrived."""
    player.begin()
    player.mark(0, offset=1000)
    player.write(numbered(0, 1000) + b"next" * 100)
    assert player.acked() == 0
    tail = numbered(0, 1000) + CHECKPOINT_END + b"next" * 98  # two wait for what follows
    player.pair.wait(lambda: player.pair.restore.path.read_bytes().endswith(tail))


@pytest.mark.parametrize("ends", [False, True], ids=["lives", "ends"])
def test_the_end_of_an_epoch_that_is_not_real_is_withheld(
    pair: Pair, player: Player, ends: bool
) -> None:
    """The restoring process would wait between libxc's record and libxl's; an end is fatal there.

    All of the epoch has come, only its mark has not.
    """
    player.begin()
    player.epochs(1)
    before = numbered(0, 1000) + CHECKPOINT_END
    player.write(numbered(1, 1000))
    got = before + numbered(1, 1000)[: -len(LIBXC_CHECKPOINT)]
    player.pair.wait(lambda: player.pair.restore.path.read_bytes().endswith(got))
    if not ends:
        player.mark(1)
        assert player.acked() == 1
        pair.wait(lambda: pair.restore.path.read_bytes().endswith(got + EPOCH_END))
        return
    pair_up(pair)
    player.close()
    assert pair.backup.join() is B.ALIVE
    assert pair.restore.path.read_bytes().endswith(got)


def test_an_epoch_without_its_last_record_ends_the_session(player: Player) -> None:
    player.begin()
    player.write(b"x" * 1000)
    player.mark(0)
    assert player.pair.backup.join() is B.STOPPED
    assert player.has_said("without its CHECKPOINT record")


def test_a_restoring_process_that_does_not_read_delays_the_acknowledgement(player: Player) -> None:
    player.begin()
    os.killpg(player.pair.restore.process.pid, signal.SIGSTOP)
    size = 48 << 20  # a slot of a pipe takes more than a page from a socket
    player.mark(0, offset=size)
    sender = threading.Thread(target=player.write, args=(numbered(0, size),))
    sender.start()
    assert player.is_silent()
    os.killpg(player.pair.restore.process.pid, signal.SIGCONT)
    assert player.acked() == 0
    sender.join()


@pytest.mark.parametrize("n", [1, 2, 1 << 40])
def test_an_epoch_out_of_order_ends_the_session(player: Player, n: int) -> None:
    player.begin()
    player.write(numbered(0, 1000))
    player.mark(n)
    assert player.pair.backup.join() is B.STOPPED
    assert player.has_said(f"epoch {n} after -1")
    assert player.pair.restore.process.wait(5) != 0


def test_a_mark_for_an_epoch_that_is_committed_ends_the_session(player: Player) -> None:
    player.pair.store.away.add("b")
    player.begin()
    player.epochs(2)
    player.write(numbered(1, 1000))
    player.mark(1)
    player.wait_state(B.IN_DOUBT)
    assert player.has_said("epoch 1 after 1")


def test_a_second_mark_of_an_epoch_ends_the_session(player: Player) -> None:
    player.begin()
    player.write(numbered(0, 1000)[:-1])
    player.mark(0, offset=1000)
    player.mark(0, offset=2000)
    assert player.pair.backup.join() is B.STOPPED
    assert player.has_said("epoch 0 twice")


def test_a_mark_behind_what_has_gone_through_ends_the_session(player: Player) -> None:
    player.begin()
    player.write(b"x" * 100_000)
    player.pair.wait(lambda: player.pair.restore.path.stat().st_size > 100_000)
    player.mark(0, offset=10)
    assert player.pair.backup.join() is B.STOPPED


def test_frames_of_another_session_are_never_believed(player: Player) -> None:
    player.begin()
    player.epochs(1)
    stranger = bytes(16)
    player.write(b"x" * 10)
    for frame in (
        Epoch(stranger, 1, player.sent),
        Stop(stranger, StopReason.UNPROTECT),
        Heartbeat(stranger, 1, Phase.RUNNING, 1),
        Error(stranger, "X-000", "give up"),
    ):
        player.channel.send(frame)
    assert player.is_silent()
    assert player.state() == B.STANDBY.value


# --- memory


def test_memory_is_claimed_at_once_and_given_back_by_the_new_guest(
    pair: Pair, player: Player
) -> None:
    player.begin()
    pair.wait(lambda: pair.restore.claims == [65536])
    player.epochs(1)
    pair_up(pair)
    player.close()
    assert pair.backup.join() is B.ALIVE
    assert pair.restore.claims == [65536, 0]


def test_without_memory_the_session_ends_before_the_first_copy(pair: Pair, player: Player) -> None:
    pair.restore.has_memory = False
    player.begin()
    (frame,) = frames_of(player.channel, 1)
    assert isinstance(frame, Error)
    assert pair.backup.join() is B.BROKEN
    assert pair.restore.destroyed
    texts = [event["text"] for event in pair.backup_process.journal.after(0)]
    assert any("XEN-013" in text for text in texts)


# --- doubt


def test_beats_alone_keep_it_content(pair: Pair, player: Player) -> None:
    """A guest that its operator has paused makes no epochs."""
    player.begin()
    player.epochs(1)
    pair.backup_process._detect_s = 0.5
    for _ in range(12):
        player.beat()
        (answer,) = frames_of(player.channel, 1)
        assert isinstance(answer, HeartbeatReply)
        time.sleep(0.1)
    assert player.state() == B.STANDBY.value


def test_silence_is_doubt_after_its_time_and_not_before(pair: Pair) -> None:
    pair.detect_ms = 1000
    pair.store.away.add("b")
    player = Player(pair)
    player.begin()
    before = time.monotonic()  # its last word comes after this
    player.epochs(1)
    player.wait_state(B.IN_DOUBT)
    assert 1.0 < time.monotonic() - before < 4.0
    player.close()


def test_in_doubt_nothing_is_acknowledged_or_committed(pair: Pair, player: Player) -> None:
    pair.store.away.add("b")
    player.begin()
    player.epochs(2)
    pair.wait(lambda: pair.restore.path.read_bytes().count(CHECKPOINT_END) == 2)
    size = pair.restore.path.stat().st_size
    player.channel.send(Stop(SESSION, StopReason.ABORTED))
    player.wait_state(B.IN_DOUBT)
    player.write(numbered(2, 1000))
    player.mark(2)
    player.beat()
    assert player.is_silent()
    assert pair.status("backup")["committed"] == 1
    assert pair.restore.path.stat().st_size == size
    assert pair.restore.process.poll() is None


def test_a_message_destroys_nothing(pair: Pair, player: Player) -> None:
    """The primary says stop, the register does not (W6)."""
    player.begin()
    player.epochs(1)
    player.channel.send(Stop(SESSION, StopReason.SHUTDOWN))
    player.wait_state(B.IN_DOUBT)
    time.sleep(1.2)
    assert player.state() == B.IN_DOUBT.value
    assert pair.restore.process.poll() is None
    pair.store.register = Register(2, Kind.NONE, None)
    assert pair.backup.join() is B.DESTROYED


def test_before_it_is_a_pair_it_wins_nothing(pair: Pair, player: Player) -> None:
    player.begin()
    player.epochs(1)
    player.close()
    player.wait_state(B.IN_DOUBT)
    time.sleep(1.2)
    assert pair.store.history == []
    assert pair.restore.process.poll() is None
    pair_up(pair)  # the primary's swap was on its way
    assert pair.backup.join() is B.ALIVE
    assert pair.store.history[-1] == ("b", Register(3, Kind.HOLDER, OTHER))
    assert pair.store.opened == 3


def test_it_promotes_restore_first_then_swap_then_opens(pair: Pair, player: Player) -> None:
    player.begin()
    player.epochs(3)
    pair_up(pair)
    restored: list[bool] = []
    swap = pair.store.lock

    class Looking:
        """Looks at the copy whenever the store is used."""

        def __enter__(self) -> None:
            swap.acquire()
            restored.append(pair.restore.domain_of(UUID) == (42, NAME))

        def __exit__(self, *_: object) -> None:
            swap.release()

    pair.store.lock = Looking()  # type: ignore[assignment]
    player.close()
    assert pair.backup.join() is B.ALIVE
    assert restored[0] is False, "read before anything is restored"
    assert restored[1] is True, "swapped when the copy can live"
    texts = [event["text"] for event in pair.backup_process.journal.after(0)]
    assert "output is open" in texts[-2]
    assert pair.restore.path.read_bytes().endswith(numbered(2, 1000) + CHECKPOINT_END)
    assert b"L" in pair.backup.said(), "the keeper was told to let go"


def test_a_slow_restore_is_said_again_and_again(
    pair: Pair, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "_SLOW_S", 0.1)  # the one here takes half a second
    player.begin()
    player.epochs(1)
    pair_up(pair)
    player.close()
    assert pair.backup.join() is B.ALIVE
    texts = [event["text"] for event in pair.backup_process.journal.after(0)]
    warnings = [text for text in texts if "XEN-023" in text]
    assert len(warnings) > 1
    assert f"process {pair.restore.process.pid} has restored the copy for" in warnings[0]
    assert f"restore-{UUID}.log" in warnings[0]


def test_an_open_epoch_is_dropped(pair: Pair, player: Player) -> None:
    """Xen's restoring side ignores what follows the last record; nothing makes it an epoch."""
    player.begin()
    player.epochs(2)
    player.write(b"half of an epoch")
    pair_up(pair)
    player.close()
    assert pair.backup.join() is B.ALIVE
    assert pair.restore.path.read_bytes().count(CHECKPOINT_END) == 2
    assert pair.status("backup") == {}


def test_a_restore_that_dies_is_told_and_never_wins(pair: Pair, player: Player) -> None:
    player.begin()
    player.epochs(1)
    pair_up(pair)
    pair.restore.end()
    frames = frames_of(player.channel, 1)
    assert isinstance(frames[0], Error)
    assert pair.backup.join() is B.BROKEN
    # At most it was given back, where the end of the pipe was noticed before the process's.
    assert all(register.holder == A for _, register in pair.store.history)


# --- setting up


@pytest.mark.parametrize(
    "change",
    [
        {"session": bytes(16)},
        {"uuid": UUID.replace("6a", "7b")},
        {"features": ("xen=4.17",)},
        {"features": ("generation=x",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_hello_that_is_not_this_sessions_is_refused(
    pair: Pair, player: Player, change: dict[str, object]
) -> None:
    player.shake_hands()
    player.channel.send(replace(HELLO, **change))  # type: ignore[arg-type]
    with pytest.raises(RemusError):
        pair.backup.join()
    assert pair.store.history == []


def test_another_frame_where_the_hello_was_due(pair: Pair, player: Player) -> None:
    player.shake_hands()
    player.channel.send(Epoch(SESSION, 0, 0))
    with pytest.raises(RemusError):
        pair.backup.join()


def test_strangers_at_the_control_port_do_not_keep_the_primary_out(player: Player) -> None:
    address = ("127.0.0.1", player.reply.control_port)
    with socket.create_connection(address) as rude, socket.create_connection(address):
        rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
        context = client_context(create(), decode_certificate(player.reply.certificate))
        stranger = connect_control(address, context, 10.0)  # learns of it when it reads
        with pytest.raises((PeerClosed, WrongPeer)):
            frames_of(stranger, 1)
        player.begin()
    player.epochs(1)


def test_a_data_connection_without_the_key_is_turned_away(player: Player) -> None:
    player.shake_hands()
    player.channel.send(HELLO)
    (welcome,) = frames_of(player.channel, 1)
    assert isinstance(welcome, Welcome)
    address = ("127.0.0.1", player.reply.data_port)
    with connect_data(address, SESSION, bytes(32), 10.0) as stranger:
        stranger.setblocking(True)
        stranger.settimeout(10.0)
        assert stranger.recv(1) == b""
    player.data = connect_data(address, SESSION, welcome.data_key, 10.0)
    player.data.setblocking(True)
    player.epochs(1)


def test_a_status_before_the_session_has_begun(pair: Pair, player: Player) -> None:
    """Asked while the hello is awaited; the receiver answers and goes on."""
    player.shake_hands()
    answers: list[dict[str, object]] = []
    wait_for(lambda: bool(answers.append(pair.status("backup")) or answers[-1]))
    assert answers[-1]["state"] == "syncing"
    player.channel.send(HELLO)
    (welcome,) = frames_of(player.channel, 1)
    assert isinstance(welcome, Welcome)
    address = ("127.0.0.1", player.reply.data_port)
    player.data = connect_data(address, SESSION, welcome.data_key, 10.0)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
