"""The primary's connections to the backup: control over TLS, data beside it, and their health.

Health is progress (design §4, W10): an epoch whose octets have gone out has to be acknowledged
within the detection time, and the backup has to be heard of within it. Heartbeats come out of
the epoch loop, so a loop that stands still is silent.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from remus_ha.checkpoint.epochs import Trouble
from remus_ha.checkpoint.verification import Look
from remus_ha.exceptions import RemusError
from remus_ha.loop import READ, WRITE, Loop
from remus_ha.stream.control import ControlChannel, connect_control
from remus_ha.stream.credentials import Credentials, client_context, decode_certificate
from remus_ha.stream.data import connect_data
from remus_ha.stream.errors import PeerClosed, ProtocolError
from remus_ha.stream.frames import (
    Ack,
    CloseDisks,
    DiskHashed,
    DisksClosed,
    Epoch,
    Error,
    Frame,
    HashDisk,
    Heartbeat,
    HeartbeatReply,
    Hello,
    Phase,
    Promote,
    Stop,
    StopReason,
    Welcome,
)
from remus_ha.stream.sealed import Relay, Stream

CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Where:
    """How to reach the backup's receiver; ``certificate`` is base64 of DER."""

    address: str
    control_port: int
    data_port: int
    certificate: str


class Peer:
    """One session's connections. ``on_ack(n)`` and ``on_trouble(Trouble)`` are called back."""

    def __init__(
        self,
        *,
        loop: Loop,
        session: bytes,
        detect_s: float,
        on_ack: Callable[[int], None],
        on_trouble: Callable[[Trouble], None],
        on_disks_closed: Callable[[int], None] = lambda n: None,
        on_disk_hashed: Callable[[DiskHashed], None] = lambda answer: None,
    ) -> None:
        self._loop, self._session, self._detect_s = loop, session, detect_s
        self._on_ack, self._on_trouble = on_ack, on_trouble
        self._on_disks_closed, self._on_disk_hashed = on_disks_closed, on_disk_hashed
        self._channel: ControlChannel | None = None
        self.data: Stream | None = None
        self.features: tuple[str, ...] = ()  # of the backup
        self.heard_at = 0.0
        self.round_trip_s = 0.0

    def connect(
        self, where: Where, own: Credentials, hello: Hello, relay: Relay | None = None
    ) -> None:
        """Open both connections, the data's through ``relay``. Raises RemusError."""
        context = client_context(own, decode_certificate(where.certificate))
        channel = connect_control((where.address, where.control_port), context, CONNECT_S)
        self._channel = channel
        channel.send(hello)
        welcome = self._await_welcome(channel)
        self.features = welcome.features
        opening = (where.address, where.data_port), self._session, welcome.data_key, CONNECT_S
        if relay is not None:
            self.data = relay.connect(*opening)
        else:
            sock = connect_data(*opening)
            self.data = Stream(sock, sock)
        self.heard_at = time.monotonic()
        self._watch()

    def _await_welcome(self, channel: ControlChannel) -> Welcome:
        frames: list[Frame] = []
        self._loop.watch(channel.fileno(), lambda _events: frames.extend(channel.pump()))
        try:
            self._loop.until(lambda: bool(frames), time.monotonic() + CONNECT_S)
        finally:
            self._loop.forget(channel.fileno())
        if not frames:
            raise PeerClosed(detail=f"no welcome within {CONNECT_S} s")
        match frames[0]:
            case Welcome() as welcome:
                return welcome
            case Error(error_code=code, text=text):
                raise PeerClosed(detail=f"it refuses: {code} {text}")
        raise ProtocolError(detail=f"a {type(frames[0]).__name__} where a Welcome was due")

    def _watch(self) -> None:
        channel = self._channel
        if channel is not None:
            events = READ | WRITE if channel.wants_write else READ
            self._loop.watch(channel.fileno(), self._on_control, events)

    def _on_control(self, _events: int) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            while True:
                for frame in channel.pump():
                    self._take(frame)
                if self._channel is None or not channel.ready:
                    break
        except RemusError as e:
            self._loop.forget(channel.fileno())
            self._on_trouble(Trouble(f"the control connection: {e}"))
            return
        self._watch()

    def _take(self, frame: Frame) -> None:
        self.heard_at = time.monotonic()
        if frame.session != self._session:
            return  # nothing of another session is ever believed
        match frame:
            case Ack(n=n):
                self._on_ack(n)
            case DisksClosed(n=n):
                self._on_disks_closed(n)
            case DiskHashed() as answer:
                self._on_disk_hashed(answer)
            case HeartbeatReply(sent_ns=sent_ns):
                self.round_trip_s = (time.monotonic_ns() - sent_ns) / 1e9
            case Error(error_code=code, text=text):
                self._on_trouble(Trouble(f"the backup gives up: {code} {text}"))

    def send(self, frame: Frame) -> None:
        """Queue a frame; a connection that has ended shows itself in the loop."""
        if self._channel is not None:
            self._channel.send(frame)
            if self._channel.wants_write:
                self._watch()

    def mark(self, n: int, offset: int) -> None:
        self.send(Epoch(self._session, n, offset))

    def close_disks(self, n: int) -> None:
        self.send(CloseDisks(self._session, n))

    def hash_disk(self, n: int, look: Look) -> None:
        """Right behind ``close_disks(n)``; a backup with the feature ``disk-verify`` answers."""
        place = look.vdev, look.offset, look.length, look.grain
        self.send(HashDisk(self._session, n, *place))

    def beat(self, n: int, phase: Phase) -> None:
        self.send(Heartbeat(self._session, max(0, n), phase, time.monotonic_ns()))

    def tell_stop(self, reason: StopReason) -> None:
        self.send(Stop(self._session, reason))

    def tell_promote(self, n: int) -> None:
        """A backup with the feature ``fail-over`` promotes its copy, epoch ``n`` being the last."""
        self.send(Promote(self._session, n))

    def excuse(self, late_s: float) -> None:
        """This loop stood still for so long (``remus_ha.attention``)."""
        self.heard_at = min(time.monotonic(), self.heard_at + late_s)

    def silent_s(self) -> float:
        """How long nothing has been heard of the backup."""
        return time.monotonic() - self.heard_at

    def close(self) -> None:
        """End both connections. Idempotent."""
        data, self.data = self.data, None
        if data is not None:
            self._loop.forget(data.sock.fileno())
            data.close()
        channel, self._channel = self._channel, None
        if channel is not None:
            self._loop.forget(channel.fileno())
            channel.close()
