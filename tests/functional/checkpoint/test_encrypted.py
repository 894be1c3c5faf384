"""Sessions whose memory stream is encrypted: the same guarantees, nothing in the clear."""

import os
import signal
from collections.abc import Iterator

import pytest

from remus_ha.core import backup as backup_table
from remus_ha.core import primary as primary_table
from remus_ha.stream.modes import Tls
from tests.functional.checkpoint.pair import Pair
from tests.functional.checkpoint.test_session import emits, holder

P, B = primary_table.State, backup_table.State


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    made.tls = Tls.REQUIRED.value
    yield made
    made.close()


def test_epochs_arrive_whole_and_nothing_of_them_is_on_the_wire(pair: Pair) -> None:
    pair.start()
    pair.wires[1].tap = bytearray()
    pair.wait_protected(epochs=5)
    assert pair.status()["stream"].startswith("TLS")
    pair.unprotect()
    assert pair.primary.join() is P.STOPPED
    pair.backup.join()
    epochs = pair.backup_process._commits.committed + 1
    restored = pair.restore.path.read_bytes()
    assert restored == pair.expected_octets(epochs)
    assert len(pair.wires[1].tap) > 1000
    assert restored[-64:] not in pair.wires[1].tap


@pytest.mark.parametrize("accident", ["silence", "cut"])
def test_a_broken_link_leaves_exactly_one(pair: Pair, accident: str) -> None:
    pair.start()
    pair.wait_protected()
    getattr(pair, accident)()
    ended = (pair.primary.join(), pair.backup.join())
    assert ended in {(P.ALONE, B.DESTROYED), (P.DESTROYED, B.ALIVE)}
    winner = "a" if ended[0] is P.ALONE else "b"
    assert holder(pair) == winner
    assert emits(pair) == {winner}


@pytest.mark.parametrize("side", ["primary", "backup"])
def test_a_relay_that_dies_costs_the_session_and_nothing_else(pair: Pair, side: str) -> None:
    pair.start()
    pair.wait_protected()
    data = pair.primary_process._peer.data if side == "primary" else pair.backup_process._data
    assert data is not None
    assert data.relay is not None
    if data.how == "TLS by the kernel":
        pytest.skip("the kernel encrypts: there is no relay on this side")
    os.kill(data.relay._process.pid, signal.SIGKILL)
    ended = (pair.primary.join(), pair.backup.join())
    assert ended in {(P.ALONE, B.DESTROYED), (P.DESTROYED, B.ALIVE)}
    assert emits(pair) == {"a" if ended[0] is P.ALONE else "b"}


def test_no_relay_is_left(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    relays = [pair.primary_process._peer.data.relay, pair.backup_process._data.relay]
    pair.unprotect()
    pair.primary.join()
    pair.backup.join()
    assert all(relay._process.poll() is not None for relay in relays)
