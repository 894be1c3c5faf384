"""The backup's decisions: one table, for the process that receives a guest's epochs.

How a runtime steps it: as ``remus_ha.core.primary`` says (requests to the witness, timers,
idempotent actions), with these differences.

* The machine begins in ``RECEIVING``; a receiver started by the keeper in place of one that died
  begins in ``RETURNED`` with the event ``RESTART`` and facts that say what was found.
* ``COMMITTED`` is stepped once per epoch, after the epoch has become real (memory and disks);
  its action ``ACK`` tells the primary. After ``STOP_ACKS`` no epoch is committed any more.
* The keeper lets go of the restore's pipe only on ``END_OF_FILE``.

The copy's vifs are shut until ``OPEN_OUTPUT``, which only follows a won swap that was written down.
"""

import enum
from dataclasses import dataclass
from typing import Final

from remus_ha.core.table import Remark, Row, Table, all_but, always, each, ignored, impossible
from remus_ha.core.witness import Standing


class State(enum.Enum):
    """Where the backup's process stands."""

    RECEIVING = "receiving"  # no epoch committed: no copy, nothing to win
    STANDBY = "standby"  # at least one epoch committed; acknowledging
    RETURNED = "returned"  # a new receiver in place of one that died
    IN_DOUBT = "in_doubt"  # stopped acknowledging, reading the register
    RESTORING = "restoring"  # primary cut off, open epoch dropped, restoring behind shut vifs
    SWAPPING = "swapping"  # the copy runs behind shut vifs; swap to me wanted
    OPENING = "opening"  # swap won, being written down; vifs shut
    ALIVE = "alive"  # end: the copy is the guest, vifs open, announced
    BEATEN = "beaten"  # another won: copy kept, not running, until the winner has opened
    FENCING = "fencing"  # the operator's word that the other host is dead: swap to me wanted
    GIVING_BACK = "giving_back"  # the copy died after its swap was sent: swap to the peer wanted
    BROKEN = "broken"  # end: the restore died or a disk is lost; never swaps
    DESTROYED = "destroyed"  # end: another has won or the guest was stopped; copy destroyed
    STOPPED = "stopped"  # end: there never was a copy


class Event(enum.Enum):
    """What the runtime tells the table."""

    RESTART = "restart"  # this process replaces one that died
    COMMITTED = "committed"  # an epoch has become real
    DOUBT = "doubt"  # no progress within T, connection closed, stream broken
    TOLD_STOP = "told_stop"  # the primary says that the session has ended
    TOLD_PROMOTE = "told_promote"  # planned failover: the primary or the operator asks for it
    READ = "read"  # answer to READ; facts.standing and facts.opened are its meaning
    READ_FAILED = "read_failed"  # no answer to READ in time, or an error
    RETRY = "retry"  # the timer of ASK_AGAIN_LATER
    SWAP_WON = "swap_won"  # definite: the proposed value is written
    SWAP_REFUSED = "swap_refused"  # definite: the register had another value; or store rewound
    SWAP_UNKNOWN = "swap_unknown"  # no answer: it may have won, may lose, may yet win
    OPENED_RECORDED = "opened_recorded"  # answer to RECORD_OPENED
    RECORD_FAILED = "record_failed"  # no answer to RECORD_OPENED, or an error
    RESTORED = "restored"  # the domain runs behind shut vifs
    RESTORE_FAILED = "restore_failed"  # restore or domain died, or a disk is lost
    OPERATOR_FENCED = "operator_fenced"  # the operator's word that the other host is fenced
    STORE_ACCEPTED = "store_accepted"  # W9: both hosts have reported, or the operator decided


