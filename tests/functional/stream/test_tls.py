"""Guards who may be the other end of the control channel. Real sockets, real handshakes."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from remus_ha.stream import credentials
from remus_ha.stream.control import accept_control, connect_control
from remus_ha.stream.errors import HandshakeFailed, PeerClosed, Unreachable, WrongPeer
from remus_ha.stream.frames import Ack
from remus_ha.stream.tcp import listen

from .peers import DEADLINE_S, Background, Session, receive

SESSION_ID = bytes(16)
SHORT_S = 2.0


@pytest.fixture
def session() -> Session:
    return Session()


def test_the_right_peers_talk(session: Session) -> None:
    primary, backup = session.channels()
    primary.send(Ack(SESSION_ID, 1))
    assert receive(backup, 1) == [Ack(SESSION_ID, 1)]
    backup.send(Ack(SESSION_ID, 2))
    assert receive(primary, 1) == [Ack(SESSION_ID, 2)]


def test_tls_1_3_is_what_they_speak(session: Session) -> None:
    accepted = Background(lambda: accept_control(session.listener, session.server(), DEADLINE_S))
    sock = session.client().wrap(socket.create_connection(session.address, timeout=DEADLINE_S))
    sock.do_handshake()
    assert sock.version() == "TLSv1.3"
    accepted.result().close()


def test_server_with_another_certificate_is_refused(session: Session) -> None:
    imposter = Session(primary=session.primary)
    accepted = Background(lambda: accept_control(imposter.listener, imposter.server(), SHORT_S))
    with pytest.raises(WrongPeer, match="not the one agreed on"):
        connect_control(imposter.address, session.client(), DEADLINE_S)
    with pytest.raises(WrongPeer, match="refuses this host's certificate"):
        accepted.result()


def test_client_with_another_certificate_is_refused(session: Session) -> None:
    imposter = credentials.client_context(credentials.create(), session.backup.certificate)
    accepted = Background(lambda: accept_control(session.listener, session.server(), SHORT_S))
    channel = connect_control(session.address, imposter, DEADLINE_S)
    with pytest.raises((WrongPeer, PeerClosed)):
        receive(channel, 1)
    with pytest.raises(WrongPeer, match="not the one agreed on"):
        accepted.result()


def test_client_without_a_certificate_is_refused(session: Session) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    accepted = Background(lambda: accept_control(session.listener, session.server(), SHORT_S))
    sock = socket.create_connection(session.address, timeout=DEADLINE_S)
    with pytest.raises(OSError, match=r"."), context.wrap_socket(sock) as secured:
        assert secured.recv(1) == b"never"
    with pytest.raises(HandshakeFailed, match="CERTIFICATE"):
        accepted.result()


def test_fingerprint_decides_even_where_the_trust_store_would_not(session: Session) -> None:
    other = credentials.create().certificate
    trusting = replace(session.client(), peer_certificate=other)
    accepted = Background(lambda: accept_control(session.listener, session.server(), DEADLINE_S))
    with pytest.raises(WrongPeer, match="another fingerprint"):
        connect_control(session.address, trusting, DEADLINE_S)
    with pytest.raises(PeerClosed):
        receive(accepted.result(), 1)


def test_certificate_without_its_key_is_refused(session: Session) -> None:
    """The peer's certificate is no secret; holding it is not being the peer."""
    thief = credentials.create()
    key = thief.pem[: thief.pem.index(b"-----BEGIN CERTIFICATE")]
    shown = ssl.DER_cert_to_PEM_cert(session.primary.certificate).encode()
    stolen = credentials.Credentials(session.primary.certificate, key + shown)
    with pytest.raises(ssl.SSLError, match=r"(?i)mismatch"):
        credentials.client_context(stolen, session.backup.certificate)


@pytest.mark.parametrize("server_is_old", [True, False])
def test_tls_1_2_is_refused(session: Session, server_is_old: bool) -> None:
    old = session.server() if server_is_old else session.client()
    old.context.minimum_version = ssl.TLSVersion.TLSv1_2
    old.context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = old if server_is_old else session.server()
    client = session.client() if server_is_old else old
    accepted = Background(lambda: accept_control(session.listener, server, SHORT_S))
    with pytest.raises(HandshakeFailed, match=r"(?i)version"):
        connect_control(session.address, client, DEADLINE_S)
    with pytest.raises(HandshakeFailed, match=r"(?i)version|unsupported|protocol"):
        accepted.result()


