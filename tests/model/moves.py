"""Everything that may happen next in a world: the environment's moves.

Every move is one event of one party. ``Kind`` tells what the liveness check may count on: answers
arrive and processes are restarted some day; accidents need not happen; a host need not return.
"""

import enum
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from remus_ha.core import backup, primary, returning, witness
from remus_ha.core.register import Kind as RegisterKind
from remus_ha.core.table import Verdict
from remus_ha.core.witness import Ledger, Standing, View
from tests.model.rules import BACKUP, PRIMARY, RETURNING, Rules
from tests.model.world import (
    DIED,
    HELD_COPIES,
    HOSTS,
    OWN_COPIES,
    Copy,
    CopyKind,
    CrashedMidway,
    Draft,
    Host,
    Intent,
    Need,
    Out,
    Proc,
    Store,
    Violation,
    World,
    identity,
)

LAST_EPOCH = 1
CONDUCTOR = 2  # as the author of a value: neither host

PS, BS, RS = primary.State, backup.State, returning.State
PE, BE, RE = primary.Event, backup.Event, returning.Event

EVENTS = (PE, BE, RE)
STREAMING = (PS.PROTECTED, PS.YIELDING)
COPIES_OF_A_SESSION = (*OWN_COPIES, *HELD_COPIES)


class Kind(enum.IntEnum):
    """What the liveness check may count on."""

    SURE = 0  # happens some day if nothing else does
    ACCIDENT = 1  # need not happen
    RETURN = 2  # a crashed host comes back
    OPERATOR = 3  # the operator gives his word that a host is dead


class Move(NamedTuple):
    """What happens: a name for traces, the change, and whether a process executes a step."""

    name: str
    change: Callable[[Draft], None]
    kind: Kind = Kind.SURE
    step_of: int | None = None


class Next(NamedTuple):
    """A move and the world after it, or the property that it breaks."""

    name: str
    kind: Kind
    world: World | None
    violation: str | None


