"""The outside clients of a story: ledger connections over every path to the guest at once."""

import itertools
import time
from collections.abc import Sequence
from types import TracebackType

from remus_ha.lab.cluster import Lab
from remus_ha.lab.ledger import LedgerClient
from remus_ha.lab.ledger_check import LedgerReport
from remus_ha.lab.plan import GuestPlan

_NUMBERS = itertools.count(1)


class Clients:
    """TCP over IPv4 and IPv6 and UDP, spread over the guest's vifs; a context manager."""

    def __init__(self, lab: Lab, plan: GuestPlan, rate_per_s: float = 20.0) -> None:
        last = plan.vifs - 1
        paths = (("tcp", plan.ipv4(0)), ("tcp", plan.ipv6(last)), ("udp", plan.ipv4(last)))
        run = next(_NUMBERS)
        self.all = [
            LedgerClient(lab.enter, address, proto, name=f"s{run}-{i}", rate_per_s=rate_per_s)
            for i, (proto, address) in enumerate(paths)
        ]
        self._reports: list[LedgerReport] = []

    def __enter__(self) -> "Clients":
        for client in self.all:
            client.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self.all:
            client.__exit__(kind, error, trace)

    def wait_answers(self, since_s: float | None = None, timeout_s: float = 120.0) -> float:
        """Until every client got an answer to a request of after ``since_s`` (now). Its moment."""
        moment = time.monotonic() if since_s is None else since_s
        found = [client.wait_answer(moment, timeout_s) for client in self.all]
        return max(exchange.answered_s or 0.0 for exchange in found)

    def answered_since(self, moment_s: float) -> int:
        """How many answers came after a moment (monotonic seconds)."""
        return sum(
            exchange.answered_s is not None and exchange.answered_s > moment_s
            for client in self.all
            for exchange in client.history()
        )

    def last_answer(self) -> float:
        """When any client was last answered (monotonic seconds)."""
        times = [e.answered_s for client in self.all for e in client.history()]
        return max((t for t in times if t is not None), default=0.0)

    def finish(self) -> list[LedgerReport]:
        """Stop, and hold that nobody was told anything that the guest has forgotten. Idempotent."""
        if not self._reports:
            self._reports = [client.stop(settle_s=30.0) for client in self.all]
            check_reports(self._reports)
        return self._reports

    def finish_dead(self) -> list[LedgerReport]:
        """The same for a guest that has ended: only what it told until then is judged."""
        reports = [client.stop(settle_s=0.0) for client in self.all]
        check_reports(reports, alive=False)
        return reports


def check_reports(reports: Sequence[LedgerReport], *, alive: bool = True) -> None:
    """No acknowledged answer lost, nothing back, nothing invented; connections live."""
    for report in reports:
        path = f"{report.proto} {report.address}"
        assert report.answers > 0, path
        assert report.lost_acknowledged == 0, path
        assert report.went_back == 0, path
        assert report.invented == 0, path
        if alive:
            assert report.connections_survived, path
            assert report.finished, path
