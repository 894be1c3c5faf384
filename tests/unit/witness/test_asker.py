"""The asker with drivers that do what a store never does on demand."""

import select
import threading
from collections.abc import Iterator

import pytest

from remus_ha.core.register import Identity, Kind, Register
from remus_ha.witness.asker import Answer, Asker
from remus_ha.witness.base import Reading, Swap
from remus_ha.witness.errors import WitnessDriverFault, WitnessUnavailable
from remus_ha.witness.none import NoWitness

ONE = Register(1, Kind.HOLDER, Identity("a", "n"))
TWO = Register(2, Kind.HOLDER, Identity("a", "n"))


class Gated(NoWitness):
    """Reads wait at a gate until it opens or they are interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Event()
        self.closed = False
        self.deaf = False
        self.gate = threading.Event()
        self.failure: Exception | None = None
        self.swapped = threading.Event()

    def swap(self, uuid: str, old: Register | None, new: Register, timeout_s: float) -> Swap:
        self.swapped.set()
        return super().swap(uuid, old, new, timeout_s)

    def read(self, uuid: str, timeout_s: float) -> Reading:
        self.inside.set()
        while not self.gate.wait(0.01):
            if self._interrupted.is_set() and not self.deaf:
                raise WitnessUnavailable(store="gated", why="interrupted")
        if self.failure:
            raise self.failure
        return super().read(uuid, timeout_s)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def driver() -> Gated:
    return Gated()


@pytest.fixture
def asker(driver: Gated) -> Iterator[Asker]:
    asker = Asker(driver, timeout_s=5)
    yield asker
    driver.gate.set()
    asker.close()


def readable(asker: Asker, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(asker.fileno(), select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def wait(asker: Asker) -> Answer:
    assert readable(asker, 5)
    answer = asker.take()
    assert answer is not None
    return answer


def test_one_at_a_time(driver: Gated, asker: Asker) -> None:
    asker.ask_read("u")
    with pytest.raises(RuntimeError, match="outstanding"):
        asker.ask_read("u")
    driver.gate.set()
    assert readable(asker, 5)
    with pytest.raises(RuntimeError, match="outstanding"):
        asker.ask_swap("u", None, ONE)
    assert asker.take() is not None
    asker.ask_swap("u", None, ONE)
    assert wait(asker).result is Swap.WON


def test_an_answer_is_taken_once(driver: Gated, asker: Asker) -> None:
    driver.gate.set()
    asker.ask_read("u")
    assert wait(asker).result == Reading(None, 0, "none")
    assert asker.take() is None
    assert not readable(asker, 0)


@pytest.mark.parametrize(
    "failure", [WitnessUnavailable(store="s", why="w"), ZeroDivisionError("a defect")]
)
def test_a_failing_driver_is_an_answer(driver: Gated, asker: Asker, failure: Exception) -> None:
    driver.gate.set()
    driver.failure = failure
    asker.ask_read("u")
    answer = wait(asker)
    assert answer.result is None
    if isinstance(failure, WitnessUnavailable):
        assert answer.error is failure
    else:
        assert isinstance(answer.error, WitnessDriverFault)
    driver.failure = None
    asker.ask_read("u")
    assert wait(asker).error is None


def test_what_is_abandoned_before_it_began_is_never_sent(driver: Gated, asker: Asker) -> None:
    driver.deaf = True
    asker.ask_read("u")
    driver.inside.wait(5)
    asker.abandon()
    asker.ask_swap("u", None, ONE)
    asker.abandon()
    driver.gate.set()
    assert not driver.swapped.wait(0.3)
    asker.ask_swap("u", None, TWO)
    assert wait(asker).result is Swap.WON
    assert (asker.counters.abandoned, asker.counters.discarded) == (2, 1)


def test_an_answer_that_came_before_the_abandoning_is_discarded(
    driver: Gated, asker: Asker
) -> None:
    driver.gate.set()
    asker.ask_read("u")
    assert readable(asker, 5)
    asker.abandon()
    assert not readable(asker, 0)
    assert asker.take() is None
    assert (asker.counters.abandoned, asker.counters.discarded) == (1, 1)


def test_abandoning_does_not_break_off_the_next_request(driver: Gated, asker: Asker) -> None:
    for _ in range(50):
        driver.inside.clear()
        driver.gate.clear()
        asker.ask_read("u")
        driver.inside.wait(5)
        asker.abandon()
        asker.ask_read("u")
        driver.gate.set()
        assert wait(asker).error is None


def test_abandoning_nothing(asker: Asker) -> None:
    asker.abandon()
    assert asker.counters.abandoned == 0


def test_a_closed_asker_closes_the_driver_and_asks_no_more(driver: Gated) -> None:
    asker = Asker(driver, timeout_s=5)
    asker.ask_read("u")
    driver.inside.wait(5)
    asker.close()
    assert driver.closed
    with pytest.raises(RuntimeError, match="closed"):
        asker.ask_read("u")
    asker.close()


def test_a_change_is_waited_for_by_reading_where_a_driver_has_nothing_better() -> None:
    driver = NoWitness()
    driver.REREAD_S = 0.05  # type: ignore[misc]
    driver.swap("u", None, ONE, 1)
    since = driver.read("u", 1)
    timer = threading.Timer(0.2, driver.swap, ("u", ONE, TWO, 1))
    timer.start()
    assert driver.wait_change("u", since, 5).register == TWO
    last = driver.read("u", 1)
    assert driver.wait_change("u", last, 0.2) == last
    timer.join()


def test_a_wait_is_broken_off() -> None:
    driver = NoWitness()
    since = driver.read("u", 1)
    timer = threading.Timer(0.1, driver.interrupt)
    timer.start()
    with pytest.raises(WitnessUnavailable):
        driver.wait_change("u", since, 30)
    timer.join()
    driver.rearm()
    assert driver.wait_change("u", None, 1) == since