class Moves:
    """All moves under the given rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def after(self, world: World) -> Iterator[Next]:
        """Every possible next world."""
        for move in self.moves(world):
            yield self._make(world, move, -1)
            if move.step_of is not None and world.budget.process_crashes:
                yield from self._killed_midway(world, move)

    def _make(self, world: World, move: Move, crash_after: int) -> Next:
        draft = Draft(self.rules, world)
        try:
            move.change(draft)
            return Next(move.name, move.kind, draft.world(), None)
        except Violation as e:
            return Next(move.name, move.kind, None, str(e))

    def _killed_midway(self, world: World, move: Move) -> Iterator[Next]:
        h = move.step_of
        assert h is not None
        for n in range(1, 4):
            draft = Draft(self.rules, world)
            draft.crash_after = n
            name = f"{move.name}; killed after {n} of its actions"
            try:
                move.change(draft)
                return
            except CrashedMidway:
                self._crash_process(draft, h)
            except Violation as e:
                yield Next(name, Kind.ACCIDENT, None, str(e))
                return
            yield Next(name, Kind.ACCIDENT, draft.world(), None)

    # -- what may happen --------------------------------------------------------------------

    def moves(self, world: World) -> Iterator[Move]:
        """Every possible move."""
        for flight in world.net.flights:
            yield Move(f"store takes up {self._say(flight)}", partial(Draft.land, flight=flight))
        for h in (0, 1):
            yield from self._host(world, h)
        if world.budget.rewinds or world.store.inc:
            yield from self._store_accidents(world)
        if self.rules.world.conductor_swaps:
            yield from self._conductor(world)

    def _host(self, world: World, h: int) -> Iterator[Move]:
        host, name = world.hosts[h], HOSTS[h]
        if not host.up:
            yield Move(f"{name} comes back", lambda d: self._come_back(d, h), Kind.RETURN)
            return
        if world.budget.host_crashes:
            yield Move(f"{name} loses its power", lambda d: self._crash_host(d, h), Kind.ACCIDENT)
        yield from self._copy(world, h)
        proc = host.proc
        if proc is None or proc.state is PS.ALONE:
            yield from self._start(world, h)
        if proc is None:
            return
        if proc.crashed:
            if self.rules.world.restarts:
                yield Move(f"{name}: process restarted", lambda d: self._restart(d, h), step_of=h)
            return
        yield from self._process(world, h, proc)

    def _process(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        name = HOSTS[h]
        if self._committing(world, h, proc):
            yield Move(f"{name}: disks commit", lambda d: self._commit_disks(d, h), step_of=h)
        else:
            yield from self._answers(h, proc)
            if proc.timer:
                event = EVENTS[proc.role].RETRY
                yield Move(f"{name}: asks again", lambda d: _timer(d, h, event), step_of=h)
            if proc.role == PRIMARY:
                yield from self._primary(world, h, proc)
            elif proc.role == BACKUP:
                yield from self._backup(world, h, proc)
            yield from self._operator(world, h, proc)
        if world.budget.process_crashes:
            yield Move(
                f"{name}: process killed", lambda d: self._crash_process(d, h), Kind.ACCIDENT
            )

    def _operator(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        """With one host down he may say so to the other one."""
        if not world.budget.operator or world.hosts[1 - h].up or proc.role == RETURNING:
            return
        event = PE.OPERATOR_FENCED if proc.role == PRIMARY else BE.OPERATOR_FENCED
        if self._handles(proc.role, proc.state, event):
            yield Move(
                f"the operator tells {HOSTS[h]} that {HOSTS[1 - h]} is dead",
                lambda d: d.step(h, event),
                Kind.OPERATOR,
                h,
            )

    def _answers(self, h: int, proc: Proc) -> Iterator[Move]:
        if proc.request is None:
            return
        name, what = HOSTS[h], proc.request[0]
        events = EVENTS[proc.role]
        if what == "peer":
            yield Move(f"{name}: the peer answers", lambda d: self._peer_answers(d, h), step_of=h)
            yield Move(f"{name}: the peer is silent", lambda d: _silent(d, h), step_of=h)
            return
        if what == "read":
            yield Move(f"store answers {name}'s reading", lambda d: _read_store(d, h))
            yield Move(f"{name}: no reading", lambda d: _no_reading(d, h), Kind.ACCIDENT, h)
        elif what == "value":
            yield Move(
                f"{name} reads {self._value(proc.request[1])}",
                lambda d: self._reads(d, h),
                step_of=h,
            )
            yield Move(f"{name}: no reading", lambda d: _no_reading(d, h), Kind.ACCIDENT, h)
        else:
            record = (
                proc.request[1].record if what == "sent" else proc.request[1].endswith("recorded")
            )
            unknown = events.RECORD_FAILED if record else events.SWAP_UNKNOWN
            if what == "answered":
                answer = proc.request[1]
                yield Move(f"{name} learns: {answer}", lambda d: _answer(d, h, answer), step_of=h)
            yield Move(f"{name}: no answer", lambda d: _fed(d, h, unknown), Kind.ACCIDENT, h)

    # -- the primary ------------------------------------------------------------------------

    def _primary(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        name, copy = HOSTS[h], world.hosts[h].copy
        state = proc.state
        if copy.kind in (CopyKind.ENDED, CopyKind.ENDED_REBOOT) and not proc.told:
            reboot = copy.kind is CopyKind.ENDED_REBOOT
            event = PE.GUEST_REBOOT if reboot else PE.GUEST_SHUTDOWN
            yield Move(f"{name} sees {event.value}", lambda d: _guest_ended(d, h, event), step_of=h)
        if world.budget.intents and self._handles(PRIMARY, state, PE.UNPROTECT):
            yield Move(f"{name}: unprotect", lambda d: _unprotect(d, h), Kind.ACCIDENT, h)
        if state not in primary.IN_SESSION:
            return
        if self.rules.world.doubts:
            yield Move(f"{name}: doubt", lambda d: d.step(h, PE.DOUBT), step_of=h)
        if world.budget.failovers and state is PS.PROTECTED:
            yield Move(f"{name}: planned failover", lambda d: _fail_over(d, h), Kind.ACCIDENT, h)
        if copy.kind is CopyKind.LIVE:
            yield from self._epochs(world, h, proc)
        if proc.due and world.net.acks[proc.session] >= proc.epoch:
            event = PE.FIRST_ACK if proc.epoch == 0 else PE.ACK
            if self._handles(PRIMARY, state, event):
                yield Move(
                    f"{name}: ACK({proc.epoch}) arrives", lambda d: _acked(d, h, event), step_of=h
                )

    def _epochs(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        name, epoch = HOSTS[h], proc.epoch + 1
        if proc.due or epoch > LAST_EPOCH + proc.last or (epoch and proc.state not in STREAMING):
            return
        last = ", the last one" if proc.last else ""
        buffered = epoch == 0 or proc.buffered
        yield Move(
            f"{name}: suspends, BUFFER, sends epoch {epoch}{last}", lambda d: _cut(d, h, buffered)
        )
        if epoch == 0 and world.budget.plug_failures:
            yield Move(
                f"{name}: suspends, a plug fails, sends epoch 0",
                lambda d: _cut(d, h, False),
                Kind.ACCIDENT,
            )

    # -- the backup -------------------------------------------------------------------------

    def _backup(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        name, copy = HOSTS[h], world.hosts[h].copy
        if proc.acking and copy.mem < world.net.sent[proc.session]:
            if copy.kind is CopyKind.INCOMING:
                yield Move(f"{name}: memory commits epoch {copy.mem + 1}", lambda d: _commit(d, h))
            elif copy.kind in HELD_COPIES:
                yield Move(
                    f"{name}: an epoch is lost on the copy", lambda d: d.step(h, BE.COMMITTED)
                )
        if proc.state in backup.RECEIVES:
            yield Move(f"{name}: doubt", lambda d: d.step(h, BE.DOUBT), step_of=h)
        if world.net.promotes[h] and proc.state is BS.STANDBY:
            yield Move(f"{name}: asked to promote", lambda d: d.step(h, BE.TOLD_PROMOTE), step_of=h)
        if world.net.stops[h] and self._handles(BACKUP, proc.state, BE.TOLD_STOP):
            yield Move(
                f"{name}: a stop message arrives", lambda d: d.step(h, BE.TOLD_STOP), step_of=h
            )
        if copy.kind is CopyKind.RESTORED and proc.state is BS.RESTORING:
            yield Move(f"{name}: restored", lambda d: d.step(h, BE.RESTORED), step_of=h)
        if copy.kind in DIED and proc.state not in (BS.GIVING_BACK, BS.RETURNED):
            yield Move(f"{name}: copy died", lambda d: d.step(h, BE.RESTORE_FAILED), step_of=h)

    def _committing(self, world: World, h: int, proc: Proc) -> bool:
        copy = world.hosts[h].copy
        alive = copy.kind in HELD_COPIES
        return proc.role == BACKUP and proc.acking and alive and copy.mem != copy.disk

    def _commit_disks(self, d: Draft, h: int) -> None:
        d.change_copy(h, disk=d.hosts[h].copy.mem)
        d.step(h, BE.COMMITTED)

    # -- copies -----------------------------------------------------------------------------

    def _copy(self, world: World, h: int) -> Iterator[Move]:
        host, name = world.hosts[h], HOSTS[h]
        kind = host.copy.kind
        if kind is CopyKind.RESTORING:
            yield Move(
                f"{name}: the domain runs behind shut vifs",
                lambda d: _restored(d, h),
            )
        if kind in HELD_COPIES and world.budget.restore_failures:
            yield Move(f"{name}: the copy dies", lambda d: self._copy_dies(d, h), Kind.ACCIDENT)
        primary_here = host.proc is not None and host.proc.role == PRIMARY
        if world.budget.intents and kind is CopyKind.LIVE and primary_here:
            for end in (CopyKind.ENDED, CopyKind.ENDED_REBOOT):
                yield Move(
                    f"{name}: the guest {'reboots' if end is CopyKind.ENDED_REBOOT else 'ends'}",
                    partial(_guest_ends, h=h, kind=end),
                    Kind.ACCIDENT,
                )

    def _copy_dies(self, d: Draft, h: int) -> None:
        before, kind, losses = d.somewhere(), d.hosts[h].copy.kind, d.losses
        lived = kind in (CopyKind.RESTORED, CopyKind.KEPT)
        d.change_copy(h, kind=CopyKind.DEAD if lived else CopyKind.FAILED)
        d.budget = d.budget._replace(restore_failures=d.budget.restore_failures - 1)
        d.losses += 1
        if before and not d.somewhere() and not losses and not (lived and self._holds(d, h)):
            raise Violation("a restore that failed took the last complete copy with it")

    def _holds(self, d: Draft, h: int) -> bool:
        """Whether the register names this life of the host alone."""
        register = self.rules.registers.values[d.store.register]
        if register is None or register.kind is not RegisterKind.HOLDER:
            return False
        return bool(register.holder == identity(h, d.hosts[h].nonce))

    # -- crashes and what follows -----------------------------------------------------------

    def _crash_process(self, d: Draft, h: int) -> None:
        proc, host = d.proc(h), d.hosts[h]
        d.budget = d.budget._replace(process_crashes=d.budget.process_crashes - 1)
        d.change(
            h,
            proc=Proc(
                proc.role,
                None,
                self.rules.derive("successor", proc.ledger),
                session=proc.session,
                crashed=True,
            ),
        )
        if proc.role == BACKUP and not self.rules.world.keeper:
            d.end_of_file(h)
        if host.copy.kind is CopyKind.PAUSED and proc.role == PRIMARY:
            d.change_copy(h, kind=CopyKind.LIVE)

    def _restart(self, d: Draft, h: int) -> None:
        proc, copy = d.proc(h), d.hosts[h].copy
        if proc.role == PRIMARY:
            d.change_proc(h, state=PS.NEW, crashed=False)
            d.step(h, PE.RESTART)
            if copy.kind is CopyKind.ABSENT:
                _guest_ended(d, h, PE.GUEST_GONE)
            return
        if proc.role == RETURNING:
            d.change_proc(h, state=RS.NEW, crashed=False)
            d.step(h, RE.START)
            return
        if copy.mem != copy.disk and copy.kind not in DIED:
            d.change_copy(h, disk=copy.mem)  # recovery from "committing" rolls forward
        d.change_proc(h, state=BS.RETURNED, crashed=False)
        committed, broken = copy.mem >= 0, copy.kind in DIED
        d.step(h, BE.RESTART, committed=committed, broken=broken)

    def _crash_host(self, d: Draft, h: int) -> None:
        host = d.hosts[h]
        before, losses = d.somewhere(), d.losses
        sole = self._unprotected(d)
        d.hosts[h] = host._replace(up=False, copy=Copy(), out=Out.SHUT, proc=None)
        d.budget = d.budget._replace(host_crashes=d.budget.host_crashes - 1)
        d.losses += 1
        d.note_opening(h)
        if before and not d.somewhere() and not sole and not losses:
            raise Violation("a protected guest did not survive one crash")

    def _unprotected(self, d: Draft) -> bool:
        """Whether no crash was promised to be survived.

        The guest was stopped on purpose, or there is no pair and nothing was let out on a copy's
        strength.
        """
        register = self.rules.registers.values[d.store.register]
        kind = RegisterKind.NONE if register is None else register.kind
        if kind is RegisterKind.HOLDER:
            return d.need.epoch < 0
        return kind is RegisterKind.NONE

    def _come_back(self, d: Draft, h: int) -> None:
        nonce = d.hosts[h].nonce + 1
        inc = self._disk_incarnation(d)
        ledger = self.rules.ledgers.of(Ledger(identity(h, nonce), incarnation=inc))
        d.hosts[h] = d.hosts[h]._replace(
            up=True,
            nonce=nonce,
            copy=Copy(CopyKind.STALE),
            out=Out.SHUT,
            proc=Proc(RETURNING, RS.NEW, ledger),
        )
        d.step(h, RE.START)

    def _disk_incarnation(self, d: Draft) -> str:
        """The incarnation that every host has on its disk: the first, until another is accepted."""
        accepted = d.store.saved is None or not self.rules.world.incarnations
        return str(d.store.inc) if accepted else "0"

    def _peer_answers(self, d: Draft, h: int) -> None:
        other = d.hosts[1 - h]
        if not other.up:
            d.step(h, RE.PEER_SILENT)
            return
        proc = d.proc(h)
        ledger = self.rules.ledgers.values[proc.ledger]
        standing = witness.standing(ledger, ledger.known)
        has = self._peer_has(other, proc.opened)
        if not has:
            d.step(h, RE.PEER_HAS_NONE, standing=standing)
            return
        named = witness.begin_session(ledger, identity(1 - h, other.nonce))
        d.change_proc(h, ledger=self.rules.ledgers.of(named))
        d.step(h, RE.PEER_HAS_COPY, standing=standing)

    def _peer_has(self, other: Host, opened: int) -> bool:
        """What the other host's agent answers, and what the asker makes of it."""
        if other.copy.kind in HELD_COPIES and other.copy.mem < 0:
            return False
        if other.copy.kind not in COPIES_OF_A_SESSION or other.proc is None:
            return False
        session = self.rules.ledgers.values[other.proc.ledger].session
        return session > 0 and not witness.is_obsolete(session, opened)

    # -- sessions ---------------------------------------------------------------------------

    def _start(self, world: World, h: int) -> Iterator[Move]:
        host, other = world.hosts[h], world.hosts[1 - h]
        runs = host.copy.kind is CopyKind.LIVE and host.out is Out.OPEN
        free = other.up and other.proc is None and other.copy.kind is CopyKind.ABSENT
        if world.budget.sessions and runs and free and world.intent is not Intent.STOPPED:
            yield Move(f"{HOSTS[h]}: protect", lambda d: self._protect(d, h), Kind.ACCIDENT, h)

    def _protect(self, d: Draft, h: int) -> None:
        host, other = d.hosts[h], d.hosts[1 - h]
        d.budget = d.budget._replace(sessions=d.budget.sessions - 1)
        d.intent = Intent.NOTHING
        if host.proc is None:
            inc = self._disk_incarnation(d)
            ledger = Ledger(identity(h, host.nonce), incarnation=inc)
            d.change(h, proc=Proc(PRIMARY, PS.NEW, self.rules.ledgers.of(ledger)))
        mine = self.rules.ledgers.values[d.proc(h).ledger]
        named = witness.begin_session(mine, identity(1 - h, other.nonce))
        d.change_proc(h, ledger=self.rules.ledgers.of(named))
        d.step(h, PE.START)

    # -- readings ---------------------------------------------------------------------------

    def _reads(self, d: Draft, h: int) -> None:
        proc = d.proc(h)
        assert proc.request is not None
        _, register, opened, inc = proc.request
        if not self.rules.world.incarnations:
            inc = 0
        ledger, view = self.rules.read(proc.ledger, register, opened, inc)
        if view.standing is Standing.WON and not self.rules.world.own_wins_count:
            ledger, view = proc.ledger, View(Standing.UNKNOWN, view.opened)
        d.change_proc(h, request=None, ledger=ledger)
        if proc.role == RETURNING:
            d.change_proc(h, opened=opened)
        facts: dict[str, Any] = {"standing": view.standing, "opened": view.opened}
        if proc.role == PRIMARY:
            facts["buffered"] = proc.buffered
        d.step(h, EVENTS[proc.role].READ, **facts)

    def _handles(self, role: int, state: Any, event: Any) -> bool:
        return self.rules.tables[role].verdict(state, event) is Verdict.HANDLED

    # -- a store that is restored from a backup ---------------------------------------------

    def _store_accidents(self, world: World) -> Iterator[Move]:
        store = world.store
        if world.budget.rewinds and store.saved is None:
            yield Move("the store is backed up", _back_up, Kind.ACCIDENT)
        if world.budget.rewinds and store.saved is not None:
            yield Move("the store is restored from its backup", _rewind, Kind.ACCIDENT)
        if not self.rules.world.incarnations:
            return
        if store.inc == 1 and store.saved is not None and all(h.up for h in world.hosts):
            yield Move("both hosts report, the store goes on", self._accept)
        for h in (0, 1):
            proc = world.hosts[h].proc
            if proc is None or proc.crashed or store.saved is not None or not store.inc:
                continue
            if self.rules.ledgers.values[proc.ledger].incarnation != str(store.inc):
                yield Move(f"{HOSTS[h]} accepts the store", partial(self._accepted, h=h), step_of=h)

    def _accept(self, d: Draft) -> None:
        """The newest value that either host knows counts; ``saved`` None says: accepted."""
        known = []
        for host in d.hosts:
            number = host.known
            if host.proc is not None:
                ledger = self.rules.ledgers.values[host.proc.ledger]
                number = self.rules.registers.of(ledger.known) or number
            known.append(self.rules.registers.values[number])
        register = witness.reconcile(*known, self.rules.registers.values[d.store.register])
        opened = max([d.store.opened, *(self._opened(d, h, register) for h in (0, 1))])
        number = self.rules.registers.of(register)
        author = d.store.author if register is None else HOSTS.index(_author(register))
        d.store = d.store._replace(register=number, opened=opened, author=author, saved=None)

    def _opened(self, d: Draft, h: int, register: Any) -> int:
        if register is None or not d.emits(h):
            return 0
        return int(register.generation)

    def _accepted(self, d: Draft, h: int) -> None:
        proc = d.proc(h)
        ledger = witness.accept_incarnation(self.rules.ledgers.values[proc.ledger])
        number = self.rules.ledgers.of(replace(ledger, incarnation=str(d.store.inc)))
        d.change_proc(h, ledger=number)
        d.step(h, EVENTS[proc.role].STORE_ACCEPTED)

    # -- a conductor that decides (W8 forbids it) -------------------------------------------

    def _conductor(self, world: World) -> Iterator[Move]:
        register = self.rules.registers.values[world.store.register]
        if register is None or register.holder is None or not world.budget.intents:
            return
        h = 1 - HOSTS.index(register.holder.host)
        if world.hosts[h].up:
            yield Move(
                f"the conductor gives the guest to {HOSTS[h]}",
                lambda d: self._give(d, h),
                Kind.ACCIDENT,
            )

    def _give(self, d: Draft, h: int) -> None:
        register = self.rules.registers.values[d.store.register]
        d.budget = d.budget._replace(intents=d.budget.intents - 1)
        ledger = Ledger(identity(h, d.hosts[h].nonce), known=register)
        number = self.rules.registers.of(witness.seize(ledger))
        d.store = d.store._replace(register=number, author=CONDUCTOR)

    # -- words for traces -------------------------------------------------------------------

    def _value(self, number: int) -> str:
        r = self.rules.registers.values[number]
        if r is None:
            return "nothing"
        who = r.kind.value if r.holder is None else str(r.holder)
        return f"({r.generation}, {who}{f' + {r.backup}' if r.backup else ''})"

    def _say(self, flight: Any) -> str:
        if flight.record:
            return f"{HOSTS[flight.author]}'s 'opened {flight.new}'"
        swap = f"{self._value(flight.old)} -> {self._value(flight.new)}"
        return f"{HOSTS[flight.author]}'s swap {swap}"


