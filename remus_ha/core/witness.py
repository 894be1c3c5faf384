"""The witness rule: what a reading of the register means to one party, and what it may propose.

Pure. A party keeps a ``Ledger`` (what it knows of the register) and replaces it with the one
returned after each reading, proposal and answer. Guarantees:

* ``Standing.WON`` only for the very value that this process proposed last (a lost reply, a
  duplicate delivery); a value ``(g, me)`` of unknown origin is only ``MINE`` and has to be bumped.
* ``Standing.OTHER``, ``STILL_OTHER`` only for a generation above the one this session began with.
* every proposal is one generation above the value it replaces, and replaces only a value that
  is the proposer's to change (``may_swap``), except ``seize``, which needs an operator's word.

A process that is replaced leaves ``me``, ``peer`` and ``session`` to the next one, in a file that a
host crash loses, and ``incarnation`` and ``seen`` in one that it keeps; ``known`` and ``proposed``
die with it (``successor``). ``session`` must be kept before ``RECORD_OPENED`` of it is sent.

The store notes ``opened g`` only while the register is the very ``(g, me)`` that was won: a note
that comes late, after a bump, would say of another win that it opened.
"""

import enum
from dataclasses import dataclass, replace

from remus_ha.core.register import Identity, Kind, Register


class Standing(enum.Enum):
    """What a reading means to the one who reads."""

    WON = "won"  # exactly what this process proposed: its swap to (g+1, me) has taken place
    MINE = "mine"  # (g, me), by whatever swap: opens nothing, may be bumped
    MY_PAIR = "my_pair"  # the pair of this session: either side may swap out of it
    PENDING = "pending"  # (g, primary) of this session, read by its backup: not yet a pair
    OTHER = "other"  # a higher generation held by another: this copy has lost
    STILL_OTHER = "still_other"  # the same, and the very value that was last read
    NONE = "none"  # stopped on purpose
    MY_HOST = "my_host"  # held by an earlier life of this host (its nonce is gone), alone
    MY_HOST_PAIR = "my_host_pair"  # the same, as the primary of a pair
    MY_HOST_BACKUP = "my_host_backup"  # a pair whose backup was an earlier life of this host
    FRESH = "fresh"  # no row, and this party has never known of one
    MISSING = "missing"  # no row, though there has been one: proves nothing
    REWOUND = "rewound"  # another incarnation of the store: proves nothing
    UNKNOWN = "unknown"  # an older value than one already known: proves nothing


@dataclass(frozen=True, slots=True)
class View:
    """A reading in the reader's terms.

    ``opened``: somebody who won after this party's session began has recorded that it opened its
    output, so this party's copy, if it has one, is obsolete. For a party that knows no session:
    who won the present value has recorded it.
    """

    standing: Standing
    opened: bool


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one process knows of its guest's register.

    ``session`` is the generation this session began with: what the primary won by its bump and
    told the backup (0: none yet). ``known`` is the value last read or won, ``proposed`` the one
    sent in a swap and not known to have won, ``incarnation`` the store's life when first read,
    ``seen`` whether a row has ever been there.
    """

    me: Identity
    peer: Identity | None = None
    session: int = 0
    known: Register | None = None
    proposed: Register | None = None
    incarnation: str | None = None
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a host can report to a store that went back in time (W9)."""

    incarnation: str | None = None
    known: Register | None = None
    opened: int = 0
    peer: str = ""  # the other host of the last session


def read(
    ledger: Ledger, register: Register | None, opened: int, incarnation: str
) -> tuple[Ledger, View]:
    """Take in a reading: the ledger that knows it, and what it means."""
    if ledger.incarnation not in (None, incarnation):
        return ledger, View(Standing.REWOUND, False)
    ledger = replace(ledger, incarnation=incarnation)
    if register is None:
        past = ledger.seen or ledger.session or ledger.known
        return ledger, View(Standing.MISSING if past else Standing.FRESH, False)
    view = View(standing(ledger, register), has_opened(ledger, register, opened))
    if view.standing is Standing.OTHER and register == ledger.known:
        view = replace(view, standing=Standing.STILL_OTHER)
    if view.standing is Standing.WON:
        return won(ledger), view
    if view.standing is Standing.UNKNOWN:
        return ledger, view
    return replace(ledger, known=register, seen=True), view


def standing(ledger: Ledger, register: Register) -> Standing:
    """What ``register``, read from the store's known incarnation, means to the ledger's owner."""
    if ledger.known is not None and register.generation < ledger.known.generation:
        return Standing.UNKNOWN
    if register == ledger.proposed and register.holder == ledger.me and register.backup is None:
        return Standing.WON
    if register.kind is Kind.NONE:
        return Standing.NONE
    if register.kind is Kind.HOLDER and register.holder == ledger.me:
        return Standing.MINE
    if is_my_pair(ledger, register):
        return Standing.MY_PAIR
    if held_by_my_host_before(ledger.me, register):
        return Standing.MY_HOST if register.kind is Kind.HOLDER else Standing.MY_HOST_PAIR
    if register.backup == ledger.me and ledger.session == 0:
        return Standing.UNKNOWN  # a pair of mine, but the session that would tell is not known
    if register.backup is not None and register.backup.host == ledger.me.host:
        if register.backup != ledger.me:
            return Standing.MY_HOST_BACKUP
    if register.generation > ledger.session:
        return Standing.OTHER
    return Standing.PENDING if register.generation == ledger.session else Standing.UNKNOWN


