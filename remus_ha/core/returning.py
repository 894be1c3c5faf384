"""A host that comes back: what it may do with a guest whose session it has forgotten.

For a host where no process of the guest's protection runs. A host crash has lost the session's
nonce; an autostarted domain is a *stale copy*: booted from this host's disk, its vifs shut. The
model checker steps this table; no process does yet, because ``ASK_PEER`` needs an agent on the
other host. Until there is one the operator does what it says (ADR 0009). Guarantees: nothing is
destroyed without a reading that says another lives (W6); nothing is opened without a won swap of
this process that was written down (W2, W12); a win that never opened goes back to the peer if the
peer still has its copy (W12).

Stepped like ``remus_ha.core.primary``. ``ASK_PEER`` asks the other host's agent whether a process
of this guest's protection there holds a copy (not a stale one) with at least one epoch. The
answer carries that party's identity, which the ledger takes as ``peer``, and its session's
generation; a copy that ``witness.is_obsolete`` counts as none.
"""

import enum
from dataclasses import dataclass
from typing import Final

from remus_ha.core.table import Remark, Row, Table, all_but, always, each, ignored, impossible
from remus_ha.core.witness import Standing


class State(enum.Enum):
    """Where the clean-up stands."""

    NEW = "new"  # nothing done yet; everything found stays as it is
    LOOKING = "looking"  # reading the register, again and again
    ASKING_PEER = "asking_peer"  # an earlier life of this host held it and may never have opened
    CLAIMING = "claiming"  # swap to me wanted
    OPENING = "opening"  # swap won, being written down
    GIVING_BACK = "giving_back"  # swap to the peer wanted
    LEFT = "left"  # end: the session is alive, its own process goes on with RESTART
    OPEN = "open"  # end: this host's copy is the guest
    CLEANED = "cleaned"  # end: another lives or the guest was stopped; nothing is left here


class Event(enum.Enum):
    """What the runtime tells the table."""

    START = "start"  # left-overs of a guest have been found
    READ = "read"  # answer to READ; facts.standing and facts.opened are its meaning
    READ_FAILED = "read_failed"  # no answer to READ in time, or an error
    RETRY = "retry"  # the timer of ASK_AGAIN_LATER
    PEER_HAS_COPY = "peer_has_copy"  # answer to ASK_PEER; facts.standing is that of the last READ
    PEER_HAS_NONE = "peer_has_none"  # answer to ASK_PEER
    PEER_SILENT = "peer_silent"  # no answer to ASK_PEER in time
    SWAP_WON = "swap_won"  # definite: the proposed value is written
    SWAP_REFUSED = "swap_refused"  # definite: the register had another value; or store rewound
    SWAP_UNKNOWN = "swap_unknown"  # no answer
    OPENED_RECORDED = "opened_recorded"  # answer to RECORD_OPENED
    RECORD_FAILED = "record_failed"  # no answer to RECORD_OPENED, or an error
    STORE_ACCEPTED = "store_accepted"  # W9: both hosts have reported, or the operator decided


class Action(enum.Enum):
    """What the runtime does, in order. Each is idempotent."""

    READ = "read"  # witness: linearizable read
    ASK_PEER = "ask_peer"  # ask the peer's agent whether it holds a copy
    SWAP_TO_ME = "swap_to_me"  # witness: known value -> witness.bump(ledger)
    SWAP_TO_PEER = "swap_to_peer"  # witness: known value -> witness.give_back(ledger)
    RECORD_OPENED = "record_opened"  # witness: opened := g, if the register still is the known one
    ASK_AGAIN_LATER = "ask_again_later"  # arm the timer of RETRY
    START_GUEST = "start_guest"  # the guest runs: as found, resumed, or booted from this disk
    OPEN_OUTPUT = "open_output"  # open its vifs
    DESTROY_COPY = "destroy_copy"  # destroy what is here of the guest, then its plugs
    CLEAN = "clean"  # remove what the protection left: plugs, ifbs, session file