class Action(enum.Enum):
    """What the runtime does, in order. Each is idempotent."""

    ACK = "ack"  # acknowledge the epoch just committed
    STOP_ACKS = "stop_acks"  # from now on no epoch is committed or acknowledged
    READ = "read"  # witness: linearizable read
    SWAP_TO_ME = "swap_to_me"  # witness: known value -> witness.bump(ledger)
    SWAP_TO_PEER = "swap_to_peer"  # witness: known value -> witness.give_back(ledger)
    SEIZE = "seize"  # witness: known value -> witness.seize(ledger), the other host being dead
    RECORD_OPENED = "record_opened"  # witness: opened := g, if the register still is the known one
    ASK_AGAIN_LATER = "ask_again_later"  # arm the timer of RETRY
    CUT = "cut"  # close the primary's disk, data and control connections
    DROP_OPEN = "drop_open"  # drop what is not of a committed epoch: memory and disks
    END_OF_FILE = "end_of_file"  # the keeper lets go: the restore runs the copy behind shut vifs
    PAUSE_GUEST = "pause_guest"  # a restored copy does not run
    RESUME_GUEST = "resume_guest"  # a restored copy runs
    OPEN_OUTPUT = "open_output"  # open the copy's vifs
    ANNOUNCE = "announce"  # tell the network where the guest's addresses are, repeatedly
    TELL_BROKEN = "tell_broken"  # tell the primary that there is no copy; best effort
    DESTROY_COPY = "destroy_copy"  # kill the restore, destroy its domain; then the epoch stores
    CLEAN = "clean"  # remove what this session left: keeper, reserved memory, session file


@dataclass(frozen=True, slots=True)
class Facts:
    """What guards may look at; each field counts for the events named."""

    standing: Standing = Standing.UNKNOWN  # READ: what the register means to me
    opened: bool = False  # READ: the winner of the register's value has recorded its opening
    committed: bool = False  # RESTART: at least one epoch was committed
    restored: bool = False  # any: the domain has been restored and lives, running or paused
    broken: bool = False  # RESTART: restore dead, or a disk lost


LOST: Final = frozenset({Standing.OTHER, Standing.STILL_OTHER})


def won(facts: Facts) -> bool:
    """My own last proposal is what the register says."""
    return facts.standing is Standing.WON


def mine(facts: Facts) -> bool:
    """The value is mine to change."""
    return facts.standing in {Standing.WON, Standing.MINE, Standing.MY_PAIR}


def mine_alone(facts: Facts) -> bool:
    """The register names me alone: an earlier life of this process won, or it was given back."""
    return facts.standing in {Standing.WON, Standing.MINE}


def mine_restored(facts: Facts) -> bool:
    """The value is mine to change, and the copy lives behind shut vifs."""
    return facts.restored and mine(facts)


def mine_alone_opened(facts: Facts) -> bool:
    """I hold the register and have recorded that I open: the other may have destroyed its copy."""
    return facts.opened and mine_alone(facts)


def pending(facts: Facts) -> bool:
    """The primary holds the register as when this session began."""
    return facts.standing is Standing.PENDING


def stopped(facts: Facts) -> bool:
    """The guest was stopped on purpose."""
    return facts.standing is Standing.NONE


def lost_for_good(facts: Facts) -> bool:
    """A higher generation is another's, and that one has recorded that it opened."""
    return facts.standing in LOST and facts.opened


def lost(facts: Facts) -> bool:
    """A higher generation is held by another."""
    return facts.standing in LOST


def held_as_before(facts: Facts) -> bool:
    """Another holds the very value that was last read: the one that the operator speaks of."""
    return facts.standing in {Standing.STILL_OTHER, Standing.PENDING}


def restored(facts: Facts) -> bool:
    """The copy lives behind shut vifs."""
    return facts.restored


def broken(facts: Facts) -> bool:
    """The restore died or a disk is lost."""
    return facts.broken


def committed(facts: Facts) -> bool:
    """At least one epoch is committed: there is a copy."""
    return facts.committed


Rows = tuple[Row[State, Event, Facts, Action], ...]
S, E, A = State, Event, Action

