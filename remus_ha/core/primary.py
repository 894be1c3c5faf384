"""The primary's decisions: one table, for the process that protects a running guest.

How a runtime steps it:

* ``START`` for a new session of a guest whose output is as the operator left it (open); ``RESTART``
  when a process of an earlier life of this session is replaced: plugs that it left stay in force.
* Requests to the witness (``READ``, ``SWAP_*``, ``RECORD_OPENED``) are asynchronous: the action
  sends one, an event brings the answer. At most one is outstanding: sending one abandons the one
  before, whose answer, if it still comes, is dropped (it may nevertheless take effect). A
  terminal state abandons it too.
* After ``READ`` the runtime takes the reading into its ledger (``remus_ha.core.witness.read``) and
  passes the standing in the facts. An answer of WON to a swap is ``SWAP_WON``; a refusal or a
  rewound store is ``SWAP_REFUSED``; no answer in time is ``SWAP_UNKNOWN``.
* ``ASK_AGAIN_LATER`` arms a timer whose end is ``RETRY``; arming it again replaces it, a request
  disarms it.
* Actions of one step are executed in order, and again without harm.

No state but ``SYNCING``, ``PROTECTED`` and ``ALONE`` lets new output out; a plug once in force
stays in force until ``RELEASE_ONE`` or ``OPEN_OUTPUT``.
"""

import enum
from dataclasses import dataclass
from typing import Final

from remus_ha.core.table import Remark, Row, Table, all_but, always, each, ignored, impossible
from remus_ha.core.witness import Standing


class State(enum.Enum):
    """Where the primary's process stands."""

    NEW = "new"  # nothing done yet
    CLAIMING = "claiming"  # new session: reading and bumping; output untouched
    CLAIMED = "claimed"  # bump won, being written down as opened; output untouched
    SYNCING = "syncing"  # streaming epoch 0; unprotected
    PAIRING = "pairing"  # plugs in force, ACK(0) in, pair swap sent; output held
    PROTECTED = "protected"  # pair: output released by ACK(n)
    YIELDING = "yielding"  # planned failover: the last epoch is on its way
    YIELDED = "yielded"  # the backup holds it and was told to promote; the guest is kept, paused
    ASKING = "asking"  # session over, output held, bump wanted
    OPENING = "opening"  # bump won, being written down; output held
    ALONE = "alone"  # bump won and written down: unprotected, output open
    BEATEN = "beaten"  # another won: copy paused until the winner has opened
    FENCING = "fencing"  # the operator's word that the other host is dead: swap to me wanted
    RETURNING = "returning"  # unprotect: swap to me wanted; output held
    RETURNED = "returned"  # unprotect: swap won, being written down; output held
    ENDING = "ending"  # guest ended on purpose: swap to none wanted
    REBOOTING = "rebooting"  # guest asked for a reboot: swap to me wanted
    REBOOTED = "rebooted"  # swap won, being written down, then the guest is started again
    BROKEN = "broken"  # end: the guest asked for a reboot and could not be started again
    STOPPED = "stopped"  # end: on purpose
    DESTROYED = "destroyed"  # end: another has won, own copy destroyed
    REFUSED = "refused"  # end: never begun, guest untouched


