"""Accidents, what follows them, and what people do: changes that no table asks for."""

from dataclasses import replace
from typing import Any

from remus_ha.core import backup, primary, returning, witness
from remus_ha.core.register import Kind as RegisterKind
from remus_ha.core.witness import Ledger
from tests.model import events
from tests.model.draft import Draft, Violation
from tests.model.events import BE, EVENTS, PE, RE
from tests.model.rules import BACKUP, PRIMARY, RETURNING
from tests.model.world import (
    DIED,
    HELD_COPIES,
    HOSTS,
    OWN_COPIES,
    Copy,
    CopyKind,
    Host,
    Intent,
    Out,
    Proc,
    Store,
    identity,
)

CONDUCTOR = 2  # as the author of a value: neither host

PS, BS, RS = primary.State, backup.State, returning.State
COPIES_OF_A_SESSION = (*OWN_COPIES, *HELD_COPIES)


def copy_dies(d: Draft, h: int) -> None:
    """The restore fails, or the restored domain dies."""
    before, kind, losses = d.somewhere(), d.hosts[h].copy.kind, d.losses
    lived = kind in (CopyKind.RESTORED, CopyKind.KEPT)
    d.change_copy(h, kind=CopyKind.DEAD if lived else CopyKind.FAILED)
    d.budget = d.budget._replace(restore_failures=d.budget.restore_failures - 1)
    d.losses += 1
    if before and not d.somewhere() and not losses and not (lived and _holds(d, h)):
        raise Violation("a restore that failed took the last complete copy with it")


def _holds(d: Draft, h: int) -> bool:
    """Whether the register names this life of the host alone."""
    register = d.rules.registers.values[d.store.register]
    if register is None or register.kind is not RegisterKind.HOLDER:
        return False
    return bool(register.holder == identity(h, d.hosts[h].nonce))


def crash_process(d: Draft, h: int) -> None:
    """The process dies; what it had asked or read dies with it."""
    proc, host = d.proc(h), d.hosts[h]
    d.budget = d.budget._replace(process_crashes=d.budget.process_crashes - 1)
    d.change(
        h,
        proc=Proc(
            proc.role,
            None,
            d.rules.derive("successor", proc.ledger),
            session=proc.session,
            crashed=True,
        ),
    )
    if proc.role == BACKUP and not d.rules.world.keeper:
        d.end_of_file(h)
    if host.copy.kind is CopyKind.PAUSED and proc.role == PRIMARY:
        d.change_copy(h, kind=CopyKind.LIVE)


def restart(d: Draft, h: int) -> None:
    """Its parent or the keeper puts another process in its place."""
    proc, copy = d.proc(h), d.hosts[h].copy
    if proc.role == PRIMARY:
        d.change_proc(h, state=PS.NEW, crashed=False)
        d.step(h, PE.RESTART)
        if copy.kind is CopyKind.ABSENT:
            events.guest_ended(d, h, PE.GUEST_GONE)
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


def crash_host(d: Draft, h: int) -> None:
    """All but the disk is lost."""
    host = d.hosts[h]
    before, losses = d.somewhere(), d.losses
    sole = _unprotected(d)
    d.hosts[h] = host._replace(up=False, copy=Copy(), out=Out.SHUT, proc=None)
    d.budget = d.budget._replace(host_crashes=d.budget.host_crashes - 1)
    d.losses += 1
    d.note_opening(h)
    if before and not d.somewhere() and not sole and not losses:
        raise Violation("a protected guest did not survive one crash")


def _unprotected(d: Draft) -> bool:
    """Whether no crash was promised to be survived.

    The guest was stopped on purpose, or there is no pair and nothing was let out on a copy's
    strength.
    """
    register = d.rules.registers.values[d.store.register]
    kind = RegisterKind.NONE if register is None else register.kind
    if kind is RegisterKind.HOLDER:
        return d.need.epoch < 0
    return kind is RegisterKind.NONE


def come_back(d: Draft, h: int) -> None:
    """The host boots, and with it a stale copy from its disk, behind shut vifs."""
    nonce = d.hosts[h].nonce + 1
    inc = _disk_incarnation(d)
    ledger = d.rules.ledgers.of(Ledger(identity(h, nonce), incarnation=inc))
    d.hosts[h] = d.hosts[h]._replace(
        up=True,
        nonce=nonce,
        copy=Copy(CopyKind.STALE),
        out=Out.SHUT,
        proc=Proc(RETURNING, RS.NEW, ledger),
    )
    d.step(h, RE.START)