def is_my_pair(ledger: Ledger, register: Register) -> bool:
    """Whether ``register`` is a pair out of which the ledger's owner may swap.

    A primary may leave any pair that it holds. A backup only the pair of its own session, which
    is one generation above the session's: its copy belongs to that session alone.
    """
    if register.kind is not Kind.PAIR:
        return False
    if register.holder == ledger.me:
        return True
    return register.backup == ledger.me and register.generation == ledger.session + 1


def held_by_my_host_before(me: Identity, register: Register) -> bool:
    """Whether this host holds the register, alone or in a pair, by a nonce not of this life."""
    holder = register.holder
    return holder is not None and holder.host == me.host and holder.nonce != me.nonce


def has_opened(ledger: Ledger, register: Register, opened: int) -> bool:
    """``View.opened``, where ``opened`` is the highest generation recorded as opened."""
    if ledger.session:
        return is_obsolete(ledger.session, opened)
    # A pair is made from (g, primary), whose opening was recorded before the session streamed.
    won_at = register.generation - (1 if register.kind is Kind.PAIR else 0)
    return register.kind is not Kind.NONE and opened >= won_at


def is_obsolete(session: int, opened: int) -> bool:
    """Whether a copy of the session that began with that generation may never be the guest again.

    Its primary recorded ``opened = session`` before it streamed; any later opening let output out
    that the copy does not contain.
    """
    return opened > session


def propose(ledger: Ledger, new: Register) -> Ledger:
    """Note that ``new`` is about to be sent in a swap from ``ledger.known``."""
    return replace(ledger, proposed=new)


def won(ledger: Ledger) -> Ledger:
    """Note that the proposed value has been written; the first ``(g, me)`` begins the session."""
    new = ledger.proposed
    if new is None:
        raise ValueError("won without having proposed")
    begins = not ledger.session and new.kind is Kind.HOLDER and new.holder == ledger.me
    session = new.generation if begins else ledger.session
    return replace(ledger, known=new, proposed=None, session=session, seen=True)


def begin_session(ledger: Ledger, peer: Identity) -> Ledger:
    """The same knowledge, for a new session with ``peer``, whose generation is not won yet."""
    seen = bool(ledger.seen or ledger.session or ledger.known)
    return replace(ledger, peer=peer, session=0, proposed=None, seen=seen)


def accept_incarnation(ledger: Ledger) -> Ledger:
    """Take up the store's next incarnation: both hosts have reported, or an operator decided.

    What was known or proposed was of the former one.
    """
    return replace(ledger, incarnation=None, proposed=None, known=None)


def bump(ledger: Ledger) -> Register:
    """``(g+1, me)`` from ``(g, me)``, my pair, none or no row at all.

    For a primary this is the bump, for a backup the promotion, for a host that has come back the
    claim. Raises ValueError where the known value is another's.
    """
    known = ledger.known
    if known is not None and not may_swap(ledger, known):
        raise ValueError(f"{known} is not {ledger.me}'s to change")
    return Register(_next(known), Kind.HOLDER, ledger.me)


def pair(ledger: Ledger) -> Register:
    """``(g+1, pair)`` from ``(g, me)``. Raises ValueError from any other value."""
    known = ledger.known
    if known is None or known.kind is not Kind.HOLDER or known.holder != ledger.me:
        raise ValueError(f"a pair is made from (g, {ledger.me}), not from {known}")
    if ledger.peer is None:
        raise ValueError("a pair needs a peer")
    return Register(_next(known), Kind.PAIR, ledger.me, ledger.peer)


def stop(ledger: Ledger) -> Register:
    """``(g+1, none)`` from a value of one's own, or from no row at all: stopped on purpose."""
    if ledger.known is not None and not may_swap(ledger, ledger.known):
        raise ValueError(f"{ledger.known} is not {ledger.me}'s to stop")
    return Register(_next(ledger.known), Kind.NONE, None)


def give_back(ledger: Ledger) -> Register:
    """``(g+1, peer)``: who cannot live with what it has won, or may still win, returns it."""
    known = ledger.known
    if known is None or ledger.peer is None:
        raise ValueError("nothing known to give back, or nobody to give it to")
    if not may_swap(ledger, known):
        raise ValueError(f"{known} is not {ledger.me}'s to give back")
    return Register(_next(known), Kind.HOLDER, ledger.peer)


def successor(ledger: Ledger) -> Ledger:
    """What the process that replaces a dead one begins with."""
    return replace(ledger, known=None, proposed=None)


def seize(ledger: Ledger) -> Register:
    """``(g+1, me)`` from another's value: only on an operator's word that the other is fenced."""
    return Register(_next(ledger.known), Kind.HOLDER, ledger.me)


def may_swap(ledger: Ledger, register: Register) -> bool:
    """Whether the value is the ledger's owner's to change (W8).

    It names the owner, or nobody, or is held by an earlier life of the owner's host.
    """
    if register.kind is Kind.NONE or register.holder == ledger.me:
        return True
    return is_my_pair(ledger, register) or held_by_my_host_before(ledger.me, register)


def reconcile(*reports: Register | None) -> Register | None:
    """The value of a rewound store once both hosts have reported what they know: the newest.

    Swaps sent to the former incarnation are void, so the generation need not grow.
    """
    known = [r for r in reports if r is not None]
    return max(known, key=lambda r: r.generation) if known else None


def _next(register: Register | None) -> int:
    return 1 if register is None else register.generation + 1
