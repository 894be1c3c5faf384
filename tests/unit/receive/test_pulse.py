"""What a store's answers, and their absence, say of it."""

from typing import Any

from remus_ha.receive.pulse import Pulse

TICK_S = 0.25


def answer(writing: int, written: int) -> dict[str, Any]:
    return {"said": "status", "writing": writing, "written": written}


def looks(pulse: Pulse, *answers: dict[str, Any] | None) -> float:
    """A look for each, answered with it, None: not at all; and a last one."""
    for said in answers:
        pulse.look(TICK_S)
        if said is not None:
            pulse.answered(said)
    pulse.look(TICK_S)
    return pulse.still_s


def test_one_that_answers_moves() -> None:
    assert looks(Pulse(), *[answer(0, 5)] * 8) == 0.0


def test_one_that_owes_an_answer_stands_still_and_is_not_asked_again() -> None:
    pulse = Pulse()
    assert [pulse.look(TICK_S) for _ in range(5)] == [True, False, False, False, False]
    assert (pulse.still_s, pulse.why) == (1.0, "it does not answer")


def test_a_late_answer_is_one() -> None:
    assert looks(Pulse(), None, None, answer(0, 0)) == 0.0


def test_writes_that_are_done_with_are_movement_however_slow() -> None:
    answers = [answer(1, done // 2) for done in range(20)]
    assert max(looks(Pulse(), *answers[:count]) for count in range(20)) <= TICK_S


def test_a_write_that_does_not_end_is_standing_still() -> None:
    pulse = Pulse()
    assert looks(pulse, *[answer(1, 5)] * 5) == 1.0
    assert pulse.why == "its writes do not get on"
    assert looks(pulse, answer(1, 6)) == 0.0


def test_the_time_between_two_looks_does_not_count_where_the_receiver_slept() -> None:
    """A whole host that stood still for long has its stores' answers a look later."""
    assert looks(Pulse(), answer(0, 0), None, answer(0, 0)) == 0.0


def test_a_daemon_of_an_older_version_is_judged_by_its_answers_alone() -> None:
    assert looks(Pulse(), *[{"said": "status", "prepared": 3}] * 8) == 0.0
