"""Rows of the report: one figure each, ours beside the peer's. Pure."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

Samples = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``ratio`` is ours / peer; ``goal`` says in words what ``met`` judges.

    ``ours`` is None when it could not be measured, which never meets a goal; a row without a
    goal is there for comparison and is always met.
    """

    name: str
    unit: str
    ours: float | None
    peer: float | None
    ratio: float | None
    goal: str | None
    met: bool
    samples: Samples

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def load(cls, raw: Mapping[str, Any]) -> "Row":
        """What ``as_dict`` made."""
        return cls(**raw)


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound: ``holds(ours, ratio)``, and the same in words."""

    text: str
    holds: Callable[[float, float | None], bool]


def ratio_at_least(bound: float) -> Goal:
    """Ours is ``bound`` times the peer's or more."""
    return Goal(f"ours / peer >= {bound:g}", lambda _, r: r is not None and r >= bound)


def ratio_at_most(bound: float) -> Goal:
    """Ours is ``bound`` times the peer's or less."""
    return Goal(f"ours / peer <= {bound:g}", lambda _, r: r is not None and r <= bound)


def at_most(bound: float, unit: str, why: str = "") -> Goal:
    """Ours is ``bound`` or less."""
    text = f"ours <= {bound:.4g} {unit}" + (f" ({why})" if why else "")
    return Goal(text, lambda ours, _: ours <= bound)


def row(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float],
    goal: Goal | None = None,
    **more: Any,
) -> Row:
    """Medians of both; ``more`` joins the samples."""
    mine, theirs = middle(ours), middle(peer)
    ratio = mine / theirs if mine is not None and theirs else None
    return Row(
        name=name,
        unit=unit,
        ours=rounded(mine),
        peer=rounded(theirs),
        ratio=None if ratio is None else round(ratio, 3),
        goal=goal.text if goal else None,
        met=goal is None or (mine is not None and goal.holds(mine, ratio)),
        samples={"ours": described(ours), "peer": described(peer), **more},
    )


def while_writing(found: Row, mb_s: Sequence[float], least: float) -> Row:
    """Its goal as well: so much was written meanwhile. Whoever is given less has it easy."""
    reached = min(mb_s, default=0.0)
    goal = f"{found.goal} at {least:g} MB/s of writes or more, {reached:.4g} reached"
    return replace(found, goal=goal, met=found.met and reached >= least)


def native(raw: Mapping[str, Any], unit_bounded: bool) -> Row:
    """A row of ``splice`` or ``control_cost``, whose goal is a number.

    ``unit_bounded``: it bounds ours from above; else it bounds the ratio from below.
    """
    goal = raw["goal"]
    if goal is not None:
        made = at_most(goal, raw["unit"]) if unit_bounded else ratio_at_least(goal)
        goal = made.text
    return Row.load({**raw, "goal": goal})


_LISTED = 12


def described(values: Sequence[float]) -> Any:
    """A few values as they are, more as their count and percentiles."""
    if len(values) <= _LISTED:
        return [rounded(value) for value in values]
    spread = {f"p{percent}": rounded(percentile(values, percent)) for percent in (5, 50, 95)}
    return {"count": len(values), **spread, "max": rounded(max(values))}


def middle(values: Sequence[float]) -> float | None:
    """The median, None of nothing."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def rounded(value: float | None) -> float | None:
    """Four digits that count."""
    return None if value is None else float(f"{value:.4g}")
