"""The figures as a table for people. Pure."""

from remus_ha.lab.demo import figures
from remus_ha.lab.demo.figures import Client, Observed, Report, Spread
from remus_ha.lab.demo.phases import phases

_RULE = "-" * 72


def render(seen: Observed, report: Report) -> str:
    """Lines of figures, the silence by its phases, then a line per client."""
    rows = [
        ("guest survived", _yes(report.guest_survived), f"runs on host {seen.home}"),
        ("connections survived", _yes(report.connections_survived), ""),
        ("acknowledged and lost", str(report.acknowledged_lost), "requests"),
        ("answers that went back", str(report.went_back), ""),
        ("disk and memory agree", _yes(report.disk_agrees), _sectors(seen)),
        ("saved and lost", str(report.saved_lost), f"of {report.saved} lines"),
        ("silence", _ms(report.silence_ms), "no client gets any answer; of this"),
        *((f"  {p.name}", _ms(p.length_ms), p.remark) for p in phases(seen)),
        ("checkpoints", str(report.checkpoints), f"{report.checkpoints_per_s:.1f} a second"),
        ("pause", _spread(report.pause_ms), "per checkpoint"),
        ("added latency", _spread(report.added_latency_ms), "protected less unprotected"),
    ]
    lines = [f"{name:24}{value:>22}  {remark}".rstrip() for name, value, remark in rows]
    clients = [_client(seen, client) for client in seen.clients]
    return "\n".join(["", _RULE, *lines, _RULE, *clients, _RULE])


def _client(seen: Observed, client: Client) -> str:
    start_s, end_s = figures.silence([client], seen.cut_s, seen.ended_s)
    verdict = client.verdict
    state = "connection open" if verdict.proto == "tcp" else "no connection to lose"
    if not verdict.connections_survived:
        state = "CONNECTION BROKEN"
    answers = f"{verdict.answers} of {verdict.sent} answered"
    return f"{client.label:24}{answers:>22}  {(end_s - start_s) * 1e3:.0f} ms silence, {state}"


def _sectors(seen: Observed) -> str:
    verdict = seen.disk.verdict
    return f"{verdict.checked} sectors compared" if verdict else "not compared"


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _spread(value: Spread | None) -> str:
    return "-" if value is None else f"{value.median:.0f} ms (95 %: {value.p95:.0f})"