def _author(register: Any) -> str:
    return str((register.holder or register.backup).host)


def _back_up(d: Draft) -> None:
    d.store = d.store._replace(saved=(d.store.register, d.store.opened, d.store.author))


def _rewind(d: Draft) -> None:
    assert d.store.saved is not None
    register, opened, author = d.store.saved
    d.budget = d.budget._replace(rewinds=d.budget.rewinds - 1)
    d.store = Store(register, opened, d.store.inc + 1, author, d.store.saved)


def _timer(d: Draft, h: int, event: Any) -> None:
    d.change_proc(h, timer=False)
    d.step(h, event)


def _read_store(d: Draft, h: int) -> None:
    d.change_proc(h, request=("value", d.store.register, d.store.opened, d.store.inc))


def _fed(d: Draft, h: int, event: Any) -> None:
    d.change_proc(h, request=None)
    d.step(h, event)


def _no_reading(d: Draft, h: int) -> None:
    _fed(d, h, EVENTS[d.proc(h).role].READ_FAILED)


def _silent(d: Draft, h: int) -> None:
    _fed(d, h, RE.PEER_SILENT)


def _answer(d: Draft, h: int, answer: str) -> None:
    proc = d.proc(h)
    events = EVENTS[proc.role]
    if answer == "won":
        d.change_proc(h, ledger=d.rules.derive("won", proc.ledger))
    event = {
        "won": events.SWAP_WON,
        "refused": events.SWAP_REFUSED,
        "recorded": events.OPENED_RECORDED,
        "unrecorded": events.RECORD_FAILED,
    }[answer]
    _fed(d, h, event)