class Event(enum.Enum):
    """What the runtime tells the table."""

    START = "start"  # a new session is wanted
    RESTART = "restart"  # this process replaces one that died
    READ = "read"  # answer to READ; facts.standing and facts.opened are its meaning
    READ_FAILED = "read_failed"  # no answer to READ in time, or an error
    RETRY = "retry"  # the timer of ASK_AGAIN_LATER
    SWAP_WON = "swap_won"  # definite: the proposed value is written
    SWAP_REFUSED = "swap_refused"  # definite: the register had another value; or store rewound
    SWAP_UNKNOWN = "swap_unknown"  # no answer: it may have won, may lose, may yet win
    OPENED_RECORDED = "opened_recorded"  # answer to RECORD_OPENED
    RECORD_FAILED = "record_failed"  # no answer to RECORD_OPENED, or an error
    FIRST_ACK = "first_ack"  # ACK(0) of this session
    ACK = "ack"  # ACK(n), n > 0, of this session; facts.outstanding tells whether it is due
    DOUBT = "doubt"  # no ACK(n) or no suspend within T, peer closed, stream failed, epoch aborted
    UNPROTECT = "unprotect"  # the operator ends the protection; the guest goes on here
    FAIL_OVER = "fail_over"  # the operator moves the guest to the backup
    CALLED_OFF = "called_off"  # the last epoch cannot begin: an operator has paused the guest
    TAKE_BACK = "take_back"  # the backup was told to promote and has not for long
    GUEST_SHUTDOWN = "guest_shutdown"  # the guest shut itself down
    GUEST_REBOOT = "guest_reboot"  # the guest asked for a reboot
    GUEST_CRASHED = "guest_crashed"  # the guest crashed inside
    GUEST_GONE = "guest_gone"  # the domain was destroyed by somebody
    RESTART_FAILED = "restart_failed"  # RESTART_GUEST could not create the domain again
    OPERATOR_FENCED = "operator_fenced"  # the operator's word that the other host is fenced
    STORE_ACCEPTED = "store_accepted"  # W9: both hosts have reported, or the operator decided


class Action(enum.Enum):
    """What the runtime does, in order. Each is idempotent."""

    READ = "read"  # witness: linearizable read
    SWAP_TO_ME = "swap_to_me"  # witness: known value -> witness.bump(ledger)
    SWAP_TO_PAIR = "swap_to_pair"  # witness: known value -> witness.pair(ledger)
    SWAP_TO_NONE = "swap_to_none"  # witness: known value -> witness.stop(ledger)
    SEIZE = "seize"  # witness: known value -> witness.seize(ledger), the other host being dead
    RECORD_OPENED = "record_opened"  # witness: opened := g, if the register still is the known one
    ASK_AGAIN_LATER = "ask_again_later"  # arm the timer of RETRY
    START_STREAM = "start_stream"  # connect, stream epoch 0, BUFFER from the first suspend on
    RELEASE_ONE = "release_one"  # every plug: release the acknowledged epoch; the next may follow
    HOLD = "hold"  # end the session: abort the stream, no more releases, plugs as they are, resume
    CUT = "cut"  # close the connections to the backup
    OPEN_OUTPUT = "open_output"  # every plug: release all and from now on; open shut vifs
    TELL_STOP = "tell_stop"  # tell the backup that the session has ended; best effort
    TELL_PROMOTE = "tell_promote"  # tell the backup to promote its copy; best effort
    FINAL_EPOCH = "final_epoch"  # the next epoch is the last: the guest stays suspended after it
    PAUSE_GUEST = "pause_guest"  # the guest does not run
    RESUME_GUEST = "resume_guest"  # the guest runs: unpaused, resumed, or started after a reboot
    RESTART_GUEST = "restart_guest"  # destroy the domain that asked for a reboot, create it again
    DESTROY_GUEST = "destroy_guest"  # destroy the domain, then its plugs
    CLEAN = "clean"  # remove what this protection left: plugs, ifbs, log-dirty mode, session file


@dataclass(frozen=True, slots=True)
class Facts:
    """What guards may look at; each field counts for the events named."""

    standing: Standing = Standing.UNKNOWN  # READ: what the register means to me
    opened: bool = False  # READ: the winner of the register's value has recorded its opening
    buffered: bool = False  # FIRST_ACK, READ in PAIRING: BUFFER is in force on every plug
    outstanding: bool = False  # ACK: it names the one outstanding (session, epoch)
    final: bool = False  # ACK: that epoch is the one of FINAL_EPOCH
    restart_on_crash: bool = False  # GUEST_CRASHED: the guest's on_crash says restart


LOST: Final = frozenset({Standing.OTHER, Standing.STILL_OTHER})


def won(facts: Facts) -> bool:
    """My own last proposal is what the register says."""
    return facts.standing is Standing.WON


def mine(facts: Facts) -> bool:
    """The value is mine to change: it names me, alone or in my pair."""
    return facts.standing in {Standing.WON, Standing.MINE, Standing.MY_PAIR}


def mine_alone(facts: Facts) -> bool:
    """The register names me alone."""
    return facts.standing in {Standing.WON, Standing.MINE}


