"""The primary's stories, event by event."""

from typing import Any

import pytest

from remus_ha.core.primary import TABLE, Action, Event, Facts, State
from remus_ha.core.table import Machine
from remus_ha.core.witness import Standing

A, E, S = Action, Event, State
BUFFERED = {"buffered": True}


def machine(state: State = State.NEW) -> Machine[State, Event, Facts, Action]:
    return Machine(TABLE, state)


def play(m: Machine[State, Event, Facts, Action], *events: Any) -> list[Action]:
    """Step the events, each alone or with its facts; the last one's actions."""
    actions: tuple[Action, ...] = ()
    for event in events:
        name, facts = event if isinstance(event, tuple) else (event, {})
        actions = m.step(name, Facts(**facts))
    return list(actions)


def read(standing: Standing, opened: bool = False) -> tuple[Event, dict[str, Any]]:
    return E.READ, {"standing": standing, "opened": opened, **BUFFERED}


def test_from_the_first_wish_to_a_protected_guest() -> None:
    m = machine()
    assert play(m, E.START) == [A.READ]
    assert play(m, read(Standing.FRESH)) == [A.SWAP_TO_ME]
    assert play(m, E.SWAP_WON) == [A.RECORD_OPENED]
    assert play(m, E.OPENED_RECORDED) == [A.START_STREAM]
    assert play(m, (E.FIRST_ACK, BUFFERED)) == [A.SWAP_TO_PAIR]
    assert play(m, E.SWAP_WON) == [A.RELEASE_ONE]
    assert m.state is S.PROTECTED


def test_an_acknowledgement_that_is_not_due_releases_nothing() -> None:
    m = machine(S.PROTECTED)
    assert play(m, (E.ACK, {"outstanding": True})) == [A.RELEASE_ONE]
    assert play(m, (E.ACK, {"outstanding": False})) == []


def test_no_pair_while_a_plug_is_not_in_force() -> None:
    m = machine(S.SYNCING)
    assert play(m, (E.FIRST_ACK, {"buffered": False})) == [A.HOLD, A.CUT, A.READ]
    assert m.state is S.ASKING


def test_the_backup_dies_and_the_guest_goes_on_alone() -> None:
    m = machine(S.PROTECTED)
    assert play(m, E.DOUBT) == [A.HOLD, A.CUT, A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.SWAP_TO_ME]
    assert play(m, E.SWAP_WON) == [A.RECORD_OPENED]
    assert play(m, E.OPENED_RECORDED) == [A.RESUME_GUEST, A.OPEN_OUTPUT]
    assert m.state is S.ALONE


def test_reading_its_own_name_opens_nothing() -> None:
    m = machine(S.ASKING)
    assert play(m, read(Standing.MINE)) == [A.SWAP_TO_ME]
    assert m.state is S.ASKING


@pytest.mark.parametrize("nothing", [Standing.MISSING, Standing.REWOUND, Standing.UNKNOWN])
def test_what_proves_nothing_holds(nothing: Standing) -> None:
    for state in (S.ASKING, S.RETURNING, S.REBOOTING, S.PAIRING, S.BEATEN):
        m = machine(state)
        assert play(m, read(nothing)) == [A.ASK_AGAIN_LATER]
        assert m.state is state
        assert play(m, E.RETRY) == [A.READ]


def test_a_lost_reply_is_found_by_reading() -> None:
    m = machine(S.ASKING)
    assert play(m, E.SWAP_UNKNOWN) == [A.READ]
    assert play(m, read(Standing.WON)) == [A.RECORD_OPENED]
    m = machine(S.PAIRING)
    assert play(m, E.SWAP_UNKNOWN) == [A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.RELEASE_ONE]


