"""The primary, against a backup that the test plays frame by frame."""

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from remus_ha.core import primary as primary_table
from remus_ha.core.register import Kind
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.base import Life
from remus_ha.netbuf.modes import Mode
from remus_ha.receive.request import Reply
from remus_ha.stream.control import ControlChannel, accept_control
from remus_ha.stream.credentials import create, encode_certificate, server_context
from remus_ha.stream.data import accept_data
from remus_ha.stream.errors import PeerClosed
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
from remus_ha.stream.tcp import listen
from tests.functional.checkpoint.pair import UUID, Pair
from tests.functional.checkpoint.wire import Wire

P = primary_table.State
KEY = bytes(32)


class Player:
    """The backup's side. ``on_epoch`` is called with every mark and sends what the test wants."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.session = bytes.fromhex(pair.session)
        self.frames: list[Frame] = []
        self.on_epoch: Callable[[int], None] = self.ack
        self.answers = True
        self.welcome: Frame | None = Welcome(
            self.session, Role.BACKUP, "", ("xen=4.17",), "b", "nonce-b", KEY
        )
        self.channel: ControlChannel
        self._outbox: queue.Queue[Frame | bytes] = queue.Queue()
        self._own = create()
        self._control, self._data = listen("127.0.0.1"), listen("127.0.0.1")
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        pair = self.pair
        ports = [listener.getsockname()[1] for listener in (self._control, self._data)]
        certificate = encode_certificate(self._own.certificate)
        pair.wires = [Wire(port) for port in ports]
        pair.start_primary(
            Reply("127.0.0.1", ports[0], ports[1], certificate, "b", "nonce-b", time.time())
        )

    def _run(self) -> None:
        context = server_context(self._own, self.pair._own.certificate)
        try:
            self.channel = accept_control(self._control, context, 10.0)
        except (RemusError, OSError):
            return  # nobody has come: the test knows why
        self._serve(lambda: any(isinstance(frame, Hello) for frame in self.frames))
        if self.welcome is None:
            return
        self.channel.send(self.welcome)
        try:
            data = accept_data(self._data, self.session, KEY, 5.0)
        except RemusError:
            return  # likewise
        threading.Thread(target=self._swallow, args=(data,), daemon=True).start()
        self._serve(lambda: self._ended)

    def _swallow(self, data: socket.socket) -> None:
        data.setblocking(True)
        try:
            while data.recv(1 << 18):
                pass
        except OSError:
            pass

    def _serve(self, done: Callable[[], bool]) -> None:
        while not done():
            try:
                self._post()
                frames = self.channel.pump()
            except PeerClosed:
                return
            for frame in frames:
                self.frames.append(frame)
                self._answer(frame)
            time.sleep(0.002)

    def _post(self) -> None:
        while not self._outbox.empty():
            message = self._outbox.get()
            if isinstance(message, bytes):
                self.channel._sock.send(message)
            else:
                self.channel.send(message)

    def say(self, message: Frame | bytes) -> None:
        """From the test: a frame, or octets that are none."""
        self._outbox.put(message)

    def _answer(self, frame: Frame) -> None:
        match frame:
            case Epoch(n=n):
                self.on_epoch(n)
            case Heartbeat(sent_ns=sent_ns) if self.answers:
                self.channel.send(HeartbeatReply(self.session, 0, Phase.RECEIVING, sent_ns))

    def ack(self, n: int) -> None:
        self.channel.send(Ack(self.session, n))

    def of(self, kind: type[Frame]) -> list[Frame]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def close(self) -> None:
        self._ended = True
        self._control.close()
        self._data.close()


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    yield made
    made.close()


@pytest.fixture
def player(pair: Pair) -> Iterator[Player]:
    made = Player(pair)
    yield made
    made.close()


def test_what_it_says_first(pair: Pair, player: Player) -> None:
    player.start()
    pair.wait_protected(epochs=2)
    hello = player.frames[0]
    assert isinstance(hello, Hello)
    assert (hello.uuid, hello.host, hello.nonce) == (UUID, "a", "nonce-a")
    assert "generation=1" in hello.features
    marks = [frame.n for frame in player.of(Epoch) if isinstance(frame, Epoch)]
    assert marks[:3] == [0, 1, 2]


def test_every_epoch_is_released_once_whatever_is_said_more(pair: Pair, player: Player) -> None:
    """Stale, early, repeated and another session's acknowledgements beside each due one."""

    def answer(n: int) -> None:
        for wrong in (n + 1, max(0, n - 1), n + 1000) if n else ():
            player.ack(wrong)
        player.channel.send(Ack(bytes(16), n))
        player.ack(n)
        player.ack(n)

    player.on_epoch = answer
    player.start()
    pair.wait_protected(epochs=10)
    released = pair.story.of("postsuspend", "commit")
    assert released[:20] == ["postsuspend", "commit"] * 10
    assert pair.status()["figures"]["stale_acks"] > 0


