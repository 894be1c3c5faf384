"""A store that was restored or wiped: both hosts say what they know, then it counts again (W9).

A report makes the row the newest value that anybody knows (``remus_ha.core.witness.reconcile``). It
changes nothing else: who has not accepted the store's new life distrusts it, and who is cut off
still names the old life in every swap, which is refused.
"""

from dataclasses import dataclass, replace

from remus_ha.core.register import Register
from remus_ha.core.witness import Knowledge, reconcile
from remus_ha.witness import etcdtxn as tx
from remus_ha.witness.admin import Session
from remus_ha.witness.deadline import Deadline
from remus_ha.witness.errors import ReportsDiffer, WitnessCorrupt, WitnessUnavailable
from remus_ha.witness.rows import decode_opened, decode_register, encode_opened

TIMEOUT_S = 5.0
ATTEMPTS = 5  # two hosts report: nobody else writes meanwhile


@dataclass(frozen=True, slots=True)
class Reported:
    """What the store has of a guest. ``hosts`` have reported to this incarnation."""

    register: Register | None
    opened: int
    incarnation: str
    hosts: frozenset[str]
    revision: int


def parties(register: Register | None) -> frozenset[str]:
    """The hosts that a register names."""
    named = (register.holder, register.backup) if register is not None else ()
    return frozenset(party.host for party in named if party is not None)


def look(url: str, uuid: str) -> Reported:
    """Raises WitnessError."""
    with Session(url, TIMEOUT_S) as session:
        return _look(session, uuid)


def report(
    url: str, uuid: str, host: str, mine: Knowledge, without: frozenset[str] = frozenset()
) -> Reported:
    """``mine`` is what ``host`` knows; said once per life. Returns what the store has then.

    What only hosts ``without`` a copy have said gives way to it. Raises ReportsDiffer (nothing is
    written then), WitnessError.
    """
    with Session(url, TIMEOUT_S) as session:
        for _ in range(ATTEMPTS):
            found = _look(session, uuid)
            if host in found.hosts:
                return found  # what it knew counts, or an operator has decided without it
            known = mine.known
            if known is not None and _contradicts(found.register, known):
                if not parties(found.register) <= {host, *without}:
                    raise ReportsDiffer(uuid=uuid, known=known, row=found.register)
                mine = replace(mine, known=replace(known, generation=known.generation + 1))
            if session.write(_report(session, uuid, host, found, mine)).branch.succeeded:
                return _look(session, uuid)
    raise WitnessUnavailable(store=url, why="somebody else changes the row all the time")


def excuse(url: str, uuid: str, hosts: frozenset[str]) -> None:
    """These hosts have nothing to add: what they may still say of a former life changes nothing."""
    with Session(url, TIMEOUT_S) as session:
        found = _look(session, uuid)
        mark = found.incarnation.encode()
        puts = [tx.put(session.keys.reports(uuid) + host, mark) for host in sorted(hosts)]
        same_life = tx.is_value(session.keys.incarnation, mark)
        if not session.write(tx.txn([same_life], puts, [])).branch.succeeded:
            raise WitnessUnavailable(store=url, why="it was given another life meanwhile")


def await_reports(url: str, uuid: str, hosts: frozenset[str], timeout_s: float) -> Reported:
    """Wait until all of ``hosts`` have reported; what the store has then, or after the time."""
    deadline = Deadline(timeout_s)
    while True:
        found = look(url, uuid)
        if hosts <= found.hosts or deadline.remaining() <= 0:
            return found
        with Session(url, deadline.remaining()) as session:
            session.await_news(session.keys.guest(uuid), found.revision)


def _contradicts(row: Register | None, known: Register) -> bool:
    return row is not None and row.generation == known.generation and row != known


def _look(session: Session, uuid: str) -> Reported:
    keys = session.keys
    row, opened, reports = keys.register(uuid), keys.opened(uuid), keys.reports(uuid)
    wanted = [tx.get(keys.incarnation), tx.get(row), tx.get(opened), tx.get_prefix(reports)]
    outcome = session.read_all(wanted)
    incarnation = session.incarnation(outcome)
    marks = outcome.branch.pairs(3)
    raw_row, raw_opened = outcome.branch.value(1), outcome.branch.value(2)
    try:
        return Reported(
            register=None if raw_row is None else decode_register(raw_row),
            opened=0 if raw_opened is None else decode_opened(raw_opened),
            incarnation=incarnation,
            hosts=frozenset(
                mark.key.removeprefix(reports)
                for mark in marks
                if mark.value == incarnation.encode()
            ),
            revision=outcome.revision,
        )
    except ValueError as e:
        raise WitnessCorrupt(store=session, key=row, value=(raw_row, raw_opened)) from e


def _report(session: Session, uuid: str, host: str, found: Reported, mine: Knowledge) -> tx.Json:
    keys, row = session.keys, session.keys.register(uuid)
    newest = reconcile(found.register, mine.known)
    same_row = tx.is_absent(row)
    if found.register is not None:
        same_row = tx.is_value(row, found.register.encode())
    puts = [tx.put(keys.reports(uuid) + host, found.incarnation.encode())]
    if newest is not None and newest != found.register:
        puts.append(tx.put(row, newest.encode()))
    if mine.opened > found.opened:
        puts.append(tx.put(keys.opened(uuid), encode_opened(mine.opened)))
    same_life = tx.is_value(keys.incarnation, found.incarnation.encode())
    return tx.txn([same_life, same_row], puts, [])
