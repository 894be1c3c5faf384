"""The state of the bounded world around the product's tables.

Two hosts, one guest, one store. A world is a tuple of immutable parts, so that worlds can be
compared and numbered; what changes it is in ``tests/model/draft.py``.
"""

import enum
from typing import Any, NamedTuple

from remus_ha.core.register import Identity

HOSTS = ("A", "B")
NO_SESSION = -1


class CopyKind(enum.IntEnum):
    """What a host has of the guest."""

    ABSENT = 0
    LIVE = 1  # running; what it puts out goes where Host.out says
    PAUSED = 2  # was live, does not run
    ENDED = 3  # the guest shut itself down; the domain is still there
    ENDED_REBOOT = 4  # the guest asked for a reboot
    STALE = 5  # booted from this host's disk after a crash of the host
    INCOMING = 6  # epochs are applied; the restore's pipe is held open
    RESTORING = 7  # the pipe was let go
    RESTORED = 8  # runs behind shut vifs
    KEPT = 9  # restored, then paused
    DEAD = 10  # was restored, then its domain died
    FAILED = 11  # was never restored: the restore died


HELD_COPIES = (CopyKind.INCOMING, CopyKind.RESTORING, CopyKind.RESTORED, CopyKind.KEPT)

NOT_RUNNING = (CopyKind.ENDED, CopyKind.ENDED_REBOOT, CopyKind.PAUSED, CopyKind.DEAD)
OWN_COPIES = (CopyKind.LIVE, CopyKind.PAUSED, CopyKind.ENDED, CopyKind.ENDED_REBOOT)
DIED = (CopyKind.DEAD, CopyKind.FAILED)


class Out(enum.IntEnum):
    """Where a host's copy's output goes."""

    OPEN = 0
    HELD = 1  # a plug is in force
    SHUT = 2  # the vif came up shut


class Copy(NamedTuple):
    """One host's copy: for a received one the session and the epochs of memory and disks."""

    kind: CopyKind = CopyKind.ABSENT
    session: int = NO_SESSION
    mem: int = -1
    disk: int = -1


class Proc(NamedTuple):
    """A per-guest process; ``request`` is the one outstanding at the witness or the peer."""

    role: int
    state: Any
    ledger: int
    request: tuple[Any, ...] | None = None
    timer: bool = False
    session: int = NO_SESSION
    epoch: int = -1  # primary: last one suspended
    due: bool = False  # primary: its acknowledgement is outstanding
    buffered: bool = False  # primary: BUFFER is in force on every plug
    acking: bool = True  # backup: commits and acknowledges
    crashed: bool = False
    told: bool = False  # primary: the guest's end has been stepped
    last: bool = False  # primary: the next epoch, or the one on its way, is the last one
    opened: int = 0  # returning: highest generation recorded as opened, as last read


class Host(NamedTuple):
    """A host; ``known`` is the newest register it has on its disk (used after a rewind only)."""

    up: bool
    nonce: int
    copy: Copy
    out: Out
    proc: Proc | None
    known: int = 0


class Flight(NamedTuple):
    """A change of the store on its way: sent, perhaps given up by its sender, not yet landed."""

    record: bool  # note that ``new`` opens, while the register is ``old``; else a swap
    old: int
    new: int
    inc: int
    author: int


class Store(NamedTuple):
    """The witness. ``author``: which host wrote the register's value."""

    register: int = 0
    opened: int = 0
    inc: int = 0
    author: int = 0
    saved: tuple[int, int, int] | None = None  # a backup of the store: register, opened, author


class Net(NamedTuple):
    """What is on its way: all of it may arrive late, twice, in any order or never."""

    flights: frozenset[Flight] = frozenset()
    sent: tuple[int, ...] = ()  # per session: epochs 0..n have been sent
    acks: tuple[int, ...] = ()  # per session: ACK(0)..ACK(n) have been sent
    stops: tuple[bool, bool] = (True, True)  # a TELL_STOP was sent to host 0, 1
    promotes: tuple[bool, bool] = (False, False)  # a TELL_PROMOTE was sent to host 0, 1


class Need(NamedTuple):
    """Which copies contain all output that was let out: the owner's, and those that say so."""

    owner: int = 0
    session: int = NO_SESSION  # received copies of this session do, from epoch ``epoch`` on
    epoch: int = -1
    died: bool = False  # a sole holder that had opened has died: its host may boot the guest again


class Budget(NamedTuple):
    """How many accidents may still happen."""

    process_crashes: int = 0
    host_crashes: int = 0
    restore_failures: int = 0
    plug_failures: int = 0
    intents: int = 0
    sessions: int = 1
    rewinds: int = 0
    failovers: int = 0  # planned ones
    operator: bool = False  # may say of a host without power that it is dead


class Intent(enum.IntEnum):
    """What the operator or the guest has been promised."""

    NOTHING = 0
    STOPPED = 1  # the guest was stopped on purpose: no copy lets output out any more
    UNPROTECTED = 2  # the guest is the primary's alone: no received copy does


class World(NamedTuple):
    """All of it."""

    store: Store
    hosts: tuple[Host, Host]
    net: Net
    need: Need
    budget: Budget
    intent: Intent
    losses: int = 0  # copies lost by accidents so far: host crashes and failed restores


def first_world(budget: Budget) -> World:
    """The guest runs on A, unprotected; nothing has ever been written to the store.

    A stop message of a session that nobody remembers is on its way to either host.
    """
    a = Host(True, 0, Copy(CopyKind.LIVE), Out.OPEN, None)
    b = Host(True, 0, Copy(), Out.SHUT, None)
    return World(Store(), (a, b), Net(), Need(), budget, Intent.NOTHING)


def identity(host: int, nonce: int) -> Identity:
    """The party that a host is in this life."""
    return Identity(HOSTS[host], str(nonce))