def _guest_ends(d: Draft, h: int, kind: CopyKind) -> None:
    d.budget = d.budget._replace(intents=d.budget.intents - 1)
    d.change_copy(h, kind=kind)


def _guest_ended(d: Draft, h: int, event: Any) -> None:
    d.change_proc(h, told=True)
    d.step(h, event)


def _unprotect(d: Draft, h: int) -> None:
    d.budget = d.budget._replace(intents=d.budget.intents - 1)
    d.step(h, PE.UNPROTECT)


def _fail_over(d: Draft, h: int) -> None:
    d.budget = d.budget._replace(failovers=d.budget.failovers - 1)
    d.step(h, PE.FAIL_OVER)


def _acked(d: Draft, h: int, event: Any) -> None:
    proc = d.proc(h)
    if event is PE.FIRST_ACK:
        d.step(h, event, buffered=proc.buffered)
    else:
        d.step(h, event, outstanding=proc.due, final=proc.last)


def _cut(d: Draft, h: int, buffered: bool) -> None:
    """The primary suspends, closes its epoch and sends it; output after that is of the next."""
    proc = d.proc(h)
    epoch = proc.epoch + 1
    sent = list(d.net.sent)
    sent[proc.session] = epoch
    d.net = d.net._replace(sent=tuple(sent))
    d.change_proc(h, epoch=epoch, due=True, buffered=buffered)
    if proc.last:
        d.change_copy(h, kind=CopyKind.PAUSED)
    if epoch == 0:
        if not buffered:
            d.budget = d.budget._replace(plug_failures=d.budget.plug_failures - 1)
            return
        d.change(h, out=Out.HELD)
        d.need = Need(h, proc.session, -1)


def _restored(d: Draft, h: int) -> None:
    """The copy begins to run on its disks."""
    copy = d.hosts[h].copy
    if copy.mem != copy.disk:
        raise Violation("memory and disk of different epochs")
    d.change_copy(h, kind=CopyKind.RESTORED)


def _commit(d: Draft, h: int) -> None:
    """The first of the commit's two steps."""
    d.change_copy(h, mem=d.hosts[h].copy.mem + 1)
