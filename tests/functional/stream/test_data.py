"""Guards who may open the data connection."""

import socket

import pytest

from remus_ha.stream.data import OPENING_OCTETS, accept_data, connect_data, opening
from remus_ha.stream.errors import Unreachable, WrongPeer
from remus_ha.stream.tcp import listen

from .peers import DEADLINE_S, LOOPBACK, Background

SESSION_ID, KEY = bytes(range(16)), b"k" * 32


def test_stream_starts_right_after_the_opening() -> None:
    with listen(LOOPBACK) as listener:
        accepted = Background(lambda: accept_data(listener, SESSION_ID, KEY, DEADLINE_S))
        with connect_data(listener.getsockname(), SESSION_ID, KEY, DEADLINE_S) as primary:
            primary.sendall(b"Xen saved domain")
            with accepted.result() as backup:
                assert not backup.getblocking()
                backup.settimeout(DEADLINE_S)
                assert backup.recv(16, socket.MSG_WAITALL) == b"Xen saved domain"


@pytest.mark.parametrize(
    "shown",
    [
        opening(SESSION_ID, b"K" * 32),
        opening(bytes(16), KEY),
        opening(SESSION_ID, KEY)[:-1],
        b"Xen saved domain, xl format\n",
        b"",
    ],
)
def test_without_the_key_nobody_comes_in_but_the_peer_still_does(shown: bytes) -> None:
    with listen(LOOPBACK) as listener:
        accepted = Background(lambda: accept_data(listener, SESSION_ID, KEY, DEADLINE_S))
        with socket.create_connection(listener.getsockname(), timeout=DEADLINE_S) as other:
            other.sendall(shown)
            other.shutdown(socket.SHUT_WR)
            with connect_data(listener.getsockname(), SESSION_ID, KEY, DEADLINE_S) as primary:
                with accepted.result() as backup:
                    assert backup.getpeername() == primary.getsockname()
                assert other.recv(1) == b""


def test_wrong_key_alone_is_a_typed_error() -> None:
    with listen(LOOPBACK) as listener:
        accepted = Background(lambda: accept_data(listener, SESSION_ID, KEY, 0.5))
        with (
            connect_data(listener.getsockname(), SESSION_ID, b"K" * 32, DEADLINE_S),
            pytest.raises(WrongPeer, match="without the session's key"),
        ):
            accepted.result()


def test_nobody_comes() -> None:
    with listen(LOOPBACK) as listener, pytest.raises(Unreachable):
        accept_data(listener, SESSION_ID, KEY, 0.1)


def test_opening_is_what_the_protocol_says() -> None:
    assert opening(SESSION_ID, KEY) == b"RmHD" + SESSION_ID + KEY
    assert OPENING_OCTETS == 52
    with pytest.raises(ValueError, match="wrong length"):
        opening(SESSION_ID, b"short")
