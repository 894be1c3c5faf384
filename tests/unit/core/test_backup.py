"""The backup's stories, event by event."""

from typing import Any

import pytest

from remus_ha.core.backup import KEEP, TABLE, Action, Event, Facts, State
from remus_ha.core.table import Machine
from remus_ha.core.witness import Standing

A, E, S = Action, Event, State


def machine(state: State = State.RECEIVING) -> Machine[State, Event, Facts, Action]:
    return Machine(TABLE, state)


def play(m: Machine[State, Event, Facts, Action], *events: Any) -> list[Action]:
    """Step the events, each alone or with its facts; the last one's actions."""
    actions: tuple[Action, ...] = ()
    for event in events:
        name, facts = event if isinstance(event, tuple) else (event, {})
        actions = m.step(name, Facts(**facts))
    return list(actions)


def read(
    standing: Standing, *, opened: bool = False, restored: bool = False
) -> tuple[Event, dict[str, Any]]:
    return E.READ, {"standing": standing, "opened": opened, "restored": restored}


def test_the_primary_dies_and_the_copy_is_the_guest() -> None:
    m = machine()
    assert play(m, E.COMMITTED) == [A.ACK]
    assert play(m, E.DOUBT) == [A.STOP_ACKS, A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.CUT, A.DROP_OPEN, A.END_OF_FILE]
    assert play(m, (E.RESTORED, {"restored": True})) == [A.SWAP_TO_ME]
    assert play(m, E.SWAP_WON) == [A.RECORD_OPENED]
    assert play(m, E.OPENED_RECORDED) == [A.RESUME_GUEST, A.OPEN_OUTPUT, A.ANNOUNCE]
    assert m.state is S.ALIVE


@pytest.mark.parametrize("event", [E.DOUBT, E.TOLD_STOP])
def test_without_an_epoch_there_is_nothing_to_win(event: Event) -> None:
    m = machine()
    assert play(m, event) == [A.STOP_ACKS, A.DESTROY_COPY, A.CLEAN]
    assert m.state is S.STOPPED


def test_not_yet_a_pair_is_waited_for() -> None:
    """A pair swap may be on its way: neither promote nor destroy."""
    m = machine(S.IN_DOUBT)
    assert play(m, read(Standing.PENDING)) == [A.ASK_AGAIN_LATER]
    assert play(m, E.RETRY) == [A.READ]
    assert m.state is S.IN_DOUBT


def test_a_message_destroys_nothing() -> None:
    m = machine(S.STANDBY)
    assert play(m, E.TOLD_STOP) == [A.STOP_ACKS, A.READ]
    assert play(m, read(Standing.OTHER)) == [A.PAUSE_GUEST, A.ASK_AGAIN_LATER]
    assert play(m, E.RETRY, read(Standing.OTHER, opened=True)) == [A.DESTROY_COPY, A.CLEAN]
    assert m.state is S.DESTROYED


@pytest.mark.parametrize("state", [S.IN_DOUBT, S.SWAPPING, S.BEATEN])
def test_a_guest_stopped_on_purpose_is_not_resurrected(state: State) -> None:
    m = machine(state)
    assert play(m, read(Standing.NONE)) == [A.DESTROY_COPY, A.CLEAN]
    assert m.state is S.DESTROYED


@pytest.mark.parametrize("nothing", [Standing.MISSING, Standing.REWOUND, Standing.UNKNOWN])
@pytest.mark.parametrize("state", [S.IN_DOUBT, S.SWAPPING, S.BEATEN, S.GIVING_BACK])
def test_what_proves_nothing_holds(state: State, nothing: Standing) -> None:
    m = machine(state)
    assert play(m, read(nothing)) == [A.ASK_AGAIN_LATER]
    assert m.state is state


def test_a_restore_that_fails_never_swaps_to_itself() -> None:
    m = machine(S.RESTORING)
    assert play(m, E.RESTORE_FAILED) == [A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.SWAP_TO_PEER]
    assert play(m, E.SWAP_WON) == [A.TELL_BROKEN, A.DESTROY_COPY, A.CLEAN]
    assert m.state is S.BROKEN


def test_a_copy_that_dies_after_its_swap_gives_the_guest_back() -> None:
    m = machine(S.SWAPPING)
    assert play(m, E.RESTORE_FAILED, read(Standing.MINE)) == [A.SWAP_TO_PEER]
    assert play(m, E.SWAP_REFUSED) == [A.READ]
    assert play(m, read(Standing.OTHER))[-2:] == [A.DESTROY_COPY, A.CLEAN]


def test_a_lost_reply_is_found_by_reading() -> None:
    m = machine(S.SWAPPING)
    assert play(m, E.SWAP_UNKNOWN) == [A.READ]
    assert play(m, read(Standing.WON, restored=True)) == [A.RECORD_OPENED]


def test_it_never_goes_back_to_its_session_once_it_has_swapped() -> None:
    m = machine(S.SWAPPING)
    assert play(m, E.SWAP_UNKNOWN, read(Standing.MY_PAIR, restored=True)) == [A.SWAP_TO_ME]
    assert play(m, E.COMMITTED) == []


@pytest.mark.parametrize(
    ("facts", "state", "actions"),
    [
        ({"committed": True}, S.IN_DOUBT, [A.STOP_ACKS, A.READ]),
        ({"committed": False}, S.STOPPED, [A.STOP_ACKS, A.DESTROY_COPY, A.CLEAN]),
        ({"committed": True, "broken": True}, S.GIVING_BACK, [A.STOP_ACKS, A.READ]),
    ],
)
def test_a_replaced_receiver_goes_by_what_it_finds(
    facts: dict[str, Any], state: State, actions: list[Action]
) -> None:
    m = machine(S.RETURNED)
    assert play(m, (E.RESTART, facts)) == actions
    assert m.state is state


def test_a_replaced_receiver_of_a_restored_copy_swaps_itself() -> None:
    m = machine(S.IN_DOUBT)
    expected = [A.CUT, A.RESUME_GUEST, A.SWAP_TO_ME]
    assert play(m, read(Standing.MINE, restored=True)) == expected


def test_given_back_a_copy_is_restored_first() -> None:
    m = machine(S.BEATEN)
    assert play(m, read(Standing.MINE)) == [A.CUT, A.DROP_OPEN, A.END_OF_FILE]
    m = machine(S.BEATEN)
    assert play(m, read(Standing.MINE, restored=True)) == [A.RESUME_GUEST, A.SWAP_TO_ME]


def test_the_operators_word_counts_for_who_was_last_read_and_for_a_copy_that_lives() -> None:
    m = machine(S.IN_DOUBT)
    assert play(m, E.OPERATOR_FENCED) == [A.CUT, A.DROP_OPEN, A.END_OF_FILE]
    assert m.state is S.IN_DOUBT
    lives = {"restored": True}
    assert play(m, (E.OPERATOR_FENCED, lives)) == [A.CUT, A.RESUME_GUEST, A.READ]
    assert play(m, read(Standing.PENDING, restored=True)) == [A.SEIZE]
    assert play(m, E.SWAP_REFUSED, read(Standing.OTHER, restored=True)) == list(KEEP)
