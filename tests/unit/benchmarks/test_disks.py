"""The disks' parts: what a writer that has to keep a rate has waited, and what they load."""

import threading
import time

import pytest

from benchmarks.disks import LOADS, paced
from benchmarks.store import ticking
from remus_ha.checkpoint.arrange import JOURNAL_LIMIT

PIECE = bytes(10_000)


class Server:
    """Takes each write at once, but the first."""

    def __init__(self, first_s: float = 0.0) -> None:
        self._next_s = first_s

    def write(self, offset: int, data: bytes) -> float:
        time.sleep(self._next_s)
        self._next_s = 0.0
        return 0.0


def test_a_rate_that_is_kept_is_told() -> None:
    assert 0.5 < paced(Server(), PIECE, mb_s=1, seconds=0.5).mb_s < 1.1


def test_whoever_had_to_be_sent_behind_a_slow_write_has_waited_as_well() -> None:
    found = paced(Server(first_s=0.3), PIECE, mb_s=1, seconds=0.2)
    assert len(found.waits_s) == 20
    assert min(found.waits_s) > 0.3 - 0.2
    assert found.mb_s < 0.2 / 0.3


def test_a_load_is_larger_than_what_the_journal_takes() -> None:
    assert max(octets * count for octets, _, count, _ in LOADS.values()) >= 3 * JOURNAL_LIMIT


def test_an_epoch_that_cannot_be_ended_fails_the_part() -> None:
    """Else the rest would be measured without epochs."""
    tried = threading.Event()

    def end_epoch() -> None:
        tried.set()
        raise OSError("lost")

    with pytest.raises(OSError, match="lost"), ticking(end_epoch):
        assert tried.wait(10)
