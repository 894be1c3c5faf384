"""What an operator does to a witness store. Front end only; every call opens its own connection.

Nothing here changes who may live; ``forget`` removes a guest's row only when it says what the
caller expects, and ``new_incarnation`` makes every running protection hold until it is restarted.
"""

import secrets
import threading
from dataclasses import dataclass

from remus_ha.core.register import Register
from remus_ha.witness import etcdtxn as tx
from remus_ha.witness.base import Reading
from remus_ha.witness.deadline import Deadline
from remus_ha.witness.errors import (
    WitnessCorrupt,
    WitnessNotInitialised,
    WitnessUrlInvalid,
)
from remus_ha.witness.etcd import EtcdWitness
from remus_ha.witness.gateway import Gateway
from remus_ha.witness.keys import Keys
from remus_ha.witness.url import parse_etcd_url

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Store:
    """A store as it is now. ``created``: this call gave it its incarnation."""

    url: str
    incarnation: str
    cluster_id: str
    revision: int
    created: bool


@dataclass(frozen=True, slots=True)
class Incarnated:
    """A change of incarnation."""

    url: str
    before: str
    after: str


class Session:
    """Transactions against the store of a URL, without judging what it was before."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = parse_etcd_url(url)
        self.keys = Keys(self._url.prefix)
        self._deadline = Deadline(timeout_s)
        hello = tx.txn([], [tx.get(self.keys.incarnation)], [])
        try:
            self._gateway = Gateway(self._url, hello, lambda _: None, threading.Event())
        except OSError as e:
            raise WitnessUrlInvalid(url=url, why=f"its TLS files cannot be used: {e}") from e

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._gateway.close()

    def __str__(self) -> str:
        return str(self._url)

    def read(self, request: tx.Json) -> tx.Outcome:
        return self.read_all([request])

    def read_all(self, requests: list[tx.Json]) -> tx.Outcome:
        """Of one moment."""
        return self._gateway.read(tx.txn([], requests, []), self._deadline)

    def write(self, txn: tx.Json) -> tx.Outcome:
        return self._gateway.write(txn, self._deadline)

    def await_news(self, prefix: str, revision: int) -> None:
        """Return at a write below ``prefix`` after ``revision``, or at the end of the time."""
        self._gateway.watch(tx.watch_request(prefix, revision + 1), self._deadline)

    def incarnation(self, outcome: tx.Outcome) -> str:
        """Of an answer whose first range was the incarnation. Raises WitnessNotInitialised."""
        value = outcome.branch.value(0)
        if value is None:
            raise WitnessNotInitialised(store=self, key=self.keys.incarnation)
        try:
            return value.decode("ascii")
        except UnicodeDecodeError as e:
            key = self.keys.incarnation
            raise WitnessCorrupt(store=self, key=key, value=value[:100]) from e


def initialise(url: str, timeout_s: float = TIMEOUT_S) -> Store:
    """Give a new store its incarnation; a store that has one keeps it. Idempotent."""
    with Session(url, timeout_s) as session:
        key, name = session.keys.incarnation, _new_name()
        put = tx.put(key, name.encode())
        outcome = session.write(tx.txn([tx.is_absent(key)], [put], [tx.get(key)]))
        created = outcome.branch.succeeded
        name = name if created else session.incarnation(outcome)
        return Store(str(session), name, outcome.cluster_id, outcome.revision, created)


def inspect(url: str, timeout_s: float = TIMEOUT_S) -> Store:
    """The store as it is. Raises WitnessNotInitialised."""
    with Session(url, timeout_s) as session:
        outcome = session.read(tx.get(session.keys.incarnation))
        name = session.incarnation(outcome)
        return Store(str(session), name, outcome.cluster_id, outcome.revision, created=False)


def new_incarnation(
    url: str, expected: str | None = None, timeout_s: float = TIMEOUT_S
) -> Incarnated:
    """After a restore: refuse every swap of whoever knew the store before.

    ``expected`` is the incarnation to replace (None: whatever it is); where another one stands,
    somebody has been here already, nothing changes and ``before`` equals ``after``. So repeating
    the call with the same ``expected`` is idempotent. Raises WitnessNotInitialised.
    """
    with Session(url, timeout_s) as session:
        key = session.keys.incarnation
        before = session.incarnation(session.read(tx.get(key)))
        if expected not in (None, before):
            return Incarnated(str(session), before, before)
        after = _new_name()
        outcome = session.write(
            tx.txn(
                [tx.is_value(key, before.encode())], [tx.put(key, after.encode())], [tx.get(key)]
            )
        )
        if outcome.branch.succeeded:
            return Incarnated(str(session), before, after)
        found = session.incarnation(outcome)
        return Incarnated(str(session), found, found)


def guests(url: str, timeout_s: float = TIMEOUT_S) -> tuple[str, ...]:
    """UUIDs of all guests with a row, sorted."""
    with Session(url, timeout_s) as session:
        found = session.read(tx.get_prefix(session.keys.guests)).branch.pairs(0)
        uuids = {session.keys.uuid_of(pair.key) for pair in found}
        return tuple(sorted(uuids - {""}))


def show(url: str, uuid: str, timeout_s: float = TIMEOUT_S) -> Reading:
    """One guest's row."""
    witness = EtcdWitness(url)
    try:
        return witness.read(uuid, timeout_s)
    finally:
        witness.close()


def forget(url: str, uuid: str, expected: Register, timeout_s: float = TIMEOUT_S) -> bool:
    """Remove all that is kept of a guest if the row is ``expected``; whether no row is left.

    For a guest whose protection both hosts have confirmed to be over: a row outlives it until
    then, since its absence lets nobody conclude anything. Idempotent.
    """
    with Session(url, timeout_s) as session:
        row = session.keys.register(uuid)
        expects = tx.is_value(row, expected.encode())
        every = tx.delete_prefix(session.keys.guest(uuid))
        outcome = session.write(tx.txn([expects], [every], [tx.get(row)]))
        return outcome.branch.succeeded or outcome.branch.value(0) is None


def _new_name() -> str:
    return secrets.token_hex(16)
