"""What holds for every role's table, and between them."""

import enum
from collections.abc import Iterator
from typing import Any

import pytest

from remus_ha.core import backup, primary, returning
from remus_ha.core.table import Table, Verdict

TABLES: tuple[Table[Any, Any, Any, Any], ...] = (primary.TABLE, backup.TABLE, returning.TABLE)
ROLES = pytest.mark.parametrize(("role", "table"), [(t.name, t) for t in TABLES], ids=lambda x: x)

REQUESTS: dict[str, set[str]] = {
    "read": {"READ", "READ_FAILED"},
    "swap_to_me": {"SWAP_WON", "SWAP_REFUSED", "SWAP_UNKNOWN"},
    "swap_to_pair": {"SWAP_WON", "SWAP_REFUSED", "SWAP_UNKNOWN"},
    "swap_to_none": {"SWAP_WON", "SWAP_REFUSED", "SWAP_UNKNOWN"},
    "swap_to_peer": {"SWAP_WON", "SWAP_REFUSED", "SWAP_UNKNOWN"},
    "seize": {"SWAP_WON", "SWAP_REFUSED", "SWAP_UNKNOWN"},
    "record_opened": {"OPENED_RECORDED", "RECORD_FAILED"},
    "ask_peer": {"PEER_HAS_COPY", "PEER_HAS_NONE", "PEER_SILENT"},
}
ANSWERS = {answer for answers in REQUESTS.values() for answer in answers}
INITIAL: dict[str, tuple[enum.Enum, ...]] = {
    "primary": (primary.State.NEW,),
    "backup": (backup.State.RECEIVING, backup.State.RETURNED),
    "returning": (returning.State.NEW,),
}


def steps(
    table: Table[Any, Any, Any, Any], state: enum.Enum, waits: frozenset[str]
) -> Iterator[tuple[enum.Enum, frozenset[str]]]:
    """Where a process in ``state``, waiting for those answers, can be next, and for what then."""
    for row in table.rows:
        if row.state is not state:
            continue
        answered = row.event.name in ANSWERS
        if answered and row.event.name not in waits:
            continue
        after: frozenset[str] = frozenset[str]() if answered else waits
        for action in row.actions:
            wanted = REQUESTS.get(action.value)
            after = after if wanted is None else frozenset(wanted)
        yield row.next, after


def reachable(table: Table[Any, Any, Any, Any]) -> set[tuple[enum.Enum, frozenset[str]]]:
    """Every state with every set of answers that can be outstanding in it."""
    todo: list[tuple[enum.Enum, frozenset[str]]]
    todo = [(s, frozenset()) for s in INITIAL[table.name]]
    seen = set(todo)
    while todo:
        for step in steps(table, *todo.pop()):
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return seen


@ROLES
def test_every_state_can_be_reached(role: str, table: Table[Any, Any, Any, Any]) -> None:
    assert {state for state, _ in reachable(table)} == set(table.states)


@ROLES
def test_no_answer_that_can_come_is_called_impossible(
    role: str, table: Table[Any, Any, Any, Any]
) -> None:
    for state, waits in reachable(table):
        for name in waits:
            verdict = table.verdict(state, table.events[0].__class__[name])
            assert verdict is not Verdict.IMPOSSIBLE, f"{name} in {state.name}"


@ROLES
def test_a_state_that_waits_for_an_answer_does_something_with_it(
    role: str, table: Table[Any, Any, Any, Any]
) -> None:
    ends = {s for s in table.states if not any(r.state is s for r in table.rows)}
    for state, waits in reachable(table):
        handled = {n for n in waits if table.rows_of(state, table.events[0].__class__[n])}
        assert handled == waits or state in ends or _abandons(table, state), state


def _abandons(table: Table[Any, Any, Any, Any], state: enum.Enum) -> bool:
    """States that go on without an answer that an earlier state asked for."""
    return (table.name, state) in {
        ("returning", returning.State.LOOKING),  # an answer of the peer, asked again when needed
    }


@ROLES
def test_every_row_says_why(role: str, table: Table[Any, Any, Any, Any]) -> None:
    assert all(row.why for row in table.rows)
    assert all(remark.why for remark in table.remarks)