def fresh(facts: Facts) -> bool:
    """There is no row and never was one: nobody can have a copy."""
    return facts.standing is Standing.FRESH


def absent(facts: Facts) -> bool:
    """There is no row."""
    return facts.standing in {Standing.FRESH, Standing.MISSING}


def my_pair(facts: Facts) -> bool:
    """The register says the pair of this session."""
    return facts.standing is Standing.MY_PAIR


def claimable(facts: Facts) -> bool:
    """A new session may begin from it: mine, never used, stopped, or my host's former life's."""
    if facts.standing is Standing.MY_HOST:
        return facts.opened
    return facts.standing in {Standing.MINE, Standing.FRESH, Standing.NONE}


def stopped(facts: Facts) -> bool:
    """The guest was stopped on purpose."""
    return facts.standing is Standing.NONE


def lost_for_good(facts: Facts) -> bool:
    """A higher generation is another's, and that one has recorded that it opened."""
    return facts.standing in LOST and facts.opened


def lost(facts: Facts) -> bool:
    """A higher generation is held by another."""
    return facts.standing in LOST


def lost_as_before(facts: Facts) -> bool:
    """Another holds the very value that was last read: the one that the operator speaks of."""
    return facts.standing is Standing.STILL_OTHER


def mine_and_buffered(facts: Facts) -> bool:
    """The pair may (still) be made: I hold the register and every plug is in force."""
    return facts.standing is Standing.MINE and facts.buffered


def buffered(facts: Facts) -> bool:
    """BUFFER is in force on every plug."""
    return facts.buffered


def outstanding(facts: Facts) -> bool:
    """The acknowledgement is the one that is due."""
    return facts.outstanding


def final(facts: Facts) -> bool:
    """The acknowledgement is the one that is due, and of the last epoch."""
    return facts.outstanding and facts.final


def restart_on_crash(facts: Facts) -> bool:
    """The guest is to be started again after a crash."""
    return facts.restart_on_crash


Rows = tuple[Row[State, Event, Facts, Action], ...]
S, E, A = State, Event, Action

ENDS: Final = (S.BROKEN, S.STOPPED, S.DESTROYED, S.REFUSED)
IN_SESSION: Final = (S.SYNCING, S.PAIRING, S.PROTECTED, S.YIELDING, S.YIELDED)
TO_ME: Final = (S.ASKING, S.FENCING, S.RETURNING, S.REBOOTING)  # all want (g+1, me)
RECORDING: Final = (S.CLAIMED, S.OPENING, S.RETURNED, S.REBOOTED)
SWAPPING: Final = (S.CLAIMING, S.PAIRING, *TO_ME, S.ENDING)
READING: Final = (*SWAPPING, S.YIELDED, S.BEATEN)
CLAIMS: Final = (S.CLAIMING, S.CLAIMED)
HERE: Final = (*IN_SESSION, S.ASKING, S.FENCING, S.OPENING, S.ALONE)  # the guest is, and is watched
GUEST_EVENTS: Final = (E.GUEST_SHUTDOWN, E.GUEST_REBOOT, E.GUEST_CRASHED, E.GUEST_GONE)
SWAP_ANSWERS: Final = (E.SWAP_WON, E.SWAP_REFUSED, E.SWAP_UNKNOWN)
RECORD_ANSWERS: Final = (E.OPENED_RECORDED, E.RECORD_FAILED)
ANSWERS: Final = (E.READ, E.READ_FAILED, *SWAP_ANSWERS, *RECORD_ANSWERS)

AGAIN: Final = (A.RESTART_GUEST, A.OPEN_OUTPUT, A.CLEAN)
PAUSED: Final = (A.PAUSE_GUEST, A.ASK_AGAIN_LATER)
GONE: Final = (A.DESTROY_GUEST, A.CLEAN)
ASK: Final = (A.HOLD, A.CUT, A.READ)

