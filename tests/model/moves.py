"""Everything that may happen next in a world: the environment's moves.

Every move is one event of one party. ``Kind`` tells what the liveness check may count on: answers
arrive and processes are restarted some day; accidents need not happen; a host need not return.
"""

import enum
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from remus_ha.core import backup, primary
from remus_ha.core.table import Verdict
from tests.model import accidents, events
from tests.model.draft import CrashedMidway, Draft, Violation
from tests.model.events import BE, EVENTS, PE
from tests.model.rules import BACKUP, PRIMARY, RETURNING, Rules
from tests.model.world import DIED, HELD_COPIES, HOSTS, CopyKind, Intent, Out, Proc, World

LAST_EPOCH = 1

PS, BS = primary.State, backup.State
STREAMING = (PS.PROTECTED, PS.YIELDING)


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
            yield self._make(world, move)
            if move.step_of is not None and world.budget.process_crashes:
                yield from self._killed_midway(world, move)

    def _make(self, world: World, move: Move) -> Next:
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
                accidents.crash_process(draft, h)
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
            yield Move(f"{name} comes back", lambda d: accidents.come_back(d, h), Kind.RETURN)
            return
        if world.budget.host_crashes:
            yield Move(
                f"{name} loses its power", lambda d: accidents.crash_host(d, h), Kind.ACCIDENT
            )
        yield from self._copy(world, h)
        proc = host.proc
        if proc is None or proc.state is PS.ALONE:
            yield from self._start(world, h)
        if proc is None:
            return
        if proc.crashed:
            if self.rules.world.restarts:
                yield Move(
                    f"{name}: process restarted", lambda d: accidents.restart(d, h), step_of=h
                )
            return
        yield from self._process(world, h, proc)

    def _process(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        name = HOSTS[h]
        if self._committing(world, h, proc):
            yield Move(f"{name}: disks commit", lambda d: events.commit_disks(d, h), step_of=h)
        else:
            yield from self._answers(h, proc)
            if proc.timer:
                event = EVENTS[proc.role].RETRY
                yield Move(f"{name}: asks again", lambda d: events.timer(d, h, event), step_of=h)
            if proc.role == PRIMARY:
                yield from self._primary(world, h, proc)
            elif proc.role == BACKUP:
                yield from self._backup(world, h, proc)
            yield from self._operator(world, h, proc)
        if world.budget.process_crashes:
            yield Move(
                f"{name}: process killed", lambda d: accidents.crash_process(d, h), Kind.ACCIDENT
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
        if what == "peer":
            yield Move(
                f"{name}: the peer answers", lambda d: accidents.peer_answers(d, h), step_of=h
            )
            yield Move(f"{name}: the peer is silent", lambda d: events.silent(d, h), step_of=h)
            return
        if what == "read":
            yield Move(f"store answers {name}'s reading", lambda d: events.read_store(d, h))
            yield Move(f"{name}: no reading", lambda d: events.no_reading(d, h), Kind.ACCIDENT, h)
        elif what == "value":
            yield Move(
                f"{name} reads {self._value(proc.request[1])}",
                lambda d: events.reads(d, h),
                step_of=h,
            )
            yield Move(f"{name}: no reading", lambda d: events.no_reading(d, h), Kind.ACCIDENT, h)
        else:
            record = (
                proc.request[1].record if what == "sent" else proc.request[1].endswith("recorded")
            )
            names = EVENTS[proc.role]
            unknown = names.RECORD_FAILED if record else names.SWAP_UNKNOWN
            if what == "answered":
                answer = proc.request[1]
                yield Move(
                    f"{name} learns: {answer}", lambda d: events.answer(d, h, answer), step_of=h
                )
            yield Move(f"{name}: no answer", lambda d: events.fed(d, h, unknown), Kind.ACCIDENT, h)

    # -- the primary ------------------------------------------------------------------------

    def _primary(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        name, copy = HOSTS[h], world.hosts[h].copy
        state = proc.state
        if copy.kind in (CopyKind.ENDED, CopyKind.ENDED_REBOOT) and not proc.told:
            reboot = copy.kind is CopyKind.ENDED_REBOOT
            event = PE.GUEST_REBOOT if reboot else PE.GUEST_SHUTDOWN
            yield Move(
                f"{name} sees {event.value}", lambda d: events.guest_ended(d, h, event), step_of=h
            )
        if world.budget.intents and self._handles(PRIMARY, state, PE.UNPROTECT):
            yield Move(f"{name}: unprotect", lambda d: events.unprotect(d, h), Kind.ACCIDENT, h)
        if state not in primary.IN_SESSION:
            return
        if self.rules.world.doubts:
            yield Move(f"{name}: doubt", lambda d: d.step(h, PE.DOUBT), step_of=h)
        if world.budget.failovers and state is PS.PROTECTED:
            yield Move(
                f"{name}: planned failover", lambda d: events.fail_over(d, h), Kind.ACCIDENT, h
            )
        if state is PS.YIELDING and copy.kind is CopyKind.LIVE:
            yield Move(f"{name}: called off", lambda d: events.called_off(d, h), Kind.ACCIDENT, h)
        if state is PS.YIELDED:
            yield Move(
                f"{name}: takes the guest back", lambda d: d.step(h, PE.TAKE_BACK), step_of=h
            )
        if copy.kind is CopyKind.LIVE:
            yield from self._epochs(world, h, proc)
        if proc.due and world.net.acks[proc.session] >= proc.epoch:
            event = PE.FIRST_ACK if proc.epoch == 0 else PE.ACK
            if self._handles(PRIMARY, state, event):
                yield Move(
                    f"{name}: ACK({proc.epoch}) arrives",
                    lambda d: events.acked(d, h, event),
                    step_of=h,
                )

    def _epochs(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        name, epoch = HOSTS[h], proc.epoch + 1
        if proc.due or epoch > LAST_EPOCH + proc.last or (epoch and proc.state not in STREAMING):
            return
        last = ", the last one" if proc.last else ""
        buffered = epoch == 0 or proc.buffered
        yield Move(
            f"{name}: suspends, BUFFER, sends epoch {epoch}{last}",
            lambda d: events.cut(d, h, buffered),
        )
        if epoch == 0 and world.budget.plug_failures:
            yield Move(
                f"{name}: suspends, a plug fails, sends epoch 0",
                lambda d: events.cut(d, h, False),
                Kind.ACCIDENT,
            )

    # -- the backup -------------------------------------------------------------------------

    def _backup(self, world: World, h: int, proc: Proc) -> Iterator[Move]:
        name, copy = HOSTS[h], world.hosts[h].copy
        if proc.acking and copy.mem < world.net.sent[proc.session]:
            if copy.kind is CopyKind.INCOMING:
                yield Move(
                    f"{name}: memory commits epoch {copy.mem + 1}", lambda d: events.commit(d, h)
                )
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

    # -- copies -----------------------------------------------------------------------------

    def _copy(self, world: World, h: int) -> Iterator[Move]:
        host, name = world.hosts[h], HOSTS[h]
        kind = host.copy.kind
        if kind is CopyKind.RESTORING:
            yield Move(
                f"{name}: the domain runs behind shut vifs",
                lambda d: events.restored(d, h),
            )
        if kind in HELD_COPIES and world.budget.restore_failures:
            yield Move(f"{name}: the copy dies", lambda d: accidents.copy_dies(d, h), Kind.ACCIDENT)
        primary_here = host.proc is not None and host.proc.role == PRIMARY
        if world.budget.intents and kind is CopyKind.LIVE and primary_here:
            for end in (CopyKind.ENDED, CopyKind.ENDED_REBOOT):
                yield Move(
                    f"{name}: the guest {'reboots' if end is CopyKind.ENDED_REBOOT else 'ends'}",
                    partial(events.guest_ends, h=h, kind=end),
                    Kind.ACCIDENT,
                )

    # -- sessions ---------------------------------------------------------------------------

    def _start(self, world: World, h: int) -> Iterator[Move]:
        host, other = world.hosts[h], world.hosts[1 - h]
        runs = host.copy.kind is CopyKind.LIVE and host.out is Out.OPEN
        free = other.up and other.proc is None and other.copy.kind is CopyKind.ABSENT
        if world.budget.sessions and runs and free and world.intent is not Intent.STOPPED:
            yield Move(f"{HOSTS[h]}: protect", lambda d: accidents.protect(d, h), Kind.ACCIDENT, h)

    def _handles(self, role: int, state: Any, event: Any) -> bool:
        return self.rules.tables[role].verdict(state, event) is Verdict.HANDLED

    # -- a store that is restored from a backup ---------------------------------------------

    def _store_accidents(self, world: World) -> Iterator[Move]:
        store = world.store
        if world.budget.rewinds and store.saved is None:
            yield Move("the store is backed up", accidents.back_up, Kind.ACCIDENT)
        if world.budget.rewinds and store.saved is not None:
            yield Move("the store is restored from its backup", accidents.rewind, Kind.ACCIDENT)
        if not self.rules.world.incarnations:
            return
        if store.inc == 1 and store.saved is not None and all(h.up for h in world.hosts):
            yield Move("both hosts report, the store goes on", accidents.accept)
        for h in (0, 1):
            proc = world.hosts[h].proc
            if proc is None or proc.crashed or store.saved is not None or not store.inc:
                continue
            if self.rules.ledgers.values[proc.ledger].incarnation != str(store.inc):
                yield Move(
                    f"{HOSTS[h]} accepts the store", partial(accidents.accepted, h=h), step_of=h
                )

    # -- a conductor that decides (W8 forbids it) -------------------------------------------

    def _conductor(self, world: World) -> Iterator[Move]:
        register = self.rules.registers.values[world.store.register]
        if register is None or register.holder is None or not world.budget.intents:
            return
        h = 1 - HOSTS.index(register.holder.host)
        if world.hosts[h].up:
            yield Move(
                f"the conductor gives the guest to {HOSTS[h]}",
                lambda d: accidents.give(d, h),
                Kind.ACCIDENT,
            )

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
