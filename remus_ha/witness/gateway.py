"""A store's members behind one door: which one is asked, and what is asked again.

* A read may be asked of every member in turn, within the budget.
* A write is sent once at most. Until it has been sent the next member is tried; afterwards a
  failure is ``WitnessUnavailable``. Sending it again would be harmless (it is a compare-and-swap
  and carries its own result), but would not answer what became of the first one; the caller
  reads, or asks for the same swap once more, when it wants to.
* A store can only go back in time while it is down, and then its connections end. So the first
  exchange on every connection is a harmless one whose answer is judged (``hello``); nothing else
  is sent on a connection before.
"""

import json
import ssl
import threading
from collections.abc import Callable

from remus_ha.witness import etcdtxn as tx
from remus_ha.witness.deadline import Deadline
from remus_ha.witness.errors import WitnessUnavailable
from remus_ha.witness.resolve import Unresolved
from remus_ha.witness.url import EtcdUrl, Tls
from remus_ha.witness.wire import Canceller, Lost, NotSent, Wire, WireError

TXN_PATH = "/v3/kv/txn"
WATCH_PATH = "/v3/watch"
Judge = Callable[[tx.Outcome], None]


class Gateway:
    """``hello`` is the first transaction on a connection; ``judge`` sees its outcome, may raise."""

    def __init__(
        self, url: EtcdUrl, hello: tx.Json, judge: Judge, interrupted: threading.Event
    ) -> None:
        """Raises OSError when the URL's TLS files cannot be used."""
        self._url = url
        self._hello = hello
        self._judge = judge
        self._canceller = Canceller(interrupted)
        self._tls = _tls_context(url.tls) if url.tls else None
        self._at = 0
        self._wire: Wire | None = None

    def read(self, txn: tx.Json, deadline: Deadline) -> tx.Outcome:
        """A transaction that changes nothing. Raises WitnessUnavailable, and what judge raises."""
        causes: list[str] = []
        for left in range(self._attempts(), 0, -1):
            share = deadline.share(left)
            try:
                return self._exchange(self._ready(share), txn, share)
            except WireError as e:
                causes.append(self._failed(e))
        raise self._unavailable(causes)

    def write(self, txn: tx.Json, deadline: Deadline) -> tx.Outcome:
        """A transaction that is sent once at most. Raises like ``read``."""
        causes: list[str] = []
        for left in range(self._attempts(), 0, -1):
            try:
                return self._exchange(self._ready(deadline.share(left)), txn, deadline)
            except NotSent as e:
                causes.append(self._failed(e))
            except Lost as e:
                raise self._unavailable([self._failed(e)]) from e
        raise self._unavailable(causes)

    def watch(self, body: bytes, deadline: Deadline) -> None:
        """Return at the first news, or at the deadline. Raises WitnessUnavailable."""
        wire = Wire(self._url.endpoints[self._at], self._canceller)
        try:
            self._open(wire, deadline)
            for line in wire.lines(WATCH_PATH, body, deadline):
                if tx.is_news(line):
                    return
            raise Lost("the watch ended")
        except (WireError, ValueError) as e:
            if deadline.remaining() > 0:
                raise self._unavailable([f"{wire.endpoint}: {e}"]) from e
        finally:
            wire.close()

    def interrupt(self) -> None:
        """From another thread: the call in progress fails soon."""
        self._canceller.fire()

    def close(self) -> None:
        """Drop the connection; the next call opens another."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _attempts(self) -> int:
        """Every member once; a kept connection that may be dead does not count as one."""
        return len(self._url.endpoints) + (self._wire is not None)

    def _ready(self, deadline: Deadline) -> Wire:
        """A connection whose store has been judged."""
        if self._wire is not None and self._wire.is_reusable():
            return self._wire
        self.close()
        wire = Wire(self._url.endpoints[self._at], self._canceller)
        try:
            self._open(wire, deadline)
            self._greet(wire, deadline)
        except BaseException:
            wire.close()
            raise
        self._wire = wire
        return wire

    def _open(self, wire: Wire, deadline: Deadline) -> None:
        try:
            wire.connect(self._tls, deadline)
        except Unresolved as e:
            raise NotSent(str(e)) from e

    def _greet(self, wire: Wire, deadline: Deadline) -> None:
        try:
            self._judge(self._exchange(wire, self._hello, deadline))
        except Lost as e:
            raise NotSent(str(e)) from e

    def _exchange(self, wire: Wire, txn: tx.Json, deadline: Deadline) -> tx.Outcome:
        answer = wire.post(TXN_PATH, json.dumps(txn).encode(), deadline)
        if answer.status != 200:
            raise Lost(f"HTTP {answer.status}: {answer.body[:200].decode(errors='replace')}")
        try:
            return tx.parse(answer.body, txn)
        except ValueError as e:
            raise Lost(f"its answer is rubbish: {e}") from e

    def _failed(self, error: WireError) -> str:
        """Turn to the next member; what to report."""
        cause = f"{self._url.endpoints[self._at]}: {error}"
        self._at = (self._at + 1) % len(self._url.endpoints)
        self.close()
        return cause

    def _unavailable(self, causes: list[str]) -> WitnessUnavailable:
        return WitnessUnavailable(store=str(self._url), why="; ".join(causes))


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca or None)
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    return context