_CLAIM: Rows = (
    Row(S.NEW, E.START, always, S.CLAIMING, (A.READ,), "every session begins with a bump (W2)"),
    Row(S.ALONE, E.START, always, S.CLAIMING, (A.READ,), "a new session of the same process"),
    Row(S.NEW, E.RESTART, always, S.ASKING, (A.READ,), "every process begins with a bump (W2)"),
    Row(
        S.CLAIMING, E.READ, won, S.CLAIMED, (A.RECORD_OPENED,),
        "the bump won, its answer was lost (W5)",
    ),
    Row(
        S.CLAIMING, E.READ, claimable, S.CLAIMING, (A.SWAP_TO_ME,),
        "the bump voids whatever an earlier process may have on its way (W2)",
    ),
    Row(S.CLAIMING, E.READ, my_pair, S.ASKING, ASK, "an older session's pair: hold, leave it"),
    Row(
        S.CLAIMING, E.READ, always, S.REFUSED, (),
        "another's register, or one that proves nothing, is not mine to change (W8)",
    ),
    Row(S.CLAIMING, E.READ_FAILED, always, S.CLAIMING, (A.ASK_AGAIN_LATER,), "the witness is out"),
    Row(
        S.CLAIMING, E.SWAP_WON, always, S.CLAIMED, (A.RECORD_OPENED,),
        "output is open in this generation: written down before a peer may hold a copy (W12)",
    ),
    Row(
        S.CLAIMED, E.OPENED_RECORDED, always, S.SYNCING, (A.START_STREAM,),
        "the register says (g, me): the backup can win nothing yet (W1)",
    ),
)  # fmt: skip

_SESSION: Rows = (
    Row(
        S.SYNCING, E.FIRST_ACK, buffered, S.PAIRING, (A.SWAP_TO_PAIR,),
        "the backup holds epoch 0 and nothing leaves unbuffered: now it may win (W1)",
    ),
    Row(S.SYNCING, E.FIRST_ACK, always, S.ASKING, ASK, "a plug is not in force: no pair (W1)"),
    Row(
        S.PAIRING, E.SWAP_WON, always, S.PROTECTED, (A.RELEASE_ONE,),
        "a pair, and epoch 0 is acknowledged",
    ),
    Row(
        S.PAIRING, E.READ, my_pair, S.PROTECTED, (A.RELEASE_ONE,),
        "the pair swap has won, its answer was lost (W5); no swap out of it has been sent (W4)",
    ),
    Row(
        S.PAIRING, E.READ, mine_and_buffered, S.PAIRING, (A.SWAP_TO_PAIR,),
        "not yet: the same swap again, it can win only once",
    ),
    Row(S.PAIRING, E.READ, mine_alone, S.ASKING, ASK, "a plug fell out of force: no pair (W1)"),
    Row(
        S.PAIRING, E.READ, lost, S.ASKING, ASK,
        "the pair had formed and the backup has won: end the session, then read that again",
    ),
    Row(S.PAIRING, E.READ, stopped, S.ASKING, ASK, "stopped: end the session, then read again"),
    Row(
        S.PAIRING, E.READ, always, S.PAIRING, (A.ASK_AGAIN_LATER,),
        "no evidence: output stays held (W5); DOUBT ends the session",
    ),
    Row(
        S.PROTECTED, E.ACK, outstanding, S.PROTECTED, (A.RELEASE_ONE,),
        "the backup holds all of epoch n: its output may leave (G1)",
    ),
    Row(
        S.PROTECTED, E.ACK, always, S.PROTECTED, (),
        "a duplicate or an older one would release the next epoch early",
    ),
    *each(
        (S.SYNCING, S.PAIRING, S.PROTECTED), E.DOUBT, always, S.ASKING, ASK,
        "hold and ask; an abort begins with a bump, also of a pair swap on its way (W2, W10)",
    ),
)  # fmt: skip

