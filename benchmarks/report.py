"""``report.json``: a list of rows, kept part by part so that one part can be run again alone."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.rows import Row

REPORT = "report.json"
FAILED = "not measured: "
_PARTS = "parts"
_COLUMNS = (44, 11, 11, 7)


def forget(out: Path) -> None:
    """Begin a new report."""
    for old in (out / REPORT, *(out / _PARTS).glob("*.json")):
        old.unlink(missing_ok=True)


def keep(out: Path, part: str, rows: Sequence[Row]) -> None:
    """Keep a part's rows instead of those that it had."""
    (out / _PARTS).mkdir(parents=True, exist_ok=True)
    _write(out / _PARTS / f"{part}.json", rows)


def failed(part: str, error: Exception) -> Row:
    """What stands in the report for a part that could not be measured."""
    samples = {"error": str(error)}
    return Row(FAILED + part, "", None, None, None, "is measured", False, samples)


def join(out: Path, parts: Iterable[str]) -> list[Row]:
    """Write the report of all parts that there are, in that order, and return its rows."""
    files = [out / _PARTS / f"{part}.json" for part in parts]
    rows = [
        Row.load(raw) for file in files if file.exists() for raw in json.loads(file.read_text())
    ]
    out.mkdir(parents=True, exist_ok=True)
    _write(out / REPORT, rows)
    return rows


def _write(file: Path, rows: Sequence[Row]) -> None:
    file.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """For people. Two lines per row that has a goal: the figures, then the goal."""
    name, ours, peer, ratio = _COLUMNS
    head = f"{'':{name}}{'ours':>{ours}}{'peer':>{peer}}{'ratio':>{ratio}}"
    return "\n".join([head, *(line for row in rows for line in _lines(row))])


def _lines(row: Row) -> list[str]:
    name, ours, peer, ratio = _COLUMNS
    figures = f"{_text(row.ours):>{ours}}{_text(row.peer):>{peer}}{_text(row.ratio):>{ratio}}"
    title = f"{row.name} [{row.unit}]"
    lines = [f"{title:{name}}{figures}"] if len(title) <= name else [title, " " * name + figures]
    if row.goal is not None:
        lines.append(f"    {'met' if row.met else 'MISSED'}: {row.goal}")
    return lines


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
