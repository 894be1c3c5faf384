"""What a reading means to whom, and what may be proposed from it."""

from dataclasses import replace

import pytest

from remus_ha.core import witness
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.witness import Ledger, Standing

A, B = Identity("a", "1"), Identity("b", "1")
A_BEFORE, B_BEFORE = Identity("a", "0"), Identity("b", "0")

PRIMARY = Ledger(A, B, session=5)
BACKUP = Ledger(B, A, session=5)


def held(generation: int, by: Identity) -> Register:
    return Register(generation, Kind.HOLDER, by)


def pair(generation: int, primary: Identity = A, backup: Identity = B) -> Register:
    return Register(generation, Kind.PAIR, primary, backup)


def none(generation: int) -> Register:
    return Register(generation, Kind.NONE, None)


@pytest.mark.parametrize(
    ("ledger", "register", "expected"),
    [
        (PRIMARY, held(5, A), Standing.MINE),
        (PRIMARY, held(9, A), Standing.MINE),
        (PRIMARY, pair(6), Standing.MY_PAIR),
        (PRIMARY, held(7, B), Standing.OTHER),
        (PRIMARY, none(7), Standing.NONE),
        (PRIMARY, held(5, A_BEFORE), Standing.MY_HOST),
        (PRIMARY, pair(6, A_BEFORE), Standing.MY_HOST_PAIR),
        (BACKUP, held(5, A), Standing.PENDING),
        (BACKUP, pair(6), Standing.MY_PAIR),
        (BACKUP, held(6, A), Standing.OTHER),
        (BACKUP, held(7, B), Standing.MINE),
        (BACKUP, held(7, A), Standing.OTHER),
        (BACKUP, held(4, A), Standing.UNKNOWN),
        (BACKUP, none(7), Standing.NONE),
        (BACKUP, pair(6, A, B_BEFORE), Standing.MY_HOST_BACKUP),
        (BACKUP, pair(9), Standing.OTHER),  # a later session's pair: this copy is not of it
        (replace(BACKUP, session=0), pair(6), Standing.UNKNOWN),
    ],
)
def test_standing(ledger: Ledger, register: Register, expected: Standing) -> None:
    assert witness.standing(ledger, register) is expected


def test_only_the_very_value_proposed_has_been_won() -> None:
    asked = witness.propose(replace(PRIMARY, known=pair(6)), held(7, A))
    ledger, view = witness.read(asked, held(7, A), 5, "x")
    assert view.standing is Standing.WON
    assert ledger.known == held(7, A)
    assert ledger.session == 5, "the session began before"
    _, again = witness.read(ledger, held(7, A), 5, "x")
    assert again.standing is Standing.MINE, "a win that is known is no proposal any more"


def test_a_pair_of_ones_own_is_never_a_win() -> None:
    asked = witness.propose(replace(PRIMARY, known=held(5, A)), pair(6))
    assert witness.read(asked, pair(6), 5, "x")[1].standing is Standing.MY_PAIR


def test_a_value_of_another_process_of_mine_is_not_a_win() -> None:
    """W2: it may be an earlier swap's; only a swap of this very process opens anything."""
    asked = witness.propose(replace(PRIMARY, known=held(5, A)), pair(6))
    successor = witness.successor(asked)
    assert witness.read(successor, held(6, A), 5, "x")[1].standing is Standing.MINE


def test_the_first_win_begins_the_session() -> None:
    ledger = witness.begin_session(Ledger(A), B)
    ledger, view = witness.read(ledger, None, 0, "x")
    assert view.standing is Standing.FRESH
    new = witness.bump(ledger)
    assert new == held(1, A)
    ledger = witness.won(witness.propose(ledger, new))
    assert (ledger.session, ledger.known) == (1, held(1, A))
    again = witness.won(witness.propose(ledger, witness.bump(ledger)))
    assert again.session == 1


def test_no_row_where_there_was_one_proves_nothing() -> None:
    for ledger in (PRIMARY, replace(PRIMARY, session=0, seen=True)):
        assert witness.read(ledger, None, 0, "x")[1].standing is Standing.MISSING
    over = witness.begin_session(PRIMARY, B)
    assert witness.read(over, None, 0, "x")[1].standing is Standing.MISSING


