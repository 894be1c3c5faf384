"""The events that processes take, and what the world does to bring them about."""

from typing import Any

from remus_ha.core import backup, primary, returning
from remus_ha.core.witness import Standing, View
from tests.model.draft import Draft, Violation
from tests.model.rules import PRIMARY, RETURNING
from tests.model.world import CopyKind, Need, Out

PE, BE, RE = primary.Event, backup.Event, returning.Event
EVENTS = (PE, BE, RE)


def commit_disks(d: Draft, h: int) -> None:
    """The second of the commit's two steps; the epoch is real."""
    d.change_copy(h, disk=d.hosts[h].copy.mem)
    d.step(h, BE.COMMITTED)


def reads(d: Draft, h: int) -> None:
    """A reading arrives, perhaps late."""
    proc = d.proc(h)
    assert proc.request is not None
    _, register, opened, inc = proc.request
    if not d.rules.world.incarnations:
        inc = 0
    ledger, view = d.rules.read(proc.ledger, register, opened, inc)
    if view.standing is Standing.WON and not d.rules.world.own_wins_count:
        ledger, view = proc.ledger, View(Standing.UNKNOWN, view.opened)
    d.change_proc(h, request=None, ledger=ledger)
    if proc.role == RETURNING:
        d.change_proc(h, opened=opened)
    facts: dict[str, Any] = {"standing": view.standing, "opened": view.opened}
    if proc.role == PRIMARY:
        facts["buffered"] = proc.buffered
    d.step(h, EVENTS[proc.role].READ, **facts)


def timer(d: Draft, h: int, event: Any) -> None:
    """The timer of ASK_AGAIN_LATER ends."""
    d.change_proc(h, timer=False)
    d.step(h, event)


def read_store(d: Draft, h: int) -> None:
    """The store answers a reading; the answer is on its way."""
    d.change_proc(h, request=("value", d.store.register, d.store.opened, d.store.inc))


def fed(d: Draft, h: int, event: Any) -> None:
    """The process stops waiting for what it had asked, and takes the event."""
    d.change_proc(h, request=None)
    d.step(h, event)


def no_reading(d: Draft, h: int) -> None:
    """The process gives up a reading."""
    fed(d, h, EVENTS[d.proc(h).role].READ_FAILED)


def silent(d: Draft, h: int) -> None:
    """The peer does not answer."""
    fed(d, h, RE.PEER_SILENT)


def answer(d: Draft, h: int, answer: str) -> None:
    """The store's answer to a swap or a note arrives."""
    proc = d.proc(h)
    names = EVENTS[proc.role]
    if answer == "won":
        d.change_proc(h, ledger=d.rules.derive("won", proc.ledger))
    event = {
        "won": names.SWAP_WON,
        "refused": names.SWAP_REFUSED,
        "recorded": names.OPENED_RECORDED,
        "unrecorded": names.RECORD_FAILED,
    }[answer]
    fed(d, h, event)


def guest_ends(d: Draft, h: int, kind: CopyKind) -> None:
    """The guest shuts itself down, or asks for a reboot."""
    d.budget = d.budget._replace(intents=d.budget.intents - 1)
    d.change_copy(h, kind=kind)


def guest_ended(d: Draft, h: int, event: Any) -> None:
    """The primary's process sees it."""
    d.change_proc(h, told=True)
    d.step(h, event)


def unprotect(d: Draft, h: int) -> None:
    """The operator ends the protection."""
    d.budget = d.budget._replace(intents=d.budget.intents - 1)
    d.step(h, PE.UNPROTECT)


def fail_over(d: Draft, h: int) -> None:
    """The operator moves the guest."""
    d.budget = d.budget._replace(failovers=d.budget.failovers - 1)
    d.step(h, PE.FAIL_OVER)


def called_off(d: Draft, h: int) -> None:
    """The guest is paused by its operator before its last epoch begins."""
    d.change_proc(h, last=False)
    d.step(h, PE.CALLED_OFF)


def acked(d: Draft, h: int, event: Any) -> None:
    """An acknowledgement arrives at the primary."""
    proc = d.proc(h)
    if event is PE.FIRST_ACK:
        d.step(h, event, buffered=proc.buffered)
    else:
        d.step(h, event, outstanding=proc.due, final=proc.last)


def cut(d: Draft, h: int, buffered: bool) -> None:
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


def restored(d: Draft, h: int) -> None:
    """The copy begins to run on its disks."""
    copy = d.hosts[h].copy
    if copy.mem != copy.disk:
        raise Violation("memory and disk of different epochs")
    d.change_copy(h, kind=CopyKind.RESTORED)


def commit(d: Draft, h: int) -> None:
    """The first of the commit's two steps."""
    d.change_copy(h, mem=d.hosts[h].copy.mem + 1)
