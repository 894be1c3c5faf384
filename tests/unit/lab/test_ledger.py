"""The outside client against a guest on loopback that behaves, and that does not."""

import time
from contextlib import nullcontext

import pytest

from remus_ha.lab.errors import BadValue, LedgerUnreachable, TimedOut
from remus_ha.lab.ledger import LedgerClient
from tests.unit.lab.fake_guest import FakeGuest


def client(guest: FakeGuest, proto: str) -> LedgerClient:
    return LedgerClient(nullcontext, "127.0.0.1", proto, name="me", rate_per_s=200, port=guest.port)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_good_guest_passes(proto: str) -> None:
    began = time.monotonic()
    with FakeGuest(proto).running() as guest, client(guest, proto) as asking:
        for _ in range(6):
            asking.wait_answer(time.monotonic(), 10)
        report = asking.stop()
    assert report.intact
    assert report.finished
    assert report.answers == report.sent > 5
    assert len(report.latencies_ms) == report.answers
    assert 0 < report.silence_ms <= (time.monotonic() - began) * 1e3


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_guest_that_forgets_fails(proto: str) -> None:
    with FakeGuest(proto).running() as guest, client(guest, proto) as asking:
        asking.wait_answer(time.monotonic(), 10)
        guest.checkpoint()
        asking.wait_answer(time.monotonic() + 0.1, 10)
        guest.rollback()
        asking.wait_answer(time.monotonic() + 0.05, 10)
        report = asking.stop()
    assert report.lost_acknowledged > 0
    assert report.went_back > 0
    assert not report.intact


def test_silence_is_measured() -> None:
    with FakeGuest("udp").running() as guest, client(guest, "udp") as asking:
        asking.wait_answer(time.monotonic(), 10)
        guest.silent = True
        with pytest.raises(TimedOut):
            asking.wait_answer(time.monotonic() + 0.05, 0.4)
        guest.silent = False
        asking.wait_answer(time.monotonic(), 10)
        report = asking.stop()
    assert report.silence_ms >= 400
    assert report.answers < report.sent
    assert report.intact


def test_a_broken_connection_is_not_mended() -> None:
    with FakeGuest("tcp").running() as guest, client(guest, "tcp") as asking:
        asking.wait_answer(time.monotonic(), 10)
        guest.reset_connection()
        with pytest.raises(TimedOut, match="answer"):
            asking.wait_answer(time.monotonic() + 0.2, 1)
        report = asking.stop(settle_s=0.1)
    assert not report.connections_survived
    assert not report.intact


def test_a_guest_that_ends_silent_is_not_finished() -> None:
    with FakeGuest("udp").running() as guest, client(guest, "udp") as asking:
        asking.wait_answer(time.monotonic(), 10)
        guest.silent = True
        report = asking.stop(settle_s=0.2)
    assert not report.finished


def test_nobody_there() -> None:
    guest = FakeGuest("tcp")
    guest._socket.close()
    with pytest.raises(LedgerUnreachable, match="tcp port"):
        client(guest, "tcp").start()


def test_other_protocols_are_refused() -> None:
    with pytest.raises(BadValue, match="sctp"):
        LedgerClient(nullcontext, "127.0.0.1", "sctp", name="me")
