"""What the tables' actions do to a world, and the properties that can be seen as they do it.

Everything the processes decide comes from the product's tables (``rules``); here is only what
those decisions act upon: copies of the guest, plugs, the network, the store. A broken property
raises ``Violation``.
"""

import enum
from typing import Any

from remus_ha.core import backup, primary, returning
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.witness import Ledger
from tests.model.rules import BACKUP, Rules
from tests.model.world import (
    HELD_COPIES,
    HOSTS,
    NO_SESSION,
    NOT_RUNNING,
    OWN_COPIES,
    Copy,
    CopyKind,
    Flight,
    Intent,
    Need,
    Out,
    Proc,
    World,
)


class Violation(Exception):
    """A property does not hold."""


class CrashedMidway(Exception):
    """The process was killed between two actions of one step."""


class Draft:
    """A world being changed by one event. ``world()`` gives the result."""

    __slots__ = (
        "budget",
        "crash_after",
        "hosts",
        "intent",
        "losses",
        "need",
        "net",
        "rules",
        "store",
    )

    def __init__(self, rules: Rules, world: World) -> None:
        self.rules = rules
        self.store, hosts, self.net, self.need, self.budget, self.intent, self.losses = world
        self.hosts = list(hosts)
        self.crash_after = -1

    def world(self) -> World:
        """The changed world, without what can no longer have an effect. Raises Violation."""
        emitting = [h for h in (0, 1) if self.emits(h)]
        if len(emitting) > 1:
            raise Violation("two copies whose new output reaches the outside")
        self._prune()
        a, b = self.hosts
        return World(self.store, (a, b), self.net, self.need, self.budget, self.intent, self.losses)

    def emits(self, h: int) -> bool:
        """Whether new output of the host's copy reaches the outside as it is made."""
        host = self.hosts[h]
        return host.up and host.out is Out.OPEN and host.copy.kind is CopyKind.LIVE

    def change(self, h: int, **what: Any) -> None:
        """Replace fields of a host."""
        self.hosts[h] = self.hosts[h]._replace(**what)

    def proc(self, h: int) -> Proc:
        """The host's process, which must be there."""
        proc = self.hosts[h].proc
        assert proc is not None
        return proc

    def change_proc(self, h: int, **what: Any) -> None:
        """Replace fields of the host's process."""
        self.hosts[h] = self.hosts[h]._replace(proc=self.proc(h)._replace(**what))

    def change_copy(self, h: int, **what: Any) -> None:
        """Replace fields of the host's copy."""
        host = self.hosts[h]
        self.hosts[h] = host._replace(copy=host.copy._replace(**what))

    # -- steps of the tables ---------------------------------------------------------------

    def step(self, h: int, event: enum.Enum, **facts: Any) -> None:
        """Feed ``event`` to the host's process and execute the actions of the row.

        With ``crash_after`` n the process is killed after the first n actions: CrashedMidway.
        """
        proc = self.proc(h)
        if proc.role == BACKUP:
            facts["restored"] = self.hosts[h].copy.kind in (CopyKind.RESTORED, CopyKind.KEPT)
        row = self.rules.find(proc.role, proc.state, event, tuple(facts.items()))
        if row is None:
            return
        self.change_proc(h, state=row.next)
        actions = ACTIONS[proc.role]
        for i, action in enumerate(row.actions):
            if i == self.crash_after:
                raise CrashedMidway
            actions[action](self, h)
        self._ended(h, row.next)

    def _ended(self, h: int, state: Any) -> None:
        """A process in an end state is gone; note what was promised by that."""
        if state is primary.State.STOPPED:
            gone = self.hosts[h].copy.kind in (CopyKind.ABSENT, CopyKind.ENDED)
            self.intent = Intent.STOPPED if gone else Intent.UNPROTECTED
        if state in ENDS[self.proc(h).role]:
            known = self.rules.ledgers.values[self.proc(h).ledger].known
            self.change(h, proc=None, known=self.rules.registers.of(known))

    # -- copies -----------------------------------------------------------------------------

    def complete(self, h: int) -> bool:
        """Whether the host's copy contains all output that was ever let out."""
        host, need = self.hosts[h], self.need
        copy = host.copy
        if not host.up:
            return False
        if copy.kind in OWN_COPIES or (need.session == NO_SESSION and copy.kind in HELD_COPIES):
            return need.owner == h
        if copy.kind in HELD_COPIES:
            return copy.session == need.session and copy.mem >= max(0, need.epoch)
        return False

    def somewhere(self) -> bool:
        """Whether any host has a complete copy."""
        return self.complete(0) or self.complete(1)

    def open_output(self, h: int) -> None:
        """New output of the host's copy reaches the outside from now on."""
        copy = self.hosts[h].copy
        if copy.kind in NOT_RUNNING:
            self.change(h, out=Out.OPEN)
            return
        if self.intent is Intent.STOPPED:
            raise Violation("a guest that was stopped on purpose is resurrected")
        if self.intent is Intent.UNPROTECTED and copy.kind in HELD_COPIES:
            raise Violation("a guest that was unprotected is taken over")
        if copy.kind not in (CopyKind.LIVE, CopyKind.RESTORED, CopyKind.STALE):
            raise Violation("the winner has no copy that can live")
        if not self.complete(h) and (copy.kind is not CopyKind.STALE or self._survives()):
            raise Violation("an acknowledged and released epoch is lost in the surviving copy")
        self.change(h, copy=copy._replace(kind=CopyKind.LIVE), out=Out.OPEN)
        self.need = Need(h)

    def _survives(self) -> bool:
        """Whether a freshly booted guest must not take the place of a copy.

        It must not where a complete one holds an epoch that was acknowledged and let out, unless
        a sole holder has let more out since, and died.
        """
        return self.need.epoch >= 0 and self.somewhere() and not self.need.died

    def destroy(self, h: int) -> None:
        """The host's copy is gone."""
        before, ended = self.somewhere(), self.hosts[h].copy.kind is CopyKind.ENDED
        self.change(h, copy=Copy(), out=Out.SHUT)
        if before and not self.somewhere() and not ended and not self._may_lose(h):
            raise Violation("the last complete copy is destroyed")

    def _may_lose(self, h: int) -> bool:
        """Whether no protected guest is lost with the host's copy.

        It was stopped on purpose, or has died with a sole holder, or the copy is a received one
        and nothing was let out on the strength of it yet.
        """
        register: Register | None = self.rules.ledgers.values[self.proc(h).ledger].known
        if register is not None and register.kind is Kind.NONE:
            return True
        return self.need.died or (h != self.need.owner and self.need.epoch < 0)

    def note_opening(self, author: int) -> None:
        """Who has recorded that it opens counts as open, or as having died a sole holder."""
        register: Register | None = self.rules.registers.values[self.store.register]
        if register is None or register.kind is not Kind.HOLDER or register.holder is None:
            return
        if HOSTS.index(register.holder.host) != author:
            return
        if self.alive(register.holder):
            self.need = Need(author)
        elif self.store.opened >= register.generation:
            self.need = self.need._replace(died=True)

    def alive(self, party: Identity) -> bool:
        """Whether that very life of that host goes on."""
        h = HOSTS.index(party.host)
        return self.hosts[h].up and str(self.hosts[h].nonce) == party.nonce

    def release_one(self, h: int) -> None:
        """The primary lets the output of its last epoch out because of an acknowledgement."""
        proc = self.proc(h)
        other = self.hosts[1 - h]
        self._check_released(h, proc)
        if self.need.owner != h:
            received = other.copy.kind is CopyKind.LIVE and other.copy.session == proc.session
            if received and other.copy.mem < proc.epoch:
                raise Violation("output of an epoch that the living copy does not hold")
        elif self.need.session == proc.session:
            self.need = self.need._replace(epoch=max(self.need.epoch, proc.epoch))
        self.change_proc(h, due=False)

    def _check_released(self, h: int, proc: Proc) -> None:
        register: Register | None = self.rules.registers.values[self.store.register]
        rewound = self.store.inc != int(self.rules.ledgers.values[proc.ledger].incarnation)
        copy = self.hosts[1 - h].copy
        held = copy.kind in HELD_COPIES and copy.session == proc.session
        if held and min(copy.mem, copy.disk) < proc.epoch:
            raise Violation("a release of an epoch that the backup does not hold")
        if self.net.acks[proc.session] < proc.epoch:
            raise Violation("a release of an epoch that was not acknowledged")
        if rewound:
            return
        if register is None:
            raise Violation("a release by acknowledgement without a pair")
        if register.kind is not Kind.HOLDER or self.store.author != h:
            return
        if register.holder is None or register.holder.host != HOSTS[1 - h]:
            raise Violation("a release by acknowledgement after a swap out of the pair")

    # -- the store --------------------------------------------------------------------------

    def send(self, h: int, what: str) -> None:
        """Send the swap that the witness rule proposes."""
        ledger, old, new = self.rules.propose(what, self.proc(h).ledger)
        flight = Flight(False, old, new, self._inc(ledger), h)
        self._launch(h, flight, ledger)

    def record(self, h: int) -> None:
        """Send the note that the known generation opens."""
        ledger = self.proc(h).ledger
        known = self.rules.ledgers.values[ledger].known
        old = self.rules.registers.of(known)
        self._launch(h, Flight(True, old, known.generation, self._inc(ledger), h), ledger)

    def _launch(self, h: int, flight: Flight, ledger: int) -> None:
        self.net = self.net._replace(flights=self.net.flights | {flight})
        self.change_proc(h, ledger=ledger, request=("sent", flight), timer=False)

    def _inc(self, ledger: int) -> int:
        value: Ledger = self.rules.ledgers.values[ledger]
        if not self.rules.world.incarnations or value.incarnation is None:
            return self.store.inc
        return int(value.incarnation)

    def land(self, flight: Flight) -> None:
        """The store takes up a change; a process that still waits for it will have the answer."""
        answer = self._apply(flight)
        self.net = self.net._replace(flights=self.net.flights - {flight})
        for h in (0, 1):
            proc = self.hosts[h].proc
            if proc is not None and proc.request == ("sent", flight):
                self.change_proc(h, request=("answered", answer))

    def _apply(self, flight: Flight) -> str:
        store = self.store
        if self.rules.world.incarnations and flight.inc != store.inc:
            return "unrecorded" if flight.record else "refused"
        if flight.record:
            if flight.old != store.register and self.rules.world.notes_checked:
                return "unrecorded"
            if flight.new > store.opened:
                self.store = store._replace(opened=flight.new)
                self.note_opening(flight.author)
            return "recorded"
        if store.register == flight.old:
            self.store = store._replace(register=flight.new, author=flight.author)
            return "won"
        return "won" if store.register == flight.new else "refused"

    def useless(self, flight: Flight) -> bool:
        """Whether a change on its way can never again take effect."""
        store = self.store
        if self.rules.world.incarnations:
            if flight.inc != store.inc:
                return True
        elif self.budget.rewinds or store.inc:
            return False
        if flight.record and (flight.new <= store.opened or not self.rules.world.notes_checked):
            return flight.new <= store.opened
        if flight.old == store.register:
            return False
        return self.rules.generation(flight.old) <= self.rules.generation(store.register)

    def _prune(self) -> None:
        flights = self.net.flights
        if not flights:
            return
        awaited = [_sent(h.proc.request) for h in self.hosts if h.proc]
        keep = frozenset(f for f in flights if f in awaited or not self.useless(f))
        if len(keep) != len(flights):
            self.net = self.net._replace(flights=keep)

    # -- processes --------------------------------------------------------------------------

    def start_stream(self, h: int) -> None:
        """The primary's session begins; a receiver starts on the other host if it can."""
        proc, other = self.proc(h), self.hosts[1 - h]
        session = len(self.net.sent)
        self.net = self.net._replace(sent=(*self.net.sent, -1), acks=(*self.net.acks, -1))
        self.change_proc(h, session=session, epoch=-1, due=False, buffered=False)
        if not other.up or other.proc is not None or other.copy.kind is not CopyKind.ABSENT:
            return
        mine: Ledger = self.rules.ledgers.values[proc.ledger]
        assert mine.peer is not None
        if not self.alive(mine.peer):
            return
        ledger = Ledger(mine.peer, mine.me, mine.session, incarnation=mine.incarnation)
        receiver = Proc(
            BACKUP, backup.State.RECEIVING, self.rules.ledgers.of(ledger), session=session
        )
        copy = Copy(CopyKind.INCOMING, session)
        self.change(1 - h, proc=receiver, copy=copy, out=Out.SHUT)

    def tell_stop(self, h: int) -> None:
        """A stop message to the other host's process is on its way."""
        a, b = self.net.stops
        self.net = self.net._replace(stops=(a or h == 1, b or h == 0))

    def tell_promote(self, h: int) -> None:
        """A message that asks the other host's process to promote is on its way."""
        a, b = self.net.promotes
        self.net = self.net._replace(promotes=(a or h == 1, b or h == 0))

    def pause(self, h: int) -> None:
        """A running copy does not run any more."""
        kind = self.hosts[h].copy.kind
        if kind is CopyKind.LIVE:
            self.change_copy(h, kind=CopyKind.PAUSED)
        elif kind is CopyKind.RESTORED:
            self.change_copy(h, kind=CopyKind.KEPT)

    def resume(self, h: int) -> None:
        """A paused copy runs, one that asked for a reboot is started."""
        kind = self.hosts[h].copy.kind
        if kind in (CopyKind.PAUSED, CopyKind.ENDED_REBOOT):
            self.change_copy(h, kind=CopyKind.LIVE)
        elif kind is CopyKind.KEPT:
            self.change_copy(h, kind=CopyKind.RESTORED)

    def restart_guest(self, h: int) -> None:
        """A guest that asked for a reboot is created again."""
        self.change_copy(h, kind=CopyKind.LIVE)
        self.change_proc(h, told=False)

    def hold(self, h: int) -> None:
        """The session is over: no more releases; a suspended guest is resumed."""
        self.change_proc(h, due=False, last=False)
        if self.hosts[h].copy.kind is CopyKind.PAUSED:
            self.change_copy(h, kind=CopyKind.LIVE)

    def end_of_file(self, h: int) -> None:
        """The pipe is let go: what has been applied so far is restored."""
        if self.hosts[h].copy.kind is CopyKind.INCOMING:
            self.change_copy(h, kind=CopyKind.RESTORING)