@pytest.mark.parametrize(
    "hello", [b"GET / HTTP/1.0\r\n\r\n", b"RmHA" + bytes(60), b"", b"\x16\x03"]
)
def test_plain_client_is_turned_away_and_the_peer_still_comes_in(
    session: Session, hello: bytes
) -> None:
    accepted = Background(lambda: accept_control(session.listener, session.server(), DEADLINE_S))
    with socket.create_connection(session.address, timeout=DEADLINE_S) as plain:
        plain.sendall(hello)
        plain.shutdown(socket.SHUT_WR)
        primary = connect_control(session.address, session.client(), DEADLINE_S)
        backup = accepted.result()
        backup.send(Ack(SESSION_ID, 1))
        assert receive(primary, 1) == [Ack(SESSION_ID, 1)]


def test_plain_client_alone_ends_in_a_typed_error(session: Session) -> None:
    with socket.create_connection(session.address, timeout=DEADLINE_S) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(HandshakeFailed, match=r"(?i)http"):
            accept_control(session.listener, session.server(), SHORT_S)


def test_silent_client_does_not_keep_the_peer_out(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remus_ha.stream.control.CLIENT_DEADLINE_S", 0.3)
    accepted = Background(lambda: accept_control(session.listener, session.server(), DEADLINE_S))
    with socket.create_connection(session.address, timeout=DEADLINE_S):
        primary = connect_control(session.address, session.client(), DEADLINE_S)
        accepted.result().close()
        primary.close()


def test_server_that_does_not_speak_tls(session: Session) -> None:
    def answer_rubbish() -> None:
        sock, _ = session.listener.accept()
        with sock:
            sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            sock.recv(4096)

    answered = Background(answer_rubbish)
    with pytest.raises(HandshakeFailed):
        connect_control(session.address, session.client(), DEADLINE_S)
    answered.result()


def test_silent_server_costs_no_more_than_the_deadline(session: Session) -> None:
    begun = time.monotonic()
    with pytest.raises(HandshakeFailed, match="did not finish in time"):
        connect_control(session.address, session.client(), 0.4)
    assert time.monotonic() - begun < 5


def test_nobody_listens_and_nobody_comes(session: Session) -> None:
    with listen("127.0.0.1") as unused:
        address = unused.getsockname()
    with pytest.raises(Unreachable, match="refused"):
        connect_control(address, session.client(), DEADLINE_S)
    with pytest.raises(Unreachable, match="did not connect in time"):
        accept_control(session.listener, session.server(), 0.1)


SKEWED_BACKUP = """
import sys, time
from remus_ha.stream import credentials
from remus_ha.stream.control import accept_control
from remus_ha.stream.frames import Ack
from remus_ha.stream.tcp import listen
own, listener = credentials.create(), listen("127.0.0.1")
print(time.gmtime().tm_year, flush=True)
print(listener.getsockname()[1], credentials.encode_certificate(own.certificate), flush=True)
peer = credentials.decode_certificate(sys.stdin.readline().strip())
channel = accept_control(listener, credentials.server_context(own, peer), 10)
channel.send(Ack(bytes(16), 7))
sys.stdin.readline()
channel.close()
"""


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("year", [1971, 2099])
def test_clocks_do_not_matter(year: int) -> None:
    own = credentials.create()
    backup = subprocess.Popen(
        ["faketime", f"{year}-06-01 12:00:00", sys.executable, "-c", SKEWED_BACKUP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
    )
    assert backup.stdin is not None
    assert backup.stdout is not None
    try:
        assert backup.stdout.readline() == f"{year}\n"
        port, certificate = backup.stdout.readline().split()
        backup.stdin.write(credentials.encode_certificate(own.certificate) + "\n")
        backup.stdin.flush()
        context = credentials.client_context(own, credentials.decode_certificate(certificate))
        channel = connect_control(("127.0.0.1", int(port)), context, DEADLINE_S)
        assert receive(channel, 1) == [Ack(bytes(16), 7)]
        backup.stdin.write("\n")
        backup.stdin.close()
        assert backup.wait(DEADLINE_S) == 0
    finally:
        backup.kill()
        backup.wait()
        backup.stdout.close()