ENDS: Final = (S.ALIVE, S.BROKEN, S.DESTROYED, S.STOPPED)
RECEIVES: Final = (S.RECEIVING, S.STANDBY)
READS: Final = (S.IN_DOUBT, S.SWAPPING, S.BEATEN, S.FENCING, S.GIVING_BACK)
SWAPS: Final = (S.SWAPPING, S.FENCING, S.GIVING_BACK)
WANTS: Final = (S.IN_DOUBT, S.SWAPPING, S.BEATEN, S.FENCING)  # have a copy, and want to live
SWAP_ANSWERS: Final = (E.SWAP_WON, E.SWAP_REFUSED, E.SWAP_UNKNOWN)
RECORD_ANSWERS: Final = (E.OPENED_RECORDED, E.RECORD_FAILED)
ANSWERS: Final = (E.READ, E.READ_FAILED, *SWAP_ANSWERS, *RECORD_ANSWERS)

GONE: Final = (A.DESTROY_COPY, A.CLEAN)
ASK: Final = (A.STOP_ACKS, A.READ)
PROMOTE: Final = (A.CUT, A.DROP_OPEN, A.END_OF_FILE)
KEEP: Final = (A.PAUSE_GUEST, A.ASK_AGAIN_LATER)

_RECEIVE: Rows = (
    *each(RECEIVES, E.COMMITTED, always, S.STANDBY, (A.ACK,), "this epoch is real here (G1)"),
    *each(
        (S.RECEIVING,), E.DOUBT, always, S.STOPPED, (A.STOP_ACKS, *GONE),
        "nothing committed: no copy, nothing to win (W1)",
    ),
    *each(
        (S.RECEIVING,), E.TOLD_STOP, always, S.STOPPED, (A.STOP_ACKS, *GONE),
        "nothing committed: no copy to lose",
    ),
    Row(S.STANDBY, E.DOUBT, always, S.IN_DOUBT, ASK, "stop acknowledging first, then read (W3)"),
    Row(S.STANDBY, E.TOLD_STOP, always, S.IN_DOUBT, ASK, "a message destroys nothing: read (W6)"),
    Row(S.STANDBY, E.TOLD_PROMOTE, always, S.IN_DOUBT, ASK, "planned failover is the same (W3)"),
    *each(
        RECEIVES, E.RESTORE_FAILED, always, S.BROKEN,
        (A.STOP_ACKS, A.TELL_BROKEN, *GONE),
        "the winner must be able to live: this one never swaps (W3)",
    ),
    Row(S.RETURNED, E.RESTART, broken, S.GIVING_BACK, (A.STOP_ACKS, A.READ), "see RESTORE_FAILED"),
    Row(S.RETURNED, E.RESTART, committed, S.IN_DOUBT, ASK, "the stream is lost, the copy is not"),
    Row(S.RETURNED, E.RESTART, always, S.STOPPED, (A.STOP_ACKS, *GONE), "there never was a copy"),
)  # fmt: skip

_PROMOTE: Rows = (
    Row(
        S.IN_DOUBT, E.READ, mine_restored, S.SWAPPING, (A.CUT, A.RESUME_GUEST, A.SWAP_TO_ME),
        "restored before this process began; a new process swaps itself (W2)",
    ),
    Row(
        S.IN_DOUBT, E.READ, mine, S.RESTORING, PROMOTE,
        "the pair: restore behind shut vifs before swapping (W3)",
    ),
    Row(
        S.RESTORING, E.RESTORED, always, S.SWAPPING, (A.SWAP_TO_ME,),
        "able to live: now swap (W3)",
    ),
    Row(
        S.RESTORING, E.RESTORE_FAILED, always, S.GIVING_BACK, (A.READ,),
        "cannot live: never swaps to itself (W3); returns what an earlier life may have won",
    ),
    *each(
        (S.SWAPPING, S.FENCING), E.SWAP_WON, always, S.OPENING, (A.RECORD_OPENED,),
        "nobody else can live now; written down before opening (W12)",
    ),
    *each(
        (S.SWAPPING, S.FENCING), E.READ, won, S.OPENING, (A.RECORD_OPENED,),
        "it won, its answer was lost (W5)",
    ),
    *each(
        (S.SWAPPING, S.FENCING), E.READ, mine, None, (A.SWAP_TO_ME,),
        "not yet: the same swap again; this copy never goes back to its session (W4)",
    ),
    Row(
        S.OPENING, E.OPENED_RECORDED, always, S.ALIVE,
        (A.RESUME_GUEST, A.OPEN_OUTPUT, A.ANNOUNCE),
        "won and written down: the copy is the guest (W12)",
    ),
)  # fmt: skip