def _sent(request: tuple[Any, ...] | None) -> Flight | None:
    """The change of the store whose answer the process waits for."""
    return request[1] if request is not None and request[0] == "sent" else None


def _read(d: Draft, h: int) -> None:
    d.change_proc(h, request=("read",), timer=False)


def _nothing(_d: Draft, _h: int) -> None:
    """An action that has no effect on what the model knows."""


def _swap(what: str) -> Any:
    return lambda d, h: d.send(h, what)


def _acknowledge(d: Draft, h: int) -> None:
    """ACK(n) for the epoch just committed is on its way."""
    proc, copy = d.proc(h), d.hosts[h].copy
    acks = list(d.net.acks)
    lost = copy.kind is not CopyKind.INCOMING  # it came after the copy was let go
    acks[proc.session] = max(acks[proc.session], copy.mem + lost)
    d.net = d.net._replace(acks=tuple(acks))


P, B, R = primary.Action, backup.Action, returning.Action

ACTIONS: tuple[dict[Any, Any], ...] = (
    {
        P.READ: _read,
        P.SWAP_TO_ME: _swap("bump"),
        P.SWAP_TO_PAIR: _swap("pair"),
        P.SWAP_TO_NONE: _swap("stop"),
        P.SEIZE: _swap("seize"),
        P.RECORD_OPENED: Draft.record,
        P.ASK_AGAIN_LATER: lambda d, h: d.change_proc(h, request=None, timer=True),
        P.START_STREAM: Draft.start_stream,
        P.RELEASE_ONE: Draft.release_one,
        P.HOLD: Draft.hold,
        P.CUT: _nothing,
        P.OPEN_OUTPUT: Draft.open_output,
        P.TELL_STOP: Draft.tell_stop,
        P.TELL_PROMOTE: Draft.tell_promote,
        P.FINAL_EPOCH: lambda d, h: d.change_proc(h, last=True),
        P.PAUSE_GUEST: Draft.pause,
        P.RESUME_GUEST: Draft.resume,
        P.RESTART_GUEST: Draft.restart_guest,
        P.DESTROY_GUEST: Draft.destroy,
        P.CLEAN: _nothing,
    },
    {
        B.ACK: _acknowledge,
        B.STOP_ACKS: lambda d, h: d.change_proc(h, acking=False),
        B.READ: _read,
        B.SWAP_TO_ME: _swap("bump"),
        B.SWAP_TO_PEER: _swap("give_back"),
        B.SEIZE: _swap("seize"),
        B.RECORD_OPENED: Draft.record,
        B.ASK_AGAIN_LATER: lambda d, h: d.change_proc(h, request=None, timer=True),
        B.CUT: _nothing,
        B.DROP_OPEN: _nothing,
        B.END_OF_FILE: Draft.end_of_file,
        B.PAUSE_GUEST: Draft.pause,
        B.RESUME_GUEST: Draft.resume,
        B.OPEN_OUTPUT: Draft.open_output,
        B.ANNOUNCE: _nothing,
        B.TELL_BROKEN: _nothing,
        B.DESTROY_COPY: Draft.destroy,
        B.CLEAN: _nothing,
    },
    {
        R.READ: _read,
        R.ASK_PEER: lambda d, h: d.change_proc(h, request=("peer",), timer=False),
        R.SWAP_TO_ME: _swap("bump"),
        R.SWAP_TO_PEER: _swap("give_back"),
        R.RECORD_OPENED: Draft.record,
        R.ASK_AGAIN_LATER: lambda d, h: d.change_proc(h, request=None, timer=True),
        R.START_GUEST: _nothing,
        R.OPEN_OUTPUT: Draft.open_output,
        R.DESTROY_COPY: Draft.destroy,
        R.CLEAN: _nothing,
    },
)

ENDS: tuple[frozenset[Any], ...] = (
    frozenset(primary.ENDS),
    frozenset(backup.ENDS),
    frozenset(returning.ENDS),
)
