"""Guards the control channel in an epoll loop: never blocks, loses nothing, ends with a reason."""

import socket
import ssl
import time

import pytest

from remus_ha.stream import tcp
from remus_ha.stream.control import SEND_LIMIT, ControlChannel
from remus_ha.stream.errors import PeerClosed, PortInUse, ProtocolError, SendQueueFull
from remus_ha.stream.frames import Ack, Epoch, Error, Stop, StopReason, encode
from remus_ha.waiting import readable

from .peers import DEADLINE_S, Session, receive

SESSION_ID = bytes(range(16))
LARGE = Error(SESSION_ID, "STREAM-001", "x" * 4096)


@pytest.fixture
def channels() -> tuple[ControlChannel, ControlChannel]:
    return Session().channels()


def raw_server(session: Session) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Both ends as plain TLS sockets of the right identity: a peer that misbehaves."""
    client = session.client().wrap(socket.create_connection(session.address, timeout=DEADLINE_S))
    accepted, _ = session.listener.accept()
    server = session.server().wrap(accepted)
    client.setblocking(False)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            server.setblocking(False)
            try:
                server.do_handshake()
            except ssl.SSLWantReadError:
                readable(client, 0.05) or readable(server, 0.05)
    server.settimeout(DEADLINE_S)
    server.do_handshake()
    return client, server


def send_until_refused(channel: ControlChannel) -> int:
    """Frames that the channel took before it said that its queue is full."""
    begun, sent = time.monotonic(), 0
    while time.monotonic() - begun < DEADLINE_S:
        try:
            channel.send(LARGE)
        except SendQueueFull:
            return sent
        sent += 1
    pytest.fail("the queue has no bound")


def test_pump_of_a_silent_channel_returns_at_once(
    channels: tuple[ControlChannel, ControlChannel],
) -> None:
    begun = time.monotonic()
    for channel in channels:
        assert channel.pump() == []
        assert not channel.ready
        assert not channel.wants_write
    assert time.monotonic() - begun < 1


def test_many_frames_arrive_in_order(channels: tuple[ControlChannel, ControlChannel]) -> None:
    primary, backup = channels
    sent = [Epoch(SESSION_ID, n, n << 20, (("xvda", n),)) for n in range(1000)]
    for frame in sent:
        primary.send(frame)
    assert receive(backup, len(sent)) == sent


def test_frames_in_one_record_come_out_of_one_pump(
    channels: tuple[ControlChannel, ControlChannel],
) -> None:
    """Octets that TLS has decrypted already make no descriptor readable."""
    primary, backup = channels
    primary._queue += b"".join(encode(Ack(SESSION_ID, n)) for n in range(300))
    primary.pump()
    assert len(receive(backup, 300)) == 300
    assert not backup.ready


def test_peer_that_reads_nothing_fills_a_bounded_queue(
    channels: tuple[ControlChannel, ControlChannel],
) -> None:
    primary, backup = channels
    sent = send_until_refused(primary)
    assert primary.wants_write
    assert SEND_LIMIT - len(encode(LARGE)) < primary.queued <= SEND_LIMIT
    got = 0
    while got < sent:
        got += len(receive(backup, 1))
        primary.pump()
    assert got == sent
    assert not primary.wants_write
    primary.send(Ack(SESSION_ID, 5))
    assert receive(backup, 1) == [Ack(SESSION_ID, 5)]


def test_one_pump_is_bounded(channels: tuple[ControlChannel, ControlChannel]) -> None:
    """A flood does not keep the loop; what is left is seen again."""
    primary, backup = channels
    sent = 0
    while not primary.wants_write:
        primary.send(LARGE)
        sent += 1
    got = len(backup.pump())
    assert got * len(encode(LARGE)) <= 256 << 10
    while got < sent:
        primary.pump()
        got += len(receive(backup, 1))
    assert got == sent


def test_last_words_come_before_the_end(channels: tuple[ControlChannel, ControlChannel]) -> None:
    primary, backup = channels
    primary.send(Stop(SESSION_ID, StopReason.UNPROTECT))
    primary.close()
    assert receive(backup, 1) == [Stop(SESSION_ID, StopReason.UNPROTECT)]
    for _ in range(2):
        with pytest.raises(PeerClosed, match="it closed the connection"):
            receive(backup, 1)


def test_sending_to_a_dead_peer_raises_in_pump_only(
    channels: tuple[ControlChannel, ControlChannel],
) -> None:
    primary, backup = channels
    backup._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    socket.socket.close(backup._sock)  # reset, as from a host that came back without us
    readable(primary, DEADLINE_S)
    for n in range(5):
        primary.send(Ack(SESSION_ID, n))
    assert primary.ready
    assert not primary.wants_write
    with pytest.raises(PeerClosed):
        primary.pump()
    primary.send(LARGE)
    assert primary.queued == 0
    primary.close()
    primary.close()


def test_rubbish_inside_tls_is_a_protocol_error_after_the_good_frames() -> None:
    client, server = raw_server(Session())
    channel = ControlChannel(client)
    server.sendall(encode(Ack(SESSION_ID, 1)) + b"GET / HTTP/1.0\r\n\r\n" + bytes(99))
    assert receive(channel, 1) == [Ack(SESSION_ID, 1)]
    assert channel.ready
    with pytest.raises(ProtocolError, match="starts with b'GET '"):
        channel.pump()


def test_frame_in_small_pieces() -> None:
    client, server = raw_server(Session())
    channel = ControlChannel(client)
    for octet in encode(Ack(SESSION_ID, 9)):
        assert channel.pump() == []
        server.sendall(bytes([octet]))
        readable(channel, DEADLINE_S)
    assert receive(channel, 1) == [Ack(SESSION_ID, 9)]


def test_octets_that_are_no_tls_records_end_the_channel() -> None:
    client, server = raw_server(Session())
    channel = ControlChannel(client)
    plain = socket.socket(fileno=server.detach())
    plain.sendall(b"not a record at all")
    with pytest.raises(Exception, match=r"STREAM-006|STREAM-005"):
        receive(channel, 1)
    plain.close()


def test_sockets_are_tuned(channels: tuple[ControlChannel, ControlChannel]) -> None:
    for channel in channels:
        sock = channel._sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == tcp.USER_TIMEOUT_MS
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_port_in_use() -> None:
    with tcp.listen("127.0.0.1") as taken, pytest.raises(PortInUse, match="in use") as caught:
        tcp.listen("127.0.0.1", taken.getsockname()[1])
    assert "ss -ltnp" in caught.value.advice


def test_ipv6() -> None:
    session = Session(listener=tcp.listen("::1"))
    primary, backup = session.channels()
    primary.send(Ack(SESSION_ID, 1))
    assert receive(backup, 1) == [Ack(SESSION_ID, 1)]