def test_beaten_it_keeps_its_copy_until_the_winner_has_opened() -> None:
    m = machine(S.ASKING)
    assert play(m, read(Standing.OTHER)) == [A.PAUSE_GUEST, A.ASK_AGAIN_LATER]
    assert play(m, E.RETRY, read(Standing.OTHER)) == [A.ASK_AGAIN_LATER]
    assert play(m, E.RETRY, read(Standing.OTHER, opened=True)) == [A.DESTROY_GUEST, A.CLEAN]
    assert m.state is S.DESTROYED


def test_given_back_it_goes_on() -> None:
    m = machine(S.BEATEN)
    assert play(m, read(Standing.MINE)) == [A.SWAP_TO_ME]
    assert play(m, E.SWAP_WON, E.OPENED_RECORDED) == [A.RESUME_GUEST, A.OPEN_OUTPUT]
    assert m.state is S.ALONE


def test_a_replaced_process_begins_with_a_bump() -> None:
    m = machine()
    assert play(m, E.RESTART) == [A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.SWAP_TO_ME]


def test_unprotect_swaps_then_tells_then_releases() -> None:
    m = machine(S.PROTECTED)
    assert play(m, E.UNPROTECT) == [A.HOLD, A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.SWAP_TO_ME]
    assert play(m, E.SWAP_WON) == [A.TELL_STOP, A.RECORD_OPENED]
    assert play(m, E.OPENED_RECORDED) == [A.RESUME_GUEST, A.OPEN_OUTPUT, A.CUT, A.CLEAN]
    assert m.state is S.STOPPED


@pytest.mark.parametrize("event", [E.GUEST_SHUTDOWN, E.GUEST_GONE, E.GUEST_CRASHED])
def test_a_guest_that_ends_is_written_down_before_anything_is_told(event: Event) -> None:
    m = machine(S.PROTECTED)
    assert play(m, event) == [A.HOLD, A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.SWAP_TO_NONE]
    assert play(m, E.SWAP_WON) == [A.TELL_STOP, A.DESTROY_GUEST, A.CLEAN]
    assert m.state is S.STOPPED


@pytest.mark.parametrize(
    "event", [(E.GUEST_REBOOT, {}), (E.GUEST_CRASHED, {"restart_on_crash": True})]
)
def test_a_reboot_is_done_after_the_swap(event: tuple[Event, dict[str, Any]]) -> None:
    m = machine(S.PROTECTED)
    assert play(m, event) == [A.HOLD, A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.SWAP_TO_ME]
    assert play(m, E.SWAP_WON) == [A.TELL_STOP, A.RECORD_OPENED]
    assert play(m, E.OPENED_RECORDED) == [A.RESTART_GUEST, A.OPEN_OUTPUT]
    assert m.state is S.ALONE


@pytest.mark.parametrize("state", [S.CLAIMING, S.CLAIMED])
def test_a_reboot_before_there_is_a_session_ends_it(state: State) -> None:
    m = machine(state)
    assert play(m, E.GUEST_REBOOT) == [A.RESTART_GUEST, A.OPEN_OUTPUT, A.CLEAN]
    assert m.state is S.STOPPED
    assert play(m, E.RESTART_FAILED) == []


def test_a_guest_that_ended_while_the_backup_won_is_stopped_if_it_comes_back() -> None:
    m = machine(S.ENDING)
    assert play(m, read(Standing.OTHER)) == [A.ASK_AGAIN_LATER]
    assert play(m, E.RETRY, read(Standing.MINE)) == [A.SWAP_TO_NONE]


def yielded() -> Machine[State, Event, Facts, Action]:
    """The backup has the last epoch and was told to promote."""
    m = machine(S.PROTECTED)
    assert play(m, E.FAIL_OVER) == [A.FINAL_EPOCH]
    assert play(m, (E.ACK, {"outstanding": True})) == [A.RELEASE_ONE]
    done = play(m, (E.ACK, {"outstanding": True, "final": True}))
    assert done == [A.RELEASE_ONE, A.PAUSE_GUEST, A.TELL_PROMOTE, A.ASK_AGAIN_LATER]
    return m