_LOSE: Rows = (
    *each(
        WANTS, E.READ, stopped, S.DESTROYED, GONE,
        "stopped on purpose: not resurrected (W6, G5)",
    ),
    *each(
        WANTS, E.READ, lost_for_good, S.DESTROYED, GONE,
        "a higher generation is another's and that one lives (W5, W6, W12)",
    ),
    Row(
        S.FENCING, E.READ, held_as_before, S.FENCING, (A.SEIZE,),
        "its holder has not opened since and never will: the operator has seen to that (W8, W12)",
    ),
    *each(
        (S.IN_DOUBT, S.SWAPPING, S.FENCING), E.READ, lost, S.BEATEN, KEEP,
        "another has won but has not opened: keep the copy for it (W12)",
    ),
    Row(
        S.BEATEN, E.READ, mine_restored, S.SWAPPING, (A.RESUME_GUEST, A.SWAP_TO_ME),
        "given back: the winner could not live (W12); swap before opening (W2)",
    ),
    Row(
        S.BEATEN, E.READ, mine, S.RESTORING, PROMOTE,
        "given back, and not restored yet: restore first (W3)",
    ),
    *each(
        WANTS, E.READ, always, None, (A.ASK_AGAIN_LATER,),
        "no evidence, or not yet a pair: hold; a pair swap may be on its way (W1, W5, W9)",
    ),
    *each(
        (S.IN_DOUBT, S.BEATEN), E.OPERATOR_FENCED, restored, S.FENCING,
        (A.CUT, A.RESUME_GUEST, A.READ),
        "the operator's word on who was last read; read once more whether that has opened",
    ),
    *each(
        (S.IN_DOUBT, S.BEATEN), E.OPERATOR_FENCED, always, None, PROMOTE,
        "restore first; the operator asks again when it runs (W3)",
    ),
)  # fmt: skip

_GIVE_BACK: Rows = (
    *each(
        (*WANTS, S.OPENING), E.RESTORE_FAILED, always, S.GIVING_BACK,
        (A.READ,),
        "the copy died, perhaps with a swap on its way: it must not stay the winner (W3)",
    ),
    Row(
        S.GIVING_BACK, E.READ, mine_alone_opened, S.BROKEN, (A.TELL_BROKEN, *GONE),
        "written down as opened: the other copy may be destroyed already, nobody to give it to",
    ),
    Row(
        S.GIVING_BACK, E.READ, mine, S.GIVING_BACK, (A.SWAP_TO_PEER,),
        "to the peer, voiding a swap of ours that may be on its way",
    ),
    *each(
        (S.GIVING_BACK,), E.READ, lost, S.BROKEN, (A.TELL_BROKEN, *GONE), "the peer has it"
    ),
    *each((S.GIVING_BACK,), E.READ, stopped, S.BROKEN, GONE, "stopped on purpose"),
    *each(
        (S.GIVING_BACK,), E.READ, pending, S.BROKEN, (A.TELL_BROKEN, *GONE),
        "not a pair yet: no swap of ours can be on its way",
    ),
    Row(S.GIVING_BACK, E.READ, always, S.GIVING_BACK, (A.ASK_AGAIN_LATER,), "no evidence (W5)"),
    Row(S.GIVING_BACK, E.SWAP_WON, always, S.BROKEN, (A.TELL_BROKEN, *GONE), "the peer has it"),
)  # fmt: skip

