"""The asker in front of a real store, as the epoch loop uses it."""

import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.witness import admin
from remus_ha.witness.asker import Answer, Asker, SwapRequest
from remus_ha.witness.base import Reading, Swap
from remus_ha.witness.errors import WitnessRewound, WitnessUnavailable
from remus_ha.witness.etcd import EtcdWitness
from tests.functional.witness.conftest import Opener
from tests.functional.witness.guest import UUID, sole
from tests.functional.witness.store import Etcd


@pytest.fixture
def asker(etcd: Etcd) -> Iterator[Asker]:
    driver = EtcdWitness(etcd.url)
    driver.connect(2)
    asker = Asker(driver, timeout_s=5)
    yield asker
    asker.close()


def wait(asker: Asker, timeout_s: float = 10.0) -> Answer:
    epoll = select.epoll()
    epoll.register(asker.fileno(), select.EPOLLIN)
    assert epoll.poll(timeout_s), "no answer"
    epoll.close()
    answer = asker.take()
    assert answer is not None
    return answer


def test_swap_record_and_read(asker: Asker) -> None:
    asker.ask_swap(UUID, None, sole(1))
    assert asker.busy
    answer = wait(asker)
    assert answer.request == SwapRequest(UUID, None, sole(1))
    assert (answer.result, answer.error) == (Swap.WON, None)
    asker.ask_opened(UUID, 1)
    assert (wait(asker).result, wait_for_nothing(asker)) == (None, True)
    asker.ask_read(UUID)
    reading = wait(asker).result
    assert isinstance(reading, Reading)
    assert (reading.register, reading.opened) == (sole(1), 1)
    assert not asker.busy
    assert asker.memory is not None
    assert asker.memory.incarnation == reading.incarnation


def test_a_store_that_was_given_a_new_life_is_trusted_again_when_told(
    asker: Asker, etcd: Etcd
) -> None:
    now = admin.new_incarnation(etcd.url).after
    asker.ask_read(UUID)
    assert isinstance(wait(asker).error, WitnessRewound)
    asker.ask_swap(UUID, None, sole(1))
    asker.begin_anew()
    assert not asker.busy
    asker.ask_read(UUID)
    reading = wait(asker).result
    assert isinstance(reading, Reading)
    assert (reading.register, reading.incarnation) == (None, now)


def wait_for_nothing(asker: Asker) -> bool:
    poll = select.poll()
    poll.register(asker.fileno(), select.POLLIN)
    return poll.poll(0) == [] and asker.take() is None


def test_an_abandoned_request_does_not_hold_up_the_next_one(etcd: Etcd, asker: Asker) -> None:
    etcd.freeze()
    asker.ask_swap(UUID, None, sole(1))
    time.sleep(0.2)
    asker.abandon()
    etcd.thaw()
    start = time.monotonic()
    asker.ask_read(UUID)
    answer = wait(asker)
    assert answer.error is None
    assert time.monotonic() - start < 4.0
    assert asker.counters.abandoned == asker.counters.discarded == 1


def test_a_long_wait_gives_way_to_a_swap(asker: Asker) -> None:
    asker.ask_change(UUID, None, 30)
    since = wait(asker).result
    assert isinstance(since, Reading)
    asker.ask_change(UUID, since, 30)
    time.sleep(0.2)
    asker.abandon()
    start = time.monotonic()
    asker.ask_swap(UUID, None, sole(1))
    assert wait(asker).result is Swap.WON
    assert time.monotonic() - start < 10.0


def test_holding_ends_when_the_store_is_back(
    etcd: Etcd, asker: Asker, open_witness: Opener
) -> None:
    etcd.kill()
    asker.ask_read(UUID)
    assert isinstance(wait(asker).error, WitnessUnavailable)
    asker.ask_change(UUID, None, 30)
    etcd.start()
    answer = wait(asker)
    assert isinstance(answer.result, Reading)


def test_an_idle_worker_never_wakes_up(asker: Asker) -> None:
    asker.ask_read(UUID)
    wait(asker)
    # The newest one: other tests of the same run may have left theirs behind.
    worker = [t for t in threading.enumerate() if t.name == "witness"][-1]
    status = Path(f"/proc/self/task/{worker.native_id}/status")

    def switches() -> list[str]:
        return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]

    time.sleep(0.1)
    before = switches()
    time.sleep(0.7)
    assert switches() == before


def test_closing_breaks_off_a_call(etcd: Etcd) -> None:
    before = set(threading.enumerate())
    asker = Asker(EtcdWitness(etcd.url), timeout_s=30)
    etcd.freeze()
    asker.ask_read(UUID)
    time.sleep(0.2)
    start = time.monotonic()
    asker.close(timeout_s=5)
    assert time.monotonic() - start < 1.0
    assert not set(threading.enumerate()) - before
    etcd.thaw()