@ROLES
def test_every_guard_says_what_it_asks(role: str, table: Table[Any, Any, Any, Any]) -> None:
    assert all(row.guard.__doc__ for row in table.rows)


@ROLES
def test_every_action_is_used(role: str, table: Table[Any, Any, Any, Any]) -> None:
    module = {"primary": primary, "backup": backup, "returning": returning}[role]
    assert {a for row in table.rows for a in row.actions} == set(module.Action)


@ROLES
def test_an_end_state_does_nothing_more(role: str, table: Table[Any, Any, Any, Any]) -> None:
    module = {"primary": primary, "backup": backup, "returning": returning}[role]
    ends = {s for s in table.states if not any(r.state is s for r in table.rows)}
    assert ends == set(module.ENDS)


@pytest.mark.parametrize(
    ("action", "event"),
    [
        (primary.Action.TELL_STOP, backup.Event.TOLD_STOP),
        (primary.Action.TELL_PROMOTE, backup.Event.TOLD_PROMOTE),
        (primary.Action.CUT, backup.Event.DOUBT),
        (primary.Action.START_STREAM, backup.Event.COMMITTED),
    ],
)
def test_what_the_primary_does_the_backup_can_meet_in_every_state(
    action: primary.Action, event: backup.Event
) -> None:
    assert any(action in row.actions for row in primary.TABLE.rows)
    for state in backup.State:
        if state is not backup.State.RETURNED:
            assert backup.TABLE.verdict(state, event) is not Verdict.IMPOSSIBLE
    assert backup.TABLE.rows_of(backup.State.STANDBY, event)


@pytest.mark.parametrize(
    ("action", "event"),
    [
        (backup.Action.TELL_BROKEN, primary.Event.DOUBT),
        (backup.Action.CUT, primary.Event.DOUBT),
        (backup.Action.STOP_ACKS, primary.Event.DOUBT),
        (backup.Action.ACK, primary.Event.ACK),
        (backup.Action.ACK, primary.Event.FIRST_ACK),
    ],
)
def test_what_the_backup_does_the_primary_can_meet_while_a_session_lasts(
    action: backup.Action, event: primary.Event
) -> None:
    assert any(action in row.actions for row in backup.TABLE.rows)
    for state in (primary.State.PAIRING, primary.State.PROTECTED, primary.State.ASKING):
        assert primary.TABLE.verdict(state, event) is not Verdict.IMPOSSIBLE


def test_only_a_note_opens_the_output() -> None:
    """W12, W2: apart from a reboot before anything was claimed, opening follows the note."""
    for table in TABLES:
        for row in table.rows:
            if any(action.value == "open_output" for action in row.actions):
                claims = row.state in (primary.State.CLAIMING, primary.State.CLAIMED)
                assert row.event.name == "OPENED_RECORDED" or claims


def test_only_an_acknowledgement_or_the_pair_releases() -> None:
    """G1: RELEASE_ONE follows ACK(n), or the pair that ACK(0) was waiting for."""
    releases = [r for r in primary.TABLE.rows if primary.Action.RELEASE_ONE in r.actions]
    for row in releases:
        first = row.state is primary.State.PAIRING and row.next is primary.State.PROTECTED
        assert first or (row.event is primary.Event.ACK and row.guard is not None)
    assert {r.state for r in releases} <= {
        primary.State.PAIRING,
        primary.State.PROTECTED,
        primary.State.YIELDING,
    }


def test_only_a_reading_or_a_swap_destroys() -> None:
    """W6: a message, a timeout, a failure destroy no copy that was ever complete."""
    allowed = {"READ", "SWAP_WON"}
    for table in TABLES:
        for row in table.rows:
            destroys = {"destroy_guest", "destroy_copy"} & {a.value for a in row.actions}
            never_a_copy = row.state in (backup.State.RECEIVING, backup.State.RETURNED)
            died = row.event is backup.Event.RESTORE_FAILED
            if destroys and not never_a_copy and not died:
                assert row.event.name in allowed, row
