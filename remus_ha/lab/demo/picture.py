"""The picture: what the clients saw above, epochs and pauses below, on one time axis."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from remus_ha.lab.demo import figures
from remus_ha.lab.demo.figures import Checkpoint, Observed, Report

_COLOURS = ("#1f77b4", "#2ca02c", "#9467bd")
_MARKERS = ("o", "s", "^")
_CUT, _DOUBT, _OPEN = "#c62828", "#ef6c00", "#2e7d32"
_BEFORE_S, _AFTER_S = 12.0, 10.0


def draw(seen: Observed, report: Report, file: Path) -> None:
    """Write a PNG of both panels; second 0 is the cut."""
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(13, 8.5), height_ratios=(3, 2), layout="constrained"
    )
    _draw_answers(above, seen, report)
    _draw_epochs(below, seen)
    for panel in (above, below):
        _mark(panel, seen)
        panel.grid(True, which="major", alpha=0.25)
    above.set_xlim(-_BEFORE_S, min(_AFTER_S, seen.ended_s - seen.cut_s))
    below.set_xlabel("seconds from the power cut of the primary host")
    figure.suptitle(_title(seen, report), fontsize=14)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _title(seen: Observed, report: Report) -> str:
    fate = f"goes on on host {seen.home}" if report.guest_survived else "is lost"
    return (
        f"A protected guest's host loses power: the guest {fate} after "
        f"{report.silence_ms / 1e3:.2f} s, {report.acknowledged_lost} acknowledged requests lost"
    )


def _draw_answers(panel: Any, seen: Observed, report: Report) -> None:
    for client, colour, marker in zip(seen.clients, _COLOURS, _MARKERS, strict=False):
        answered = [(e.answered_s, e.sent_s) for e in client.exchanges if e.answered_s is not None]
        panel.plot(
            [at_s - seen.cut_s for at_s, _ in answered],
            [(at_s - sent_s) * 1e3 for at_s, sent_s in answered],
            linestyle="",
            marker=marker,
            markersize=3.5,
            alpha=0.6,
            color=colour,
            label=client.label,
        )
    start_s, end_s = (
        m - seen.cut_s for m in figures.silence(seen.clients, seen.cut_s, seen.ended_s)
    )
    panel.axvspan(start_s, end_s, color=_CUT, alpha=0.08)
    panel.set_yscale("log")
    panel.set_ylabel("answer's latency (ms, logarithmic)")
    panel.set_title("Outside clients: every dot is an answer", loc="left", fontsize=11)
    panel.legend(loc="lower left", framealpha=0.9)
    panel.text(
        (start_s + end_s) / 2,
        0.04,
        f"silence\n{report.silence_ms:.0f} ms",
        transform=panel.get_xaxis_transform(),
        ha="center",
        va="bottom",
        color=_CUT,
    )


def _draw_epochs(panel: Any, seen: Observed) -> None:
    epochs = seen.checkpoints
    at = [c.suspended_s - seen.cut_s for c in epochs]
    panel.bar(
        at,
        [c.pause_ms for c in epochs],
        width=0.06,
        color="#455a64",
        label="pause: the guest stands still",
    )
    panel.plot(
        at,
        [_held_ms(c) for c in epochs],
        ".",
        color="#f9a825",
        markersize=7,
        label="from suspension to acknowledgement: output held",
    )
    panel.set_ylim(bottom=0)
    panel.set_ylabel("milliseconds")
    panel.set_title("Checkpoints: every bar is an epoch", loc="left", fontsize=11)
    panel.legend(loc="upper left", framealpha=0.9)


def _held_ms(epoch: Checkpoint) -> float:
    return (epoch.acked_s - epoch.suspended_s) * 1e3


def _mark(panel: Any, seen: Observed) -> None:
    marks = [(0.0, _CUT, "power cut")]
    if seen.failover is not None:
        marks += [
            (seen.failover.doubt_s - seen.cut_s, _DOUBT, "in doubt"),
            (seen.failover.open_s - seen.cut_s, _OPEN, "open on b"),
        ]
    for at, colour, text in marks:
        panel.axvline(at, color=colour, linewidth=1.5)
        panel.text(
            at,
            1.0,
            f" {text} ",
            transform=panel.get_xaxis_transform(),
            color=colour,
            rotation=90,
            va="top",
            ha="right",
            fontsize=9,
        )