def test_an_acknowledgement_of_another_session_releases_nothing(pair: Pair, player: Player) -> None:
    player.on_epoch = lambda n: player.channel.send(Ack(bytes(16), n))
    player.start()
    assert pair.primary.join() is P.ALONE
    assert pair.buffer.commits == 0
    assert all(register.kind is not Kind.PAIR for _, register in pair.store.history)


def test_an_acknowledgement_before_there_is_an_epoch(pair: Pair, player: Player) -> None:
    """Rubbish from a peer ends the session at most, never the process."""

    def answer(n: int) -> None:
        player.ack(7)
        player.ack(n)

    player.on_epoch = answer
    player.start()
    pair.wait(lambda: not pair.primary.running or pair.status().get("acked", -1) >= 1)
    assert pair.primary.error is None
    assert pair.guest.life() is Life.RUNNING


def test_a_backup_that_acknowledges_nothing(pair: Pair, player: Player) -> None:
    """Output is held, and the primary asks after its time; the beats go on meanwhile."""
    pair.interval_ms = 50
    player.start()
    pair.wait_protected(epochs=2)
    player.on_epoch = lambda n: None
    before = time.monotonic()
    commits = pair.buffer.commits
    pair.wait(lambda: pair.status().get("state") != "protected")
    assert time.monotonic() - before > 0.9
    assert pair.buffer.commits <= commits + 1
    assert pair.primary.join() is P.ALONE


def test_a_backup_that_is_silent(pair: Pair, player: Player) -> None:
    player.start()
    pair.wait_protected(epochs=2)
    player.answers = False
    player.on_epoch = lambda n: None
    assert pair.primary.join() is P.ALONE
    reasons = [event["text"] for event in pair.primary_process.journal.after(0)]
    assert any("nothing heard" in text or "no acknowledgement" in text for text in reasons)


def test_a_backup_that_is_silent_while_no_epoch_is_due(pair: Pair, player: Player) -> None:
    """The guest is paused by its operator; nothing but the beats' answers tells."""
    player.start()
    pair.wait_protected(epochs=2)
    pair.pause()
    time.sleep(0.3)
    player.answers = False
    assert pair.primary.join() is P.ALONE
    reasons = [event["text"] for event in pair.primary_process.journal.after(0)]
    assert any("nothing heard" in text for text in reasons)


def test_an_operators_pause_is_no_silence(pair: Pair, player: Player) -> None:
    player.start()
    pair.wait_protected(epochs=2)
    pair.pause()
    time.sleep(2.5)
    assert pair.status()["state"] == "protected"
    acked = pair.status()["acked"]
    pair.guest.unpause()
    pair.wait(lambda: pair.status()["acked"] > acked + 2)


def test_a_backup_that_gives_up(pair: Pair, player: Player) -> None:
    player.start()
    pair.wait_protected(epochs=2)
    player.say(Error(player.session, "XEN-018", "the restore failed"))
    assert pair.primary.join() is P.ALONE
    assert any(
        "XEN-018 the restore failed" in e["text"] for e in pair.primary_process.journal.after(0)
    )
    assert pair.buffer.mode is Mode.ABSENT


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100])
def test_octets_that_are_no_frames(pair: Pair, player: Player, rubbish: bytes) -> None:
    player.start()
    pair.wait_protected(epochs=2)
    player.say(rubbish)
    assert pair.primary.join() is P.ALONE
    assert pair.guest.life() is Life.RUNNING


@pytest.mark.parametrize("first", ["nothing", "ack", "error"])
def test_a_backup_without_a_welcome(
    pair: Pair, player: Player, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from remus_ha.checkpoint import peer

    monkeypatch.setattr(peer, "CONNECT_S", 1.0)
    frames = {
        "nothing": None,
        "ack": Ack(player.session, 0),
        "error": Error(player.session, "X-001", "full"),
    }
    player.welcome = frames[first]
    player.start()
    assert pair.primary.join() is P.ALONE
    assert pair.story.of("request", "postsuspend") == []
    assert pair.guest.life() is Life.RUNNING


def test_a_backup_that_is_not_there(pair: Pair, player: Player) -> None:
    player.start()
    player.close()
    for wire in pair.wires:
        wire.close()
    assert pair.primary.join() is P.ALONE
    assert pair.guest.life() is Life.RUNNING
    assert [register.kind for _, register in pair.store.history] == [Kind.HOLDER, Kind.HOLDER]


def test_a_certificate_that_was_not_agreed_on(
    pair: Pair, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed, player._own = player._own, create()
    start = pair.start_primary
    shown = encode_certificate(agreed.certificate)
    monkeypatch.setattr(
        pair, "start_primary", lambda reply: start(replace(reply, certificate=shown))
    )
    player.start()
    assert pair.primary.join() is P.ALONE
    assert player.of(Hello) == []


def test_the_backup_is_told_why(pair: Pair, player: Player) -> None:
    player.start()
    pair.wait_protected(epochs=2)
    pair.unprotect()
    assert pair.primary.join() is P.STOPPED
    pair.wait(lambda: bool(player.of(Stop)))
    stop = player.of(Stop)[0]
    assert isinstance(stop, Stop)
    assert stop.reason is StopReason.UNPROTECT