def test_another_incarnation_proves_nothing_until_it_is_accepted() -> None:
    ledger, _ = witness.read(PRIMARY, pair(6), 5, "x")
    after, view = witness.read(ledger, held(9, B), 9, "y")
    assert view.standing is Standing.REWOUND
    assert after == ledger
    accepted = witness.accept_incarnation(ledger)
    assert witness.read(accepted, held(9, B), 9, "y")[1].standing is Standing.OTHER


def test_the_same_value_of_another_again_is_told_apart() -> None:
    ledger, view = witness.read(PRIMARY, held(7, B), 5, "x")
    assert view.standing is Standing.OTHER
    ledger, view = witness.read(ledger, held(7, B), 7, "x")
    assert view == witness.View(Standing.STILL_OTHER, True)
    assert witness.read(ledger, held(8, B), 7, "x")[1].standing is Standing.OTHER


def test_an_older_value_than_known_proves_nothing() -> None:
    ledger, _ = witness.read(PRIMARY, held(9, B), 5, "x")
    after, view = witness.read(ledger, pair(6), 5, "x")
    assert view.standing is Standing.UNKNOWN
    assert after.known == held(9, B)


@pytest.mark.parametrize(
    ("ledger", "register", "opened", "expected"),
    [
        (PRIMARY, held(7, B), 5, False),  # my own note, of before I streamed
        (PRIMARY, held(7, B), 7, True),
        (PRIMARY, held(8, B), 7, True),  # it opened, and has bumped since
        (BACKUP, held(7, A), 5, False),
        (BACKUP, held(7, A), 7, True),
        (Ledger(A), held(7, B), 6, False),  # nothing known of the session: only this win counts
        (Ledger(A), held(7, B), 7, True),
        (Ledger(A), pair(7, B, A_BEFORE), 6, True),  # made from (6, b), which had opened
        (Ledger(A), none(7), 9, False),
    ],
)
def test_who_has_opened(ledger: Ledger, register: Register, opened: int, expected: bool) -> None:
    assert witness.read(ledger, register, opened, "x")[1].opened is expected


def test_proposals_are_one_generation_up() -> None:
    known = replace(PRIMARY, known=held(5, A))
    assert witness.bump(known) == held(6, A)
    assert witness.pair(known) == pair(6)
    assert witness.stop(known) == none(6)
    assert witness.bump(replace(BACKUP, known=pair(6))) == held(7, B)
    assert witness.give_back(replace(BACKUP, known=held(7, B))) == held(8, A)
    assert witness.stop(replace(PRIMARY, known=pair(6))) == none(7)
    assert witness.bump(replace(PRIMARY, known=none(7))) == held(8, A)


def test_a_host_may_change_what_it_held_in_an_earlier_life() -> None:
    back = Ledger(A, B, known=held(7, A_BEFORE))
    assert witness.bump(back) == held(8, A)
    assert witness.give_back(back) == held(8, B)


@pytest.mark.parametrize("known", [held(7, B), pair(7, B, A_BEFORE)])
def test_nobody_swaps_for_another(known: Register) -> None:
    """W8."""
    ledger = replace(PRIMARY, known=known)
    for propose in (witness.bump, witness.stop, witness.give_back):
        with pytest.raises(ValueError, match="is not a/1's"):
            propose(ledger)
    assert witness.seize(ledger) == held(8, A), "the operator may"


def test_a_pair_is_made_from_ones_own_value_only() -> None:
    for known in (None, pair(6), held(6, B), none(6)):
        with pytest.raises(ValueError, match="a pair is made from"):
            witness.pair(replace(PRIMARY, known=known))
    with pytest.raises(ValueError, match="needs a peer"):
        witness.pair(Ledger(A, known=held(5, A)))


def test_what_must_be_known_first() -> None:
    with pytest.raises(ValueError, match="nothing known"):
        witness.give_back(PRIMARY)
    with pytest.raises(ValueError, match="without having proposed"):
        witness.won(PRIMARY)


def test_a_rewound_store_goes_on_with_the_newest_value_that_anybody_knows() -> None:
    assert witness.reconcile(pair(6), None, held(7, A)) == held(7, A)
    assert witness.reconcile(None, None) is None
