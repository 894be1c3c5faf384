"""The picture: what the clients saw above, epochs and the failover below, on one time axis."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullLocator

from remus_ha.lab.demo import figures
from remus_ha.lab.demo.figures import Checkpoint, Observed, Report
from remus_ha.lab.demo.phases import phases

_COLOURS = ("#1f77b4", "#2ca02c", "#9467bd")
_MARKERS = ("o", "s", "^")
_CUT, _DOUBT, _OPEN = "#c62828", "#ef6c00", "#2e7d32"
_PHASES = ("#bdbdbd", "#ef9a9a", "#ffcc80", "#90caf9", "#ffcc80", "#a5d6a7", "#c5e1a5")
_BEFORE_S, _AFTER_S = 10.0, 10.0  # seconds; more after the cut where the silence is longer
_LABEL_S = 3.0  # the room of a label behind the last phase
_HALO = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}


def draw(seen: Observed, report: Report, file: Path) -> None:
    """Write a PNG of both panels; second 0 is the cut."""
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(13, 8.5), height_ratios=(3, 2), layout="constrained"
    )
    _draw_answers(above, seen, report)
    _draw_epochs(below, seen, report)
    _draw_phases(below, seen)
    _mark(above, seen, labels=True)
    _mark(below, seen, labels=False)
    silent_s = max((phase.end_s - seen.cut_s for phase in phases(seen)), default=0.0)
    after_s = max(_AFTER_S, silent_s + _LABEL_S)
    above.set_xlim(-_BEFORE_S, min(after_s, seen.ended_s - seen.cut_s))
    above.xaxis.set_major_locator(MultipleLocator(1))
    below.set_xlabel("seconds from the power cut of the primary host")
    figure.suptitle(_title(seen, report), fontsize=14)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _title(seen: Observed, report: Report) -> str:
    if not report.guest_survived:
        return "A protected guest's host loses power, and the guest is lost"
    return (
        f"A protected guest's host loses power: the guest continues on host {seen.home} after "
        f"{report.silence_ms / 1e3:.1f} s, {report.acknowledged_lost} acknowledged requests lost"
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
    unprotected = figures.latency_ms(seen.clients, seen.unprotected_s)
    if unprotected is not None:
        label = f"median before protection: {unprotected.median:.1f} ms"
        panel.axhline(unprotected.median, color="#616161", linestyle="--", label=label)
    _scale_latency(panel)
    _draw_silence(panel, seen, report)
    panel.set_title("Outside clients: every dot is an answer", loc="left", fontsize=11)
    panel.legend(loc="upper left", framealpha=0.9)


def _scale_latency(panel: Any) -> None:
    panel.set_yscale("log")
    panel.set_ylim(1, 20_000)
    panel.yaxis.set_major_locator(FixedLocator([1, 10, 100, 1000, 10_000]))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(_duration))
    panel.set_ylabel("from request to answer")
    panel.grid(True, alpha=0.25)


def _duration(ms: float, _position: int) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.0f} s"


def _draw_silence(panel: Any, seen: Observed, report: Report) -> None:
    silence = figures.silence(seen.clients, seen.cut_s, seen.ended_s)
    start, end = (moment_s - seen.cut_s for moment_s in silence)
    panel.axvspan(start, end, color=_CUT, alpha=0.07)
    arrow = {"arrowstyle": "<->", "color": _CUT, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", (start, 30), (end, 30), arrowprops=arrow)
    text = f"no answer for {report.silence_ms:.0f} ms"
    panel.text((start + end) / 2, 30, text, color=_CUT, ha="center", va="center", bbox=_HALO)


def _draw_epochs(panel: Any, seen: Observed, report: Report) -> None:
    epochs = [c for c in seen.checkpoints if c.suspended_s - seen.cut_s >= -_BEFORE_S]
    at = [c.suspended_s - seen.cut_s for c in epochs]
    median = f", median {report.pause_ms.median:.0f} ms" if report.pause_ms else ""
    panel.bar(
        at,
        [c.pause_ms for c in epochs],
        width=0.07,
        color="#455a64",
        label=f"pause: the guest stands still{median}",
    )
    held = [_held_ms(c) for c in epochs]
    label = "from suspension to acknowledgement"
    panel.plot(at, held, ".", color="#f9a825", markersize=8, label=label)
    panel.set_ylim(0, 1.45 * max(held, default=100))
    panel.set_ylabel("milliseconds")
    title = f"Checkpoints: every bar is an epoch, {report.checkpoints_per_s:.1f} a second"
    panel.set_title(title, loc="left", fontsize=11)
    panel.grid(True, alpha=0.25)
    panel.legend(loc="upper left", framealpha=0.9)


def _held_ms(epoch: Checkpoint) -> float:
    return (epoch.acked_s - epoch.suspended_s) * 1e3


def _draw_phases(panel: Any, seen: Observed) -> None:
    """The silence as a staircase of bars, the first phase on top."""
    found = phases(seen)
    for row, (phase, colour) in enumerate(zip(found, _PHASES, strict=False)):
        start, end = phase.start_s - seen.cut_s, phase.end_s - seen.cut_s
        top = 0.93 - row * 0.13
        axes = panel.get_xaxis_transform()
        panel.fill_between([start, end], top - 0.1, top, color=colour, transform=axes, zorder=2)
        panel.annotate(
            f"{phase.name} {phase.length_ms:.0f} ms",
            (end, top - 0.05),
            xycoords=axes,
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            zorder=4,
            bbox=_HALO,
        )


def _mark(panel: Any, seen: Observed, *, labels: bool) -> None:
    marks = [(0.0, _CUT, "power cut", "center")]
    if seen.failover is not None:
        opened = f" open on {seen.home}"
        marks.append((seen.failover.doubt_s - seen.cut_s, _DOUBT, "in doubt ", "right"))
        marks.append((seen.failover.open_s - seen.cut_s, _OPEN, opened, "left"))
    axes = panel.get_xaxis_transform()
    for at, colour, text, side in marks:
        panel.axvline(at, color=colour, linewidth=1.5, zorder=1)
        if labels:
            panel.text(at, 0.97, text, color=colour, transform=axes, va="top", ha=side, bbox=_HALO)