_WITNESS: Rows = (
    *each(
        SWAPS, E.SWAP_REFUSED, always, None, (A.READ,),
        "a refusal alone proves nothing: read who holds it (W5)",
    ),
    *each(
        SWAPS, E.SWAP_UNKNOWN, always, None, (A.READ,),
        "nobody knows whether it won: only a reading tells (W5)",
    ),
    *each(
        READS, E.READ_FAILED, always, None, (A.ASK_AGAIN_LATER,),
        "hold and ask again, for ever (W5)",
    ),
    *each(READS, E.RETRY, always, None, (A.READ,), "ask again"),
    *each(
        (S.IN_DOUBT, S.BEATEN), E.TOLD_STOP, always, None, (A.READ,),
        "there may be news: read (W6)",
    ),
    Row(
        S.OPENING, E.RECORD_FAILED, always, S.OPENING, (A.ASK_AGAIN_LATER,),
        "not written down: not opened (W12)",
    ),
    Row(S.OPENING, E.RETRY, always, S.OPENING, (A.RECORD_OPENED,), "again"),
    *each(
        READS, E.STORE_ACCEPTED, always, None, (A.READ,),
        "the store's new life counts from now on (W9)",
    ),
    Row(
        S.RESTORING, E.STORE_ACCEPTED, always, S.IN_DOUBT, (A.READ,),
        "what was read is of its former life (W9); the restore goes on meanwhile",
    ),
    Row(
        S.OPENING, E.STORE_ACCEPTED, always, S.SWAPPING, (A.READ,), "ask again in its new life (W9)"
    ),
)  # fmt: skip

_SESSION_OVER: Final = all_but(S, *RECEIVES, S.RETURNED, *ENDS)

_REMARKS: tuple[Remark[State, Event], ...] = (
    *ignored(ENDS, all_but(E, E.RESTART), "the process has ended"),
    *impossible(all_but(S, S.RETURNED), (E.RESTART,), "only the first event, in RETURNED"),
    *impossible((S.RETURNED,), all_but(E, E.RESTART), "RESTART is the first event"),
    *impossible(
        (*RECEIVES, S.RESTORING), ANSWERS, "no request is outstanding that it would wait for"
    ),
    *impossible(
        (S.IN_DOUBT, S.BEATEN), (*SWAP_ANSWERS, *RECORD_ANSWERS), "only a read can be outstanding"
    ),
    *impossible(SWAPS, RECORD_ANSWERS, "no record is outstanding"),
    *impossible(
        (S.OPENING,), (E.READ, E.READ_FAILED, *SWAP_ANSWERS), "only a record is outstanding"
    ),
    *ignored((*RECEIVES, S.RESTORING), (E.RETRY,), "a timer armed in an earlier state"),
    *impossible(RECEIVES, (E.RESTORED,), "the keeper still holds the restore's pipe"),
    *ignored(
        (*WANTS, S.OPENING, S.GIVING_BACK),
        (E.RESTORED,),
        "a duplicate, or the operator's promotion: facts.restored tells",
    ),
    *ignored(
        _SESSION_OVER,
        (E.COMMITTED,),
        "after STOP_ACKS nothing is acknowledged",
    ),
    *ignored(
        _SESSION_OVER,
        (E.DOUBT, E.TOLD_PROMOTE),
        "under way already; the register decides",
    ),
    *ignored((S.RECEIVING,), (E.TOLD_PROMOTE,), "nothing committed: nothing to promote"),
    *ignored(
        (S.RESTORING, S.SWAPPING, S.FENCING, S.OPENING, S.GIVING_BACK),
        (E.TOLD_STOP,),
        "the swap or the next reading tells (W6)",
    ),
    *ignored((S.GIVING_BACK,), (E.RESTORE_FAILED,), "known already"),
    *ignored(
        (*RECEIVES, S.RESTORING, S.SWAPPING, S.FENCING, S.OPENING, S.GIVING_BACK),
        (E.OPERATOR_FENCED,),
        "nothing hangs on the other host's word here",
    ),
    *ignored(RECEIVES, (E.STORE_ACCEPTED,), "the next reading takes it up"),
)

TABLE: Final[Table[State, Event, Facts, Action]] = Table(
    "backup",
    State,
    Event,
    (*_RECEIVE, *_PROMOTE, *_LOSE, *_GIVE_BACK, *_WITNESS),
    _REMARKS,
)
