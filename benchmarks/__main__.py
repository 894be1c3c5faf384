"""``python -m benchmarks``: run the parts, print the table, leave report and picture."""

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from benchmarks import cuts, disk_pause, disks, intervals, native, picture, report, slow
from benchmarks.bed import Bed
from benchmarks.errors import AlreadyRunning, TookTooLong
from benchmarks.rows import Row
from remus_ha.exceptions import RemusError
from remus_ha.lab.cluster import Lab
from remus_ha.lab.progress import Progress

RUN = Path("/run/remus-ha-bench")
TAKE_DOWN_S = 60


@dataclass(frozen=True, slots=True)
class Part:
    """``limit_s`` bounds one of ``rounds``; without ``needs_lab`` there is none at all."""

    measure: Callable[[Bed, int], list[Row]]
    limit_s: float
    rounds: int = 1
    needs_lab: bool = True


PARTS = {
    "native": Part(lambda _bed, _rounds: native.rows(), 240, needs_lab=False),
    "disks": Part(lambda _bed, rounds: disks.rows(rounds), 120, rounds=3, needs_lab=False),
    "steady": Part(intervals.steady, 240, rounds=2),
    "shortest": Part(intervals.shortest, 240, rounds=1),
    "disk-pause": Part(disk_pause.rows, 200, rounds=2),
    "slow": Part(slow.slow, 330),
    "backup-cut": Part(cuts.backup_cut, 360),
    "primary-cut": Part(cuts.primary_cut, 300, rounds=2),
}


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        metavar="PART",
        help=f"run this part and keep the others' last rows (repeatable): {', '.join(PARTS)}",
    )
    made.add_argument("--rounds", type=int, help="of every part, instead of its own number")
    made.add_argument("--limit", type=float, default=1500, help="seconds for all parts (1500)")
    made.add_argument("--out", type=Path, default=Path("out/bench"), help="where results go")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all was measured, whatever the figures; 1 when a part failed; 130 interrupted."""
    args = parser().parse_args(argv)
    if not args.only:
        report.forget(args.out)
    try:
        with alone():
            run(args.only or list(PARTS), args)
    except RemusError as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the lab has been taken down", file=sys.stderr)
        return 130
    return conclude(args.out)


def conclude(out: Path) -> int:
    """Show all that is known."""
    rows = report.join(out, PARTS)
    print(report.table(rows))
    picture.draw(rows, out / "report.png")
    print(f"\n{out / report.REPORT}\n{out / 'report.png'}")
    return 1 if any(row.name.startswith(report.FAILED) for row in rows) else 0


def run(parts: Sequence[str], args: argparse.Namespace) -> None:
    """Run parts in order, each whatever became of the others."""
    lab = Lab(RUN, Progress())
    end = time.monotonic() + args.limit
    try:
        for name in parts:
            began = time.monotonic()
            run_part(name, Bed(lab), args, end - began)
            print(f"part {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    finally:
        if any(PARTS[name].needs_lab for name in parts):
            take_down(lab)


def run_part(name: str, bed: Bed, args: argparse.Namespace, left_s: float) -> None:
    """Keep its rows, or one that says why there are none; the next part gets fresh hosts then."""
    part = PARTS[name]
    rounds = args.rounds or part.rounds
    try:
        with bounded(name, max(1.0, min(part.limit_s * rounds, left_s))):
            if part.needs_lab:
                bed.ready()
            rows = part.measure(bed, rounds)
    except RemusError as error:
        complain(error)
        rows = [report.failed(name, error)]
        if part.needs_lab:
            bed.lab.down()
    report.keep(args.out, name, rows)


def complain(error: RemusError) -> None:
    """On standard error."""
    print(f"{error}\n  -> {error.advice}", file=sys.stderr)


@contextmanager
def alone() -> Iterator[None]:
    """One at a time: its name is a socket's, which nothing can leave behind."""
    with socket.socket(socket.AF_UNIX) as mark:
        try:
            mark.bind(f"\0{RUN}")
        except OSError as error:
            raise AlreadyRunning() from error
        yield


@contextmanager
def bounded(part: str, seconds: float) -> Iterator[None]:
    """TookTooLong, raised in the main thread, when the body lasts longer."""

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        raise TookTooLong(part=part, seconds=seconds)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def take_down(lab: Lab) -> None:
    """Bounded too, and not to be interrupted half way."""

    def hopeless(_signal: int, _frame: FrameType | None) -> None:
        print(f"the lab in {lab.run} does not go down", file=sys.stderr)
        os._exit(1)

    signal.signal(signal.SIGALRM, hopeless)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(TAKE_DOWN_S)
    lab.down()
    signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())