_PLANNED: Rows = (
    Row(
        S.PROTECTED, E.FAIL_OVER, always, S.YIELDING, (A.FINAL_EPOCH,),
        "the next epoch is the last one; the guest stays suspended after it",
    ),
    Row(
        S.YIELDING, E.ACK, final, S.YIELDED,
        (A.RELEASE_ONE, A.PAUSE_GUEST, A.TELL_PROMOTE, A.ASK_AGAIN_LATER),
        "the backup promotes as ever; the copy here is kept until the result is read (W3)",
    ),
    Row(
        S.YIELDING, E.ACK, outstanding, S.YIELDING, (A.RELEASE_ONE,),
        "still the session's pair, and the backup holds that epoch",
    ),
    Row(S.YIELDING, E.ACK, always, S.YIELDING, (), "not the one that is due"),
    Row(
        S.YIELDING, E.CALLED_OFF, always, S.PROTECTED, (),
        "it was not to happen some day, when somebody lets the guest go on",
    ),
    Row(
        S.YIELDING, E.DOUBT, always, S.ASKING, ASK,
        "the last epoch did not get there: bump out of the pair, go on here",
    ),
    *each((S.YIELDED,), E.RETRY, always, S.YIELDED, (A.READ,), "has it promoted?"),
    Row(
        S.YIELDED, E.DOUBT, always, S.YIELDED, (A.READ,),
        "its connections end as it promotes, or because it died: the register tells",
    ),
    *each(
        (S.YIELDED,), E.READ, lost, S.ASKING, ASK,
        "it has: end the session, the copy kept paused, then read that again",
    ),
    Row(S.YIELDED, E.READ, stopped, S.ASKING, ASK, "it has, and was stopped since: likewise"),
    Row(
        S.YIELDED, E.READ, mine_alone, S.ASKING, ASK,
        "given back: the copy there could not live (W12); bump before opening (W2)",
    ),
    Row(
        S.YIELDED, E.READ, always, S.YIELDED, (A.ASK_AGAIN_LATER,),
        "not yet, or no evidence (W5)",
    ),
    Row(S.YIELDED, E.READ_FAILED, always, S.YIELDED, (A.ASK_AGAIN_LATER,), "the witness is out"),
    Row(
        S.YIELDED, E.TAKE_BACK, always, S.ASKING, ASK,
        "it takes too long: bump out of the pair; if it wins first, that is read (W2, W10)",
    ),
)  # fmt: skip

_ASKING: Rows = (
    *each(TO_ME, E.READ, stopped, S.DESTROYED, GONE, "stopped on purpose, after me (W6, G5)"),
    *each(
        TO_ME, E.READ, lost_for_good, S.DESTROYED, GONE,
        "a higher generation is another's and that one lives (W5, W6, W12)",
    ),
    Row(
        S.FENCING, E.READ, lost_as_before, S.FENCING, (A.SEIZE,),
        "its winner has not opened and never will: the operator has seen to that (W8, W12)",
    ),
    *each(
        TO_ME, E.READ, lost, S.BEATEN, PAUSED,
        "another has won but has not opened: keep the copy for it (W12)",
    ),
    *each(
        (S.ASKING, S.FENCING), E.READ, won, S.OPENING, (A.RECORD_OPENED,),
        "the swap won, its answer was lost (W5)",
    ),
    Row(S.RETURNING, E.READ, won, S.RETURNED, (A.TELL_STOP, A.RECORD_OPENED), "won, see W5"),
    Row(S.REBOOTING, E.READ, won, S.REBOOTED, (A.TELL_STOP, A.RECORD_OPENED), "won, see W5"),
    *each(
        TO_ME, E.READ, mine, None, (A.SWAP_TO_ME,),
        "mine or my pair: only a swap of this process opens anything (W2)",
    ),
    *each(TO_ME, E.READ, fresh, None, (A.SWAP_TO_ME,), "never claimed by anybody: claim it"),
    *each(
        TO_ME, E.READ, always, None, (A.ASK_AGAIN_LATER,),
        "missing, rewound or older than known proves nothing: hold (W5, W9)",
    ),
    *each(
        (S.ASKING, S.FENCING), E.SWAP_WON, always, S.OPENING, (A.RECORD_OPENED,),
        "all that names an older generation is void; written down before opening (W2, W12)",
    ),
    Row(
        S.OPENING, E.OPENED_RECORDED, always, S.ALONE,
        (A.RESUME_GUEST, A.OPEN_OUTPUT),
        "bumped and written down: output may leave, unprotected (W2)",
    ),
    Row(
        S.BEATEN, E.READ, lost_for_good, S.DESTROYED, GONE,
        "the winner has opened its output: this copy is not needed (W12)",
    ),
    Row(S.BEATEN, E.READ, stopped, S.DESTROYED, GONE, "the winner was stopped on purpose (G5)"),
    Row(
        S.BEATEN, E.READ, mine, S.ASKING, (A.SWAP_TO_ME,),
        "given back: the winner could not live (W12); bump before opening (W2)",
    ),
    Row(S.BEATEN, E.READ, always, S.BEATEN, (A.ASK_AGAIN_LATER,), "keep the copy, paused (W12)"),
    *each(
        (S.ASKING, S.BEATEN), E.OPERATOR_FENCED, always, S.FENCING, (A.READ,),
        "the operator's word on who was last read; read once more whether that has opened",
    ),
)  # fmt: skip