@dataclass(frozen=True, slots=True)
class Facts:
    """What guards may look at."""

    standing: Standing = Standing.UNKNOWN  # READ, PEER_*: what the register means to this host
    opened: bool = False  # READ: the winner of the register's value has recorded its opening


LOST: Final = frozenset({Standing.OTHER, Standing.STILL_OTHER})


def won(facts: Facts) -> bool:
    """My own last proposal is what the register says."""
    return facts.standing is Standing.WON


def mine(facts: Facts) -> bool:
    """This life of this host holds it alone."""
    return facts.standing is Standing.MINE


def my_pair(facts: Facts) -> bool:
    """The pair of a session that this life of the host knows."""
    return facts.standing is Standing.MY_PAIR


def sole_holder_died(facts: Facts) -> bool:
    """An earlier life of this host was the only holder, and had opened."""
    return facts.standing is Standing.MY_HOST and facts.opened


def unopened(facts: Facts) -> bool:
    """An earlier life of this host won and may never have opened."""
    return facts.standing is Standing.MY_HOST


def held_before(facts: Facts) -> bool:
    """An earlier life of this host held it, alone or in a pair."""
    return facts.standing in {Standing.MY_HOST, Standing.MY_HOST_PAIR}


def was_backup(facts: Facts) -> bool:
    """A pair whose backup was an earlier life of this host."""
    return facts.standing is Standing.MY_HOST_BACKUP


def lost_for_good(facts: Facts) -> bool:
    """Another holds it and has recorded that it opened."""
    return facts.standing in LOST and facts.opened


def stopped(facts: Facts) -> bool:
    """The guest was stopped on purpose."""
    return facts.standing is Standing.NONE


Rows = tuple[Row[State, Event, Facts, Action], ...]
S, E, A = State, Event, Action

ENDS: Final = (S.LEFT, S.OPEN, S.CLEANED)
SWAPS: Final = (S.CLAIMING, S.GIVING_BACK)
LIVE: Final = all_but(S, S.NEW, *ENDS)
SWAP_ANSWERS: Final = (E.SWAP_WON, E.SWAP_REFUSED, E.SWAP_UNKNOWN)
RECORD_ANSWERS: Final = (E.OPENED_RECORDED, E.RECORD_FAILED)
PEER_ANSWERS: Final = (E.PEER_HAS_COPY, E.PEER_HAS_NONE, E.PEER_SILENT)
GONE: Final = (A.DESTROY_COPY, A.CLEAN)