def test_planned_failover_keeps_the_guest_until_the_result_is_read() -> None:
    m = yielded()
    assert play(m, E.RETRY, read(Standing.MY_PAIR)) == [A.ASK_AGAIN_LATER]
    assert play(m, E.DOUBT) == [A.READ]
    assert play(m, read(Standing.OTHER)) == [A.HOLD, A.CUT, A.READ]
    assert play(m, read(Standing.OTHER)) == [A.PAUSE_GUEST, A.ASK_AGAIN_LATER]
    assert m.state is S.BEATEN
    assert play(m, E.RETRY, read(Standing.OTHER, opened=True)) == [A.DESTROY_GUEST, A.CLEAN]


def test_a_planned_failover_that_has_been_opened_ends_the_session_then_the_copy() -> None:
    m = yielded()
    assert play(m, E.RETRY, read(Standing.OTHER, opened=True)) == [A.HOLD, A.CUT, A.READ]
    assert play(m, read(Standing.OTHER, opened=True)) == [A.DESTROY_GUEST, A.CLEAN]
    assert m.state is S.DESTROYED


def test_a_planned_failover_that_cannot_begin_is_called_off() -> None:
    m = machine(S.PROTECTED)
    assert play(m, E.FAIL_OVER, E.CALLED_OFF) == []
    assert m.state is S.PROTECTED


@pytest.mark.parametrize("event", [E.TAKE_BACK, read(Standing.MINE)])
def test_a_backup_that_does_not_promote_gives_the_guest_back(event: Any) -> None:
    m = yielded()
    assert play(m, E.RETRY, event) == [A.HOLD, A.CUT, A.READ]
    assert play(m, read(Standing.MY_PAIR)) == [A.SWAP_TO_ME]


def test_a_planned_failover_whose_last_epoch_is_lost_did_not_happen() -> None:
    m = machine(S.PROTECTED)
    assert play(m, E.FAIL_OVER, E.DOUBT) == [A.HOLD, A.CUT, A.READ]


@pytest.mark.parametrize(
    ("standing", "opened"),
    [
        (Standing.OTHER, True),
        (Standing.MISSING, False),
        (Standing.REWOUND, False),
        (Standing.UNKNOWN, False),
        (Standing.MY_HOST, False),
        (Standing.MY_HOST_PAIR, True),
        (Standing.MY_HOST_BACKUP, True),
    ],
)
def test_what_is_not_its_own_is_refused_and_the_guest_untouched(
    standing: Standing, opened: bool
) -> None:
    m = machine(S.CLAIMING)
    assert play(m, read(standing, opened)) == []
    assert m.state is S.REFUSED


@pytest.mark.parametrize("standing", [Standing.MINE, Standing.NONE, Standing.FRESH])
def test_what_is_its_own_or_nobodys_is_claimed(standing: Standing) -> None:
    m = machine(S.CLAIMING)
    assert play(m, read(standing)) == [A.SWAP_TO_ME]
    m = machine(S.CLAIMING)
    assert play(m, read(Standing.MY_HOST, opened=True)) == [A.SWAP_TO_ME]


def test_the_operators_word_counts_for_who_was_last_read() -> None:
    m = machine(S.BEATEN)
    assert play(m, E.OPERATOR_FENCED) == [A.READ]
    assert play(m, read(Standing.STILL_OTHER)) == [A.SEIZE]
    assert play(m, E.SWAP_WON) == [A.RECORD_OPENED]
    m = machine(S.BEATEN)
    play(m, E.OPERATOR_FENCED)
    assert play(m, read(Standing.OTHER)) == [A.PAUSE_GUEST, A.ASK_AGAIN_LATER]
    assert m.state is S.BEATEN
    play(m, E.OPERATOR_FENCED)
    done = play(m, read(Standing.STILL_OTHER, opened=True))
    assert done == [A.DESTROY_GUEST, A.CLEAN], "it lived, and let output out that is not here"
