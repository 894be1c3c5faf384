"""``report.png``: every figure as the ratio of ours to the peer's. matplotlib is loaded on use."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row

MET, MISSED, PLAIN = "#2e7d32", "#c62828", "#607d8b"


def draw(rows: Sequence[Row], file: Path) -> None:
    """One bar per row that has a ratio, on a logarithmic axis; 1 is the peer."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    shown = [row for row in rows if row.ratio]
    figure, panel = plt.subplots(figsize=(13, 1.5 + 0.42 * len(shown)), layout="constrained")
    places = range(len(shown), 0, -1)
    ratios = [row.ratio or 1.0 for row in shown]
    bars = panel.barh(
        places, [r - 1 for r in ratios], left=1, height=0.62, color=[_colour(r) for r in shown]
    )
    panel.set_xscale("log")
    panel.set_xlim(min(0.05, *ratios) / 4, max(10.0, *ratios) * 4)
    panel.axvline(1.0, color="black", linewidth=1)
    panel.set_yticks(places, [row.name for row in shown])
    for bar, row, ratio in zip(bars, shown, ratios, strict=True):
        beyond = ratio >= 1
        panel.annotate(
            f"{row.ours:.4g} : {row.peer:.4g} {row.unit}",
            (ratio, bar.get_y() + bar.get_height() / 2),
            (5 if beyond else -5, 0),
            textcoords="offset points",
            ha="left" if beyond else "right",
            va="center",
            fontsize=8,
        )
    panel.set_xlabel("ours / peer (logarithmic); green: goal met, red: missed, grey: no goal")
    panel.set_title("remus_ha beside xl remus and other peers", loc="left")
    panel.grid(True, axis="x", alpha=0.25)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _colour(row: Row) -> str:
    if row.goal is None:
        return PLAIN
    return MET if row.met else MISSED
