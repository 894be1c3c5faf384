"""The outside client: numbered requests to a guest's ledger over one long-lived socket.

It lives in the lab's network, on a thread of its own, and never reconnects: a broken connection
is a finding. ``ledger_check`` judges what it saw.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType

from remus_ha.lab.control import LEDGER_PORT
from remus_ha.lab.errors import BadValue, LedgerUnreachable, TimedOut
from remus_ha.lab.ledger_check import (
    Exchange,
    LedgerReport,
    Reply,
    judge,
    latencies_ms,
    longest_silence_ms,
    parse_reply,
)
from remus_ha.waiting import readable

_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_AMOUNTS = 7


class LedgerClient:
    """Asks ``address`` at ``rate_per_s`` from ``start`` to ``stop``; a context manager too.

    ``enter`` is the lab's (``lab.enter``). ``name`` must be new to the guest: its totals are
    kept per name. Methods may be called from any thread.
    """

    def __init__(
        self,
        enter: Callable[[], AbstractContextManager[None]],
        address: str,
        proto: str = "tcp",
        *,
        name: str,
        rate_per_s: float = 50.0,
        port: int = LEDGER_PORT,
    ) -> None:
        if proto not in _TYPES:
            raise BadValue(what="a protocol", value=proto, wanted="tcp or udp")
        self.address = address
        self.proto = proto
        self.name = name
        self._enter = enter
        self._port = port
        self._interval_s = 1 / rate_per_s
        self._changed = threading.Condition()
        self._exchanges: dict[int, Exchange] = {}
        self._broken: str | None = None
        self._stopping = False
        self._partial = b""
        self._started_s = self._ended_s = 0.0
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self, timeout_s: float = 10.0) -> None:
        """Connect and begin to ask. LedgerUnreachable."""
        version = ipaddress.ip_address(self.address).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with self._enter():
            sock = socket.socket(family, _TYPES[self.proto])
        sock.settimeout(timeout_s)
        try:
            sock.connect((self.address, self._port))
        except OSError as error:
            sock.close()
            raise LedgerUnreachable(
                proto=self.proto, port=self._port, address=self.address, detail=error
            ) from error
        if self.proto == "tcp":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._socket = sock
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"ledger-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, settle_s: float = 10.0) -> LedgerReport:
        """End with one last request, wait up to ``settle_s`` for its answer, and judge."""
        assert self._thread is not None
        assert self._socket is not None
        with self._changed:
            self._stopping = True
        self._thread.join()
        self._settle(time.monotonic() + settle_s)
        self._ended_s = time.monotonic()
        self._socket.close()
        return self.report()

    def __enter__(self) -> "LedgerClient":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._stopping:
            self.stop(settle_s=0.0)

    # -- what others may look at meanwhile

    def history(self) -> list[Exchange]:
        """All requests so far in the order of their numbers."""
        with self._changed:
            return list(self._exchanges.values())

    def report(self) -> LedgerReport:
        """The verdict on what was seen so far, or in all once stopped."""
        history = self.history()
        verdict = judge(history)
        answered = [e.answered_s for e in history if e.answered_s is not None]
        end_s = self._ended_s or time.monotonic()
        return LedgerReport(
            client=self.name,
            proto=self.proto,
            address=self.address,
            sent=len(history),
            answers=len(answered),
            lost_acknowledged=verdict.lost_acknowledged,
            went_back=verdict.went_back,
            invented=verdict.invented,
            connections_survived=self._broken is None,
            finished=bool(history) and history[-1].reply is not None,
            silence_ms=longest_silence_ms(self._started_s, answered, end_s),
            latencies_ms=latencies_ms(history),
        )

    def wait_answer(self, sent_after_s: float, timeout_s: float) -> Exchange:
        """An answered request that was sent after a moment (monotonic seconds). TimedOut."""

        def found() -> Exchange | None:
            for exchange in reversed(self._exchanges.values()):
                if exchange.sent_s < sent_after_s:
                    return None
                if exchange.reply is not None:
                    return exchange
            return None

        with self._changed:
            exchange = self._changed.wait_for(found, timeout_s)
        if exchange is None:
            what = f"an answer of {self.address} over {self.proto}"
            raise TimedOut(what=what, seconds=timeout_s, where=self._broken or "the guest")
        return exchange

    # -- the thread

    def _run(self) -> None:
        next_s = time.monotonic()
        while not self._stopping and self._broken is None:
            now = time.monotonic()
            if now >= next_s:
                self._ask(now)
                next_s = max(next_s + self._interval_s, now)
            self._listen(next_s)

    def _settle(self, deadline: float) -> None:
        """UDP may lose the last request, so it is asked for again, once a second."""
        while self._broken is None:
            self._ask(time.monotonic())
            retry_s = min(deadline, time.monotonic() + 1.0)
            while time.monotonic() < retry_s and self._broken is None:
                self._listen(retry_s)
                if self.history()[-1].reply is not None:
                    return
            if time.monotonic() >= deadline:
                return

    def _ask(self, now: float) -> None:
        assert self._socket is not None
        seq = len(self._exchanges) + 1
        exchange = Exchange(seq, 1 + seq % _AMOUNTS, now)
        with self._changed:
            self._exchanges[seq] = exchange
        request = f"{self.name} {seq} {exchange.amount}\n".encode()
        try:
            sent = self._socket.send(request)
        except OSError as error:
            self._failed(error)
            return
        if sent != len(request):
            self._broken = "the send buffer is full"

    def _failed(self, error: OSError) -> None:
        """UDP has no connection to lose: an unreachable moment is a lost datagram."""
        if self.proto == "tcp":
            self._broken = str(error)

    def _listen(self, until_s: float) -> None:
        assert self._socket is not None
        wait_s = max(0.0, until_s - time.monotonic())
        if not readable(self._socket, wait_s):
            return
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            self._failed(error)
            return
        if not data and self.proto == "tcp":
            self._broken = "closed by the guest"
        *lines, self._partial = (self._partial + data).split(b"\n")
        replies = (parse_reply(line.decode(errors="replace"), self.name) for line in lines)
        self._take([reply for reply in replies if reply is not None])

    def _take(self, replies: list[Reply]) -> None:
        now = time.monotonic()
        with self._changed:
            for reply in replies:
                asked = self._exchanges.get(reply.seq)
                if asked is not None and asked.reply is None:
                    self._exchanges[reply.seq] = replace(asked, answered_s=now, reply=reply)
            self._changed.notify_all()
