"""Each rule taken away, one at a time: what the checker must find.

A mutation changes rows of the product's own tables, or a rule of the world around them
(``WorldRules``). It says within which bounds the loss shows and which property breaks; ``STUCK``
where nothing bad happens at any moment but something good never does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from remus_ha.core import backup, primary
from remus_ha.core.table import Row, Table, always
from tests.model.rules import TABLES, Rules, WorldRules
from tests.model.world import Budget

PS, PE, PA = primary.State, primary.Event, primary.Action
BS, BE, BA = backup.State, backup.Event, backup.Action

STUCK = "stuck"
TWO = "two copies whose new output"
LOST = "lost in the surviving copy"
DESTROYED = "the last complete copy is destroyed"

ALL_RULES = WorldRules()
Rows = tuple[Row[Any, Any, Any, Any], ...]


@dataclass(frozen=True)
class Mutation:
    """One rule taken away."""

    rule: str
    what: str
    found: str  # part of the violation, or STUCK
    budget: Budget
    primary: Rows = ()  # take the place of all rows of their (state, event)
    backup: Rows = ()
    world: WorldRules = ALL_RULES

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"

    def rules(self) -> Rules:
        """The tables and the world without the rule."""
        tables = (
            rewritten(TABLES[0], self.primary),
            rewritten(TABLES[1], self.backup),
            TABLES[2],
        )
        return Rules(tables, self.world)


def rewritten(table: Table[Any, Any, Any, Any], rows: Rows) -> Table[Any, Any, Any, Any]:
    """The table with these rows for their (state, event), complete as ever."""
    changed = {(row.state, row.event) for row in rows}
    return Table(
        table.name,
        type(table.states[0]),
        type(table.events[0]),
        (*(r for r in table.rows if (r.state, r.event) not in changed), *rows),
        (r for r in table.remarks if (r.state, r.event) not in changed),
    )


def row(state: Any, event: Any, next_state: Any, *actions: Any) -> Row[Any, Any, Any, Any]:
    """An unguarded row of a mutation."""
    return Row(state, event, always, next_state, actions, "mutation")


def before(
    table: Table[Any, Any, Any, Any], state: Any, event: Any, *first: Row[Any, Any, Any, Any]
) -> Rows:
    """The rows of (state, event) with others tried before them."""
    return (*first, *table.rows_of(state, event))


def without(
    table: Table[Any, Any, Any, Any], states: Iterable[Any], event: Any, action: Any
) -> Rows:
    """The rows of those states for ``event``, without ``action``."""
    return tuple(
        Row(
            r.state, r.event, r.guard, r.next, tuple(a for a in r.actions if a is not action), r.why
        )
        for state in states
        for r in table.rows_of(state, event)
    )


P_TABLE, B_TABLE = primary.TABLE, backup.TABLE

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "W1", "a pair although a plug is not in force", TWO, Budget(plug_failures=1),
        primary=(row(PS.SYNCING, PE.FIRST_ACK, PS.PAIRING, PA.SWAP_TO_PAIR),),
    ),
    Mutation(
        "W1", "a pair before ACK(0)", "does not hold", Budget(),
        primary=(
            row(PS.CLAIMED, PE.OPENED_RECORDED, PS.PAIRING, PA.START_STREAM, PA.SWAP_TO_PAIR),
        ),
    ),
    Mutation(
        "W2", "reading (g, me) opens", LOST, Budget(),
        primary=before(
            P_TABLE, PS.ASKING, PE.READ,
            Row(PS.ASKING, PE.READ, primary.mine_alone, PS.OPENING, (PA.RECORD_OPENED,), ""),
        ),
    ),
    Mutation(
        "W3", "swap first, restore then", "restore that failed", Budget(restore_failures=1),
        backup=(
            *before(
                B_TABLE, BS.IN_DOUBT, BE.READ,
                Row(BS.IN_DOUBT, BE.READ, backup.mine, BS.SWAPPING, (BA.CUT, BA.SWAP_TO_ME), ""),
            ),
            row(BS.OPENING, BE.OPENED_RECORDED, BS.RESTORING, BA.DROP_OPEN, BA.END_OF_FILE),
            row(BS.RESTORING, BE.RESTORED, BS.ALIVE, BA.OPEN_OUTPUT),
        ),
    ),
    Mutation(
        "W3", "a dead restore swaps", "no copy that can live", Budget(restore_failures=1),
        backup=(row(BS.RESTORING, BE.RESTORE_FAILED, BS.SWAPPING, BA.SWAP_TO_ME),),
    ),
    Mutation(
        "W3", "acknowledging goes on", "does not hold", Budget(),
        backup=(
            *without(B_TABLE, (BS.STANDBY,), BE.DOUBT, BA.STOP_ACKS),
            *(
                row(s, BE.COMMITTED, s, BA.ACK)
                for s in (BS.IN_DOUBT, BS.RESTORING, BS.SWAPPING, BS.OPENING)
            ),
        ),
    ),
    Mutation(
        "W4", "back to the session after a swap out of it", "after a swap out of the pair",
        Budget(),
        primary=(row(PS.ASKING, PE.SWAP_UNKNOWN, PS.PROTECTED),),
    ),
    Mutation(
        "W5", "finding (g+1, me) is not having won", STUCK, Budget(),
        world=WorldRules(own_wins_count=False),
    ),
    Mutation(
        "W5", "no answer counts as having won", LOST, Budget(),
        backup=(row(BS.SWAPPING, BE.SWAP_UNKNOWN, BS.OPENING, BA.RECORD_OPENED),),
    ),
    Mutation(
        "W5", "no answer counts as having lost", DESTROYED, Budget(),
        primary=(row(PS.ASKING, PE.SWAP_UNKNOWN, PS.DESTROYED, *primary.GONE),),
    ),
    Mutation(
        "W6", "a stop message destroys", "did not survive one crash", Budget(host_crashes=1),
        backup=(row(BS.STANDBY, BE.TOLD_STOP, BS.DESTROYED, *backup.GONE),),
    ),
    Mutation(
        "W7", "a shutdown is told and cleaned before the swap", "resurrected", Budget(intents=1),
        primary=(
            row(PS.PROTECTED, PE.GUEST_SHUTDOWN, PS.STOPPED, PA.HOLD, PA.TELL_STOP, *primary.GONE),
        ),
    ),
    Mutation(
        "W7", "unprotect releases before the swap", LOST, Budget(intents=1),
        primary=(
            row(PS.PROTECTED, PE.UNPROTECT, PS.RETURNING, PA.HOLD, PA.OPEN_OUTPUT, PA.READ),
        ),
    ),
    Mutation(
        "W8", "a conductor swaps for others", LOST, Budget(intents=1),
        world=WorldRules(conductor_swaps=True),
    ),
    Mutation(
        "W8", "the operator's word counts for whoever holds it by now", TWO,
        Budget(host_crashes=1, operator=True),
        backup=before(
            B_TABLE, BS.FENCING, BE.READ,
            Row(BS.FENCING, BE.READ, backup.lost, BS.FENCING, (BA.SEIZE,), ""),
        ),
    ),
    Mutation(
        "W9", "the store's incarnation does not count", LOST, Budget(rewinds=1),
        world=WorldRules(incarnations=False),
    ),
    Mutation(
        "W10", "a primary without answers never asks", STUCK, Budget(host_crashes=1),
        world=WorldRules(doubts=False),
    ),
    Mutation(
        "W11", "a dead process is not replaced", STUCK, Budget(process_crashes=1),
        world=WorldRules(restarts=False),
    ),
    Mutation(
        "W12", "a beaten primary destroys its copy at once", DESTROYED, Budget(host_crashes=1),
        primary=before(
            P_TABLE, PS.ASKING, PE.READ,
            Row(PS.ASKING, PE.READ, primary.lost, PS.DESTROYED, primary.GONE, ""),
        ),
    ),
    Mutation(
        "W12", "a beaten backup destroys its copy at once", DESTROYED, Budget(host_crashes=1),
        backup=before(
            B_TABLE, BS.IN_DOUBT, BE.READ,
            Row(BS.IN_DOUBT, BE.READ, backup.lost, BS.DESTROYED, backup.GONE, ""),
        ),
    ),
    Mutation(
        "W12", "a note that comes late says of another win that it opened", DESTROYED,
        Budget(process_crashes=1, host_crashes=1), world=WorldRules(notes_checked=False),
    ),
    Mutation(
        "keeper", "the receiver's death lets the restore's pipe go", "different epochs",
        Budget(process_crashes=1), world=WorldRules(keeper=False),
    ),
)  # fmt: skip