_INTENT: Rows = (
    *each(
        (*IN_SESSION, S.ASKING, S.FENCING), E.UNPROTECT, always, S.RETURNING, (A.HOLD, A.READ),
        "intent first: swap, then tell, then release (W7)",
    ),
    Row(
        S.RETURNING, E.SWAP_WON, always, S.RETURNED, (A.TELL_STOP, A.RECORD_OPENED),
        "the backup can no longer win",
    ),
    Row(
        S.RETURNED, E.OPENED_RECORDED, always, S.STOPPED,
        (A.RESUME_GUEST, A.OPEN_OUTPUT, A.CUT, A.CLEAN),
        "bumped and written down: output may leave (W2)",
    ),
    Row(
        S.OPENING, E.UNPROTECT, always, S.RETURNED, (A.RECORD_OPENED,),
        "already back with me alone",
    ),
    *each(
        (S.NEW, S.CLAIMING, S.CLAIMED, S.ALONE), E.UNPROTECT, always, S.STOPPED, (A.CLEAN,),
        "no pair has been proposed since the last bump: nobody else can win",
    ),
    *(
        row
        for event in (E.GUEST_SHUTDOWN, E.GUEST_GONE)
        for row in each(
            (*CLAIMS, *HERE), event, always, S.ENDING, (A.HOLD, A.READ),
            "on purpose: swap to none before anything is told or cleaned (W7)",
        )
    ),
    *each(
        CLAIMS, E.GUEST_CRASHED, restart_on_crash, S.STOPPED, AGAIN,
        "the guest's on_crash says restart: as a reboot",
    ),
    *each(
        CLAIMS, E.GUEST_REBOOT, always, S.STOPPED, AGAIN,
        "nobody else can have a copy yet, and output was open; the domain to protect is gone",
    ),
    Row(
        S.ALONE, E.RESTART_FAILED, always, S.BROKEN, (),
        "there is no guest any more; its configuration is kept for the operator",
    ),
    *each(
        HERE, E.GUEST_CRASHED, restart_on_crash, S.REBOOTING, (A.HOLD, A.READ),
        "the guest's on_crash says restart: as a reboot",
    ),
    *each(
        (*CLAIMS, *HERE), E.GUEST_CRASHED, always, S.ENDING, (A.HOLD, A.READ),
        "a crash inside is the guest's own end: as a shutdown",
    ),
    *each(
        HERE, E.GUEST_REBOOT, always, S.REBOOTING, (A.HOLD, A.READ),
        "the reboot is done by us, after the swap (W7)",
    ),
    Row(S.ENDING, E.READ, stopped, S.STOPPED, (A.TELL_STOP, *GONE), "the swap to none has won"),
    Row(
        S.ENDING, E.READ, absent, S.ENDING, (A.SWAP_TO_NONE,),
        "the intent is written all the same; a claim of ours may be on its way: void it",
    ),
    Row(S.ENDING, E.READ, mine, S.ENDING, (A.SWAP_TO_NONE,), "intent first (W7)"),
    Row(
        S.ENDING, E.READ, lost_for_good, S.DESTROYED, GONE,
        "the backup had won, and opened, before the guest ended",
    ),
    Row(S.ENDING, E.READ, always, S.ENDING, (A.ASK_AGAIN_LATER,), "no evidence, or not yet (W5)"),
    Row(
        S.ENDING, E.SWAP_WON, always, S.STOPPED, (A.TELL_STOP, *GONE),
        "nobody resurrects it (G5): tell, then clean",
    ),
    Row(
        S.REBOOTING, E.SWAP_WON, always, S.REBOOTED, (A.TELL_STOP, A.RECORD_OPENED),
        "the backup can no longer win",
    ),
    Row(
        S.REBOOTED, E.OPENED_RECORDED, always, S.ALONE, (A.RESTART_GUEST, A.OPEN_OUTPUT),
        "bumped and written down; its new vifs come up shut and are opened now",
    ),
    *(
        row
        for event in (E.GUEST_SHUTDOWN, E.GUEST_GONE)
        for row in each(
            (S.RETURNING, S.RETURNED, S.REBOOTING, S.REBOOTED), event, always, S.ENDING, (A.READ,),
            "it ended meanwhile: swap to none (W7)",
        )
    ),
    *each(
        (S.RETURNING, S.RETURNED), E.GUEST_REBOOT, always, S.REBOOTING, (A.READ,),
        "the reboot is done by us, after the swap (W7)",
    ),
    *each(
        (S.RETURNING, S.RETURNED), E.GUEST_CRASHED, restart_on_crash, S.REBOOTING, (A.READ,),
        "as a reboot",
    ),
    *each(
        (S.RETURNING, S.RETURNED), E.GUEST_CRASHED, always, S.ENDING, (A.READ,), "as a shutdown"
    ),
    *(
        row
        for event in (E.GUEST_SHUTDOWN, E.GUEST_GONE)
        for row in each(
            (S.BEATEN,), event, always, S.ENDING, (A.READ,),
            "no copy to keep any more: if it is given back, it was stopped (W7)",
        )
    ),
    Row(
        S.BEATEN, E.GUEST_CRASHED, restart_on_crash, S.BEATEN, (),
        "if it is given back it is started again",
    ),
    Row(S.BEATEN, E.GUEST_CRASHED, always, S.ENDING, (A.READ,), "as a shutdown"),
)  # fmt: skip