def _disk_incarnation(d: Draft) -> str:
    """The incarnation that every host has on its disk: the first, until another is accepted."""
    accepted = d.store.saved is None or not d.rules.world.incarnations
    return str(d.store.inc) if accepted else "0"


def peer_answers(d: Draft, h: int) -> None:
    """The other host's agent says what it has, as it is now."""
    other = d.hosts[1 - h]
    if not other.up:
        d.step(h, RE.PEER_SILENT)
        return
    proc = d.proc(h)
    ledger = d.rules.ledgers.values[proc.ledger]
    standing = witness.standing(ledger, ledger.known)
    has = _peer_has(d, other, proc.opened)
    if not has:
        d.step(h, RE.PEER_HAS_NONE, standing=standing)
        return
    named = witness.begin_session(ledger, identity(1 - h, other.nonce))
    d.change_proc(h, ledger=d.rules.ledgers.of(named))
    d.step(h, RE.PEER_HAS_COPY, standing=standing)


def _peer_has(d: Draft, other: Host, opened: int) -> bool:
    """What the other host's agent answers, and what the asker makes of it."""
    if other.copy.kind in HELD_COPIES and other.copy.mem < 0:
        return False
    if other.copy.kind not in COPIES_OF_A_SESSION or other.proc is None:
        return False
    session = d.rules.ledgers.values[other.proc.ledger].session
    return session > 0 and not witness.is_obsolete(session, opened)


def protect(d: Draft, h: int) -> None:
    """The operator wants a session with the other host."""
    host, other = d.hosts[h], d.hosts[1 - h]
    d.budget = d.budget._replace(sessions=d.budget.sessions - 1)
    d.intent = Intent.NOTHING
    if host.proc is None:
        inc = _disk_incarnation(d)
        ledger = Ledger(identity(h, host.nonce), incarnation=inc)
        d.change(h, proc=Proc(PRIMARY, PS.NEW, d.rules.ledgers.of(ledger)))
    mine = d.rules.ledgers.values[d.proc(h).ledger]
    named = witness.begin_session(mine, identity(1 - h, other.nonce))
    d.change_proc(h, ledger=d.rules.ledgers.of(named))
    d.step(h, PE.START)


def accept(d: Draft) -> None:
    """The newest value that either host knows counts; ``saved`` None says: accepted."""
    known = []
    for host in d.hosts:
        number = host.known
        if host.proc is not None:
            ledger = d.rules.ledgers.values[host.proc.ledger]
            number = d.rules.registers.of(ledger.known) or number
        known.append(d.rules.registers.values[number])
    register = witness.reconcile(*known, d.rules.registers.values[d.store.register])
    opened = max([d.store.opened, *(_opened(d, h, register) for h in (0, 1))])
    number = d.rules.registers.of(register)
    author = d.store.author if register is None else HOSTS.index(_author(register))
    d.store = d.store._replace(register=number, opened=opened, author=author, saved=None)


def _opened(d: Draft, h: int, register: Any) -> int:
    if register is None or not d.emits(h):
        return 0
    return int(register.generation)


def accepted(d: Draft, h: int) -> None:
    """A process takes up the accepted store."""
    proc = d.proc(h)
    ledger = witness.accept_incarnation(d.rules.ledgers.values[proc.ledger])
    number = d.rules.ledgers.of(replace(ledger, incarnation=str(d.store.inc)))
    d.change_proc(h, ledger=number)
    d.step(h, EVENTS[proc.role].STORE_ACCEPTED)


def give(d: Draft, h: int) -> None:
    """A conductor that takes a host for dead swaps for the other one."""
    register = d.rules.registers.values[d.store.register]
    d.budget = d.budget._replace(intents=d.budget.intents - 1)
    ledger = Ledger(identity(h, d.hosts[h].nonce), known=register)
    number = d.rules.registers.of(witness.seize(ledger))
    d.store = d.store._replace(register=number, author=CONDUCTOR)


def _author(register: Any) -> str:
    return str((register.holder or register.backup).host)


def back_up(d: Draft) -> None:
    """Somebody takes a backup of the store."""
    d.store = d.store._replace(saved=(d.store.register, d.store.opened, d.store.author))


def rewind(d: Draft) -> None:
    """The store is restored from that backup and begins another incarnation."""
    assert d.store.saved is not None
    register, opened, author = d.store.saved
    d.budget = d.budget._replace(rewinds=d.budget.rewinds - 1)
    d.store = Store(register, opened, d.store.inc + 1, author, d.store.saved)
