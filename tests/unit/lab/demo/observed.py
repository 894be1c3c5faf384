"""A made-up run of the demo, with moments that are easy to reckon with."""

from dataclasses import replace

from remus_ha.lab.demo.figures import Checkpoint, Client, DiskSeen, Observed
from remus_ha.lab.demo.journal import Failover
from remus_ha.lab.disks import Verdict
from remus_ha.lab.ledger_check import Exchange, LedgerReport, Reply

CUT_S = 100.0
CLEAN = Verdict(
    clean=True, in_flight=0, saved=2, checked=100, missing=0, later=0, corrupt=0, unread=0,
    unsure=0, torn=0, first="", disks={},
)  # fmt: skip
DISK = DiskSeen(("line 1", "line 2"), ("line 1", "line 2"), CLEAN)
OPEN_S = 102.5


def exchange(seq: int, sent_s: float, latency_s: float | None) -> Exchange:
    if latency_s is None:
        return Exchange(seq, 1, sent_s)
    return Exchange(seq, 1, sent_s, sent_s + latency_s, Reply(seq, seq, seq, seq))


def client(label: str, latencies: dict[float, float | None]) -> Client:
    """``latencies``: seconds from request to answer, by the moment of the request."""
    pairs = enumerate(sorted(latencies.items()), 1)
    exchanges = tuple(exchange(seq, sent_s, latency_s) for seq, (sent_s, latency_s) in pairs)
    answers = sum(e.answered_s is not None for e in exchanges)
    verdict = LedgerReport(
        client=label, proto="tcp", address="10.99.0.50", sent=len(exchanges), answers=answers,
        lost_acknowledged=0, went_back=0, invented=0, connections_survived=True, finished=True,
        silence_ms=0.0, latencies_ms=(),
    )  # fmt: skip
    return Client(label, exchanges, verdict)


def checkpoint(n: int, pause_s: float = 0.04) -> Checkpoint:
    start_s = 90 + n * 0.2
    return Checkpoint(n, start_s, start_s + 0.03, start_s + 0.03 + pause_s, start_s + 0.15, 1 << 20)


def run() -> Observed:
    """Two clients, unprotected from 80, protected from 90, cut at 100, open at 102.5."""
    moments: dict[float, float | None] = {}
    moments |= {80 + i / 10: 0.005 for i in range(90)}
    moments |= {90 + i / 10: 0.1 for i in range(99)}
    moments |= {101.0: 1.75, 102.8: 0.004, 104.0: 0.004, 105.0: 0.004}
    return Observed(
        began_s=50.0,
        clients=(client("one", moments), client("two", {s + 0.01: t for s, t in moments.items()})),
        unprotected_s=(80.0, 89.0),
        protected_s=(90.0, 99.0),
        cut_s=CUT_S,
        ended_s=105.5,
        failover=Failover(
            doubt_s=101.5, restoring_s=101.6, restored_s=102.2, won_s=102.3, open_s=OPEN_S
        ),
        checkpoints=tuple(checkpoint(n) for n in range(1, 50)),
        committed=50,
        home="b",
        clock_error_ms=4.0,
        disk=DISK,
    )


def without_failover() -> Observed:
    """The same, but nothing follows the cut."""
    seen = run()
    clients = tuple(
        client(c.label, {e.sent_s: None if e.sent_s > CUT_S else 0.005 for e in c.exchanges})
        for c in seen.clients
    )
    return replace(seen, clients=clients, failover=None, home=None)
