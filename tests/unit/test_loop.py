"""The loop: who is called when, and who is not called any more."""

import os
import time
from collections.abc import Iterator

import pytest

from remus_ha.loop import WRITE, Loop

LONG_S = 5.0


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    """Two pipes with an octet in each: both read ends are ready at once."""
    made = [os.pipe(), os.pipe()]
    for _, write_end in made:
        os.write(write_end, b"x")
    yield made
    for pair in made:
        for fd in pair:
            os.close(fd)


def soon(seconds: float = LONG_S) -> float:
    return time.monotonic() + seconds


def test_until_returns_what_done_says_at_the_deadline(loop: Loop) -> None:
    before = time.monotonic()
    assert loop.until(lambda: False, before + 0.05) is False
    assert 0.05 <= time.monotonic() - before < 1.0


def test_until_does_not_wait_for_what_is_so_already(loop: Loop) -> None:
    before = time.monotonic()
    assert loop.until(lambda: True, before + LONG_S) is True
    assert time.monotonic() - before < 1.0


def test_a_deadline_that_has_passed_still_asks_once(loop: Loop) -> None:
    answers = [False, True]
    assert loop.until(lambda: answers.pop(0), soon(-1)) is True


def test_who_is_forgotten_in_a_round_is_not_called_in_it(
    loop: Loop, pipes: list[tuple[int, int]]
) -> None:
    """Both are ready in the same round; whoever comes first takes the other one out."""
    called: list[int] = []
    ends = [read_end for read_end, _ in pipes]

    def take(fd: int) -> None:
        called.append(fd)
        for other in ends:
            loop.forget(other)

    for fd in ends:
        loop.watch(fd, lambda _events, fd=fd: take(fd))
    loop.serve(1.0)
    loop.serve(0.0)
    assert len(called) == 1


def test_watching_again_replaces_callback_and_events(
    loop: Loop, pipes: list[tuple[int, int]]
) -> None:
    (read_end, write_end), _ = pipes
    called: list[str] = []
    loop.watch(read_end, lambda _events: called.append("old"))
    loop.watch(read_end, lambda _events: called.append("new"))
    loop.watch(write_end, lambda _events: called.append("writable"), WRITE)
    loop.serve(1.0)
    assert sorted(called) == ["new", "writable"]


def test_forgetting_is_idempotent_even_after_the_descriptor_is_closed(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    loop.watch(read_end, lambda _events: None)
    os.close(read_end)
    os.close(write_end)
    loop.forget(read_end)
    loop.forget(read_end)
    assert not loop.watching(read_end)


def test_a_number_used_again_is_watched_anew(loop: Loop) -> None:
    """After ``forget`` and close the next descriptor often gets the same number."""
    called: list[str] = []
    first = os.pipe()
    loop.watch(first[0], lambda _events: called.append("first"))
    loop.forget(first[0])
    for fd in first:
        os.close(fd)
    second = os.pipe()
    assert second[0] == first[0]
    loop.watch(second[0], lambda _events: called.append("second"))
    os.write(second[1], b"x")
    loop.serve(1.0)
    for fd in second:
        loop.forget(fd)
        os.close(fd)
    assert called == ["second"]


def test_once_is_once_and_every_is_again(loop: Loop) -> None:
    called: list[str] = []
    loop.after(0.01, lambda: called.append("once"))
    loop.every(0.02, lambda: called.append("every"))
    loop.until(lambda: called.count("every") == 3, soon())
    assert called.count("once") == 1
    assert called.count("every") == 3


def test_a_timer_wakes_the_loop_before_the_deadline(loop: Loop) -> None:
    fired: list[float] = []
    before = time.monotonic()
    loop.after(0.05, lambda: fired.append(time.monotonic()))
    assert loop.until(lambda: bool(fired), soon())
    assert 0.05 <= fired[0] - before < 1.0


def test_a_cancelled_timer_is_silent_and_cancelling_is_idempotent(loop: Loop) -> None:
    called: list[str] = []
    timer = loop.every(0.01, lambda: called.append("never"))
    loop.cancel(timer)
    loop.cancel(timer)
    loop.until(lambda: False, soon(0.1))
    assert called == []


def test_a_late_interval_is_not_made_up_for(loop: Loop) -> None:
    called: list[float] = []
    loop.every(0.01, lambda: called.append(time.monotonic()))
    time.sleep(0.1)
    loop.serve(0.0)
    loop.serve(0.0)
    assert len(called) == 1


def test_an_error_in_a_callback_reaches_who_waits(loop: Loop, pipes: list[tuple[int, int]]) -> None:
    def fail(_events: int) -> None:
        raise RuntimeError("from the callback")

    loop.watch(pipes[0][0], fail)
    with pytest.raises(RuntimeError, match="from the callback"):
        loop.until(lambda: False, soon())


def test_a_timer_cancelled_by_another_one_of_the_same_moment_is_silent(loop: Loop) -> None:
    called: list[str] = []
    loop.after(0.0, lambda: loop.cancel(second))
    second = loop.after(0.0, lambda: called.append("cancelled, and called"))
    loop.until(lambda: False, soon(0.05))
    assert called == []