_WITNESS: Rows = (
    *each(
        SWAPPING, E.SWAP_REFUSED, always, None, (A.READ,),
        "a refusal alone proves nothing: read who holds it (W5)",
    ),
    *each(
        SWAPPING, E.SWAP_UNKNOWN, always, None, (A.READ,),
        "nobody knows whether it won: only a reading tells (W5)",
    ),
    *each(
        (S.PAIRING, *TO_ME, S.ENDING, S.BEATEN), E.READ_FAILED, always, None,
        (A.ASK_AGAIN_LATER,), "hold and ask again, for ever (W5)",
    ),
    *each(
        (S.CLAIMING, S.PAIRING, *TO_ME, S.ENDING, S.BEATEN), E.RETRY, always, None, (A.READ,),
        "ask again",
    ),
    *each(
        RECORDING, E.RECORD_FAILED, always, None, (A.ASK_AGAIN_LATER,),
        "not written down: not opened (W12)",
    ),
    *each(RECORDING, E.RETRY, always, None, (A.RECORD_OPENED,), "again"),
    *each(
        (S.CLAIMING, *TO_ME, S.ENDING, S.BEATEN), E.STORE_ACCEPTED, always, None, (A.READ,),
        "the store's new life counts from now on (W9)",
    ),
    Row(S.CLAIMED, E.STORE_ACCEPTED, always, S.CLAIMING, (A.READ,), "claim again in its new life"),
    Row(S.OPENING, E.STORE_ACCEPTED, always, S.ASKING, (A.READ,), "ask again in its new life"),
    Row(S.RETURNED, E.STORE_ACCEPTED, always, S.RETURNING, (A.READ,), "ask again in its new life"),
    Row(S.REBOOTED, E.STORE_ACCEPTED, always, S.REBOOTING, (A.READ,), "ask again in its new life"),
    *each(
        IN_SESSION, E.STORE_ACCEPTED, always, S.ASKING, ASK,
        "the session's generation is of the store's former life: begin anew with a bump (W9)",
    ),
)  # fmt: skip

_LIVE: Final = all_but(S, S.NEW, *ENDS)

