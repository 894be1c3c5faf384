"""A host that comes back: the register decides, not what lies about."""

from typing import Any

import pytest

from remus_ha.core.returning import TABLE, Action, Event, Facts, State
from remus_ha.core.table import Machine
from remus_ha.core.witness import Standing

A, E, S = Action, Event, State


def machine(state: State = State.LOOKING) -> Machine[State, Event, Facts, Action]:
    return Machine(TABLE, state)


def play(m: Machine[State, Event, Facts, Action], *events: Any) -> list[Action]:
    """Step the events, each alone or with its facts; the last one's actions."""
    actions: tuple[Action, ...] = ()
    for event in events:
        name, facts = event if isinstance(event, tuple) else (event, {})
        actions = m.step(name, Facts(**facts))
    return list(actions)


def read(standing: Standing, opened: bool = False) -> tuple[Event, dict[str, Any]]:
    return E.READ, {"standing": standing, "opened": opened}


def test_another_lives_so_the_stale_copy_goes() -> None:
    m = machine(S.NEW)
    assert play(m, E.START) == [A.READ]
    assert play(m, read(Standing.OTHER)) == [A.ASK_AGAIN_LATER]
    assert play(m, E.RETRY, read(Standing.OTHER, opened=True)) == [A.DESTROY_COPY, A.CLEAN]
    assert m.state is S.CLEANED


def test_a_guest_stopped_on_purpose_stays_stopped() -> None:
    assert play(machine(), read(Standing.NONE)) == [A.DESTROY_COPY, A.CLEAN]


def test_a_sole_holder_boots_its_guest_again() -> None:
    m = machine()
    assert play(m, read(Standing.MY_HOST, opened=True)) == [A.SWAP_TO_ME]
    assert play(m, E.SWAP_WON) == [A.RECORD_OPENED]
    assert play(m, E.OPENED_RECORDED) == [A.START_GUEST, A.OPEN_OUTPUT, A.CLEAN]
    assert m.state is S.OPEN


def test_a_win_that_never_opened_goes_back_to_the_peer() -> None:
    m = machine()
    assert play(m, read(Standing.MY_HOST)) == [A.ASK_PEER]
    assert play(m, (E.PEER_HAS_COPY, {"standing": Standing.MY_HOST})) == [A.SWAP_TO_PEER]
    assert play(m, E.SWAP_WON) == [A.DESTROY_COPY, A.CLEAN]


@pytest.mark.parametrize("standing", [Standing.MY_HOST, Standing.MY_HOST_PAIR])
def test_no_copy_anywhere_boots_it_here(standing: Standing) -> None:
    m = machine()
    assert play(m, read(standing)) == [A.ASK_PEER]
    assert play(m, (E.PEER_HAS_NONE, {"standing": standing})) == [A.SWAP_TO_ME]


def test_a_peer_with_a_copy_of_the_pair_promotes_itself() -> None:
    m = machine()
    play(m, read(Standing.MY_HOST_PAIR))
    facts = {"standing": Standing.MY_HOST_PAIR}
    assert play(m, (E.PEER_HAS_COPY, facts)) == [A.ASK_AGAIN_LATER]
    assert m.state is S.LOOKING


@pytest.mark.parametrize(
    "standing",
    [Standing.MISSING, Standing.REWOUND, Standing.UNKNOWN, Standing.MY_HOST_BACKUP],
)
def test_everything_else_holds(standing: Standing) -> None:
    m = machine()
    assert play(m, read(standing, opened=True)) == [A.ASK_AGAIN_LATER]
    assert m.state is S.LOOKING


def test_a_silent_peer_or_witness_holds() -> None:
    m = machine()
    assert play(m, E.READ_FAILED) == [A.ASK_AGAIN_LATER]
    m = machine(S.ASKING_PEER)
    assert play(m, E.PEER_SILENT) == [A.ASK_AGAIN_LATER]
    assert m.state is S.LOOKING


def test_a_pair_of_this_life_is_left_to_its_own_process() -> None:
    m = machine()
    assert play(m, read(Standing.MY_PAIR)) == []
    assert m.state is S.LEFT