_ROWS: Rows = (
    Row(S.NEW, E.START, always, S.LOOKING, (A.READ,), "the register decides, not what is here"),
    Row(
        S.LOOKING, E.READ, lost_for_good, S.CLEANED, GONE,
        "another lives: what is here is not the guest (W6)",
    ),
    Row(S.LOOKING, E.READ, stopped, S.CLEANED, GONE, "stopped on purpose (G5)"),
    Row(S.LOOKING, E.READ, won, S.OPENING, (A.RECORD_OPENED,), "the claim won (W5)"),
    Row(S.LOOKING, E.READ, mine, S.CLAIMING, (A.SWAP_TO_ME,), "bump before opening (W2)"),
    Row(S.LOOKING, E.READ, my_pair, S.LEFT, (), "a pair: nothing of it is touched here"),
    Row(
        S.LOOKING, E.READ, sole_holder_died, S.CLAIMING, (A.SWAP_TO_ME,),
        "nobody else can have a copy: the guest boots again here (W8: its holder's host)",
    ),
    Row(
        S.LOOKING, E.READ, held_before, S.ASKING_PEER, (A.ASK_PEER,),
        "won, or paired, and perhaps never opened: the peer's copy comes first (W12)",
    ),
    Row(
        S.LOOKING, E.READ, was_backup, S.LOOKING, (A.ASK_AGAIN_LATER,),
        "a swap out of the pair by this host's earlier life may be on its way: stay for it (W12)",
    ),
    Row(S.LOOKING, E.READ, always, S.LOOKING, (A.ASK_AGAIN_LATER,), "no evidence: hold (W5)"),
    Row(S.LOOKING, E.READ_FAILED, always, S.LOOKING, (A.ASK_AGAIN_LATER,), "hold (W5)"),
    Row(S.LOOKING, E.RETRY, always, S.LOOKING, (A.READ,), "ask again"),
    Row(
        S.ASKING_PEER, E.PEER_HAS_COPY, unopened, S.GIVING_BACK, (A.SWAP_TO_PEER,),
        "the win never opened here: the guest goes back to the peer (W12)",
    ),
    Row(
        S.ASKING_PEER, E.PEER_HAS_COPY, always, S.LOOKING, (A.ASK_AGAIN_LATER,),
        "a pair: the peer promotes itself",
    ),
    Row(
        S.ASKING_PEER, E.PEER_HAS_NONE, always, S.CLAIMING, (A.SWAP_TO_ME,),
        "no copy is left anywhere: the guest boots again where its image counts",
    ),
    Row(S.ASKING_PEER, E.PEER_SILENT, always, S.LOOKING, (A.ASK_AGAIN_LATER,), "hold (W5)"),
    Row(
        S.CLAIMING, E.SWAP_WON, always, S.OPENING, (A.RECORD_OPENED,),
        "all older generations are void; written down before opening (W12)",
    ),
    Row(
        S.OPENING, E.OPENED_RECORDED, always, S.OPEN, (A.START_GUEST, A.OPEN_OUTPUT, A.CLEAN),
        "claimed and written down (W2)",
    ),
    Row(S.OPENING, E.RECORD_FAILED, always, S.OPENING, (A.ASK_AGAIN_LATER,), "not opened (W12)"),
    Row(S.OPENING, E.RETRY, always, S.OPENING, (A.RECORD_OPENED,), "again"),
    Row(S.GIVING_BACK, E.SWAP_WON, always, S.CLEANED, GONE, "the peer has it"),
    *each(SWAPS, E.SWAP_REFUSED, always, S.LOOKING, (A.READ,), "read who holds it (W5)"),
    *each(SWAPS, E.SWAP_UNKNOWN, always, S.LOOKING, (A.READ,), "only a reading tells (W5)"),
    *each(
        LIVE, E.STORE_ACCEPTED, always, S.LOOKING, (A.READ,), "look again in its new life (W9)"
    ),
)  # fmt: skip

_REMARKS: tuple[Remark[State, Event], ...] = (
    *ignored(ENDS, all_but(E, E.START), "the process has ended"),
    *impossible(all_but(S, S.NEW), (E.START,), "only the first event"),
    *impossible((S.NEW,), all_but(E, E.START), "START is the first event"),
    *impossible((S.LOOKING,), (*SWAP_ANSWERS, *RECORD_ANSWERS), "only a read is outstanding"),
    *ignored((S.LOOKING,), PEER_ANSWERS, "asked in an earlier state; asked again when it matters"),
    *impossible(
        (S.ASKING_PEER,),
        (E.READ, E.READ_FAILED, *SWAP_ANSWERS, *RECORD_ANSWERS),
        "only the peer was asked",
    ),
    *impossible(SWAPS, (E.READ, E.READ_FAILED, *RECORD_ANSWERS), "only a swap is outstanding"),
    *impossible(
        (S.OPENING,), (E.READ, E.READ_FAILED, *SWAP_ANSWERS), "only a record is outstanding"
    ),
    *ignored((S.OPENING, *SWAPS), PEER_ANSWERS, "a duplicate"),
    *ignored((S.ASKING_PEER, *SWAPS), (E.RETRY,), "a request disarms the timer"),
)

TABLE: Final[Table[State, Event, Facts, Action]] = Table("returning", State, Event, _ROWS, _REMARKS)