_REMARKS: tuple[Remark[State, Event], ...] = (
    *ignored(ENDS, all_but(E, E.START, E.RESTART), "the process has ended"),
    *impossible(ENDS, (E.START, E.RESTART), "a new process begins in NEW"),
    *impossible(all_but(S, S.NEW, S.ALONE, *ENDS), (E.START,), "a session is under way"),
    *impossible(_LIVE, (E.RESTART,), "only the first event of a process"),
    *impossible(
        (S.NEW,),
        all_but(E, E.START, E.RESTART, E.UNPROTECT),
        "nothing has been started, asked or watched yet",
    ),
    *impossible(
        (S.SYNCING, S.PROTECTED, S.YIELDING, S.ALONE), ANSWERS, "no request is outstanding"
    ),
    *impossible(all_but(S, S.NEW, S.ALONE, *ENDS), (E.RESTART_FAILED,), "only after RESTART_GUEST"),
    *impossible(RECORDING, (E.READ, E.READ_FAILED, *SWAP_ANSWERS), "only a record is outstanding"),
    *impossible(SWAPPING, RECORD_ANSWERS, "no record is outstanding"),
    *impossible(
        (S.YIELDED, S.BEATEN), (*SWAP_ANSWERS, *RECORD_ANSWERS), "only a read can be outstanding"
    ),
    *ignored(
        (S.SYNCING, S.PROTECTED, S.YIELDING, S.ALONE),
        (E.RETRY,),
        "a timer armed in an earlier state",
    ),
    *impossible((S.CLAIMING, S.CLAIMED), (E.FIRST_ACK, E.ACK), "no stream has been started"),
    *impossible((S.SYNCING,), (E.ACK,), "ACK(0) comes first, and pairs"),
    *ignored((S.PAIRING, S.PROTECTED, S.YIELDING, S.YIELDED), (E.FIRST_ACK,), "a duplicate"),
    *ignored((S.YIELDED,), (E.ACK,), "a duplicate: no epoch follows the last one"),
    *ignored(all_but(S, S.NEW, S.YIELDED, *ENDS), (E.TAKE_BACK,), "nothing to take back"),
    *ignored(all_but(S, S.NEW, S.YIELDING, *ENDS), (E.CALLED_OFF,), "nothing to call off"),
    *ignored((S.PAIRING,), (E.ACK,), "no epoch follows before the pair: not ours"),
    *ignored(
        (*TO_ME, S.OPENING, S.RETURNED, S.REBOOTED, S.ALONE, S.BEATEN, S.ENDING),
        (E.FIRST_ACK, E.ACK, E.DOUBT),
        "the session is over: late news of it releases nothing (W4)",
    ),
    *ignored((S.CLAIMING, S.CLAIMED), (E.DOUBT,), "no session to doubt yet"),
    *ignored((S.RETURNING, S.RETURNED), (E.UNPROTECT,), "already under way"),
    *ignored((S.BEATEN,), (E.UNPROTECT,), "the winner decides; this copy waits for it"),
    *ignored(
        (S.ENDING, S.REBOOTING, S.REBOOTED), (E.UNPROTECT,), "this ends the protection anyway"
    ),
    *ignored(all_but(S, S.NEW, S.PROTECTED, *ENDS), (E.FAIL_OVER,), "no protected session to move"),
    *ignored((S.ENDING,), GUEST_EVENTS, "already ending"),
    *ignored(
        (S.REBOOTING, S.REBOOTED), (E.GUEST_REBOOT, E.GUEST_CRASHED), "it is started again anyway"
    ),
    *ignored((S.BEATEN,), (E.GUEST_REBOOT,), "if it is given back it is started again"),
    *ignored(
        all_but(S, S.NEW, S.ASKING, S.BEATEN, *ENDS),
        (E.OPERATOR_FENCED,),
        "nothing hangs on the other host",
    ),
    *ignored((S.ALONE,), (E.STORE_ACCEPTED,), "the next session's reading takes it up"),
)

TABLE: Final[Table[State, Event, Facts, Action]] = Table(
    "primary",
    State,
    Event,
    (*_CLAIM, *_SESSION, *_PLANNED, *_ASKING, *_INTENT, *_WITNESS),
    _REMARKS,
)
