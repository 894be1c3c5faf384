"""``python -m remus_ha.lab.demo``: run the story, show the table, leave report and picture."""

import argparse
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from remus_ha.exceptions import RemusError
from remus_ha.lab.cluster import Lab
from remus_ha.lab.demo import picture, table
from remus_ha.lab.demo.errors import AlreadyRunning, TookTooLong
from remus_ha.lab.demo.figures import Observed, measure
from remus_ha.lab.demo.story import Script, Story
from remus_ha.lab.demo.timeline import Steps, Timeline

RUN = Path("/run/remus-ha-demo")
_TAKE_DOWN_S = 60


def _parser() -> argparse.ArgumentParser:
    script = Script()
    parser = argparse.ArgumentParser(
        prog="python -m remus_ha.lab.demo",
        description="A guest survives the power cut of its host, on two real Xen hosts.",
    )
    for option, kind, default, text in (
        ("--protected", float, script.protected_s, "seconds of protection before the cut"),
        ("--interval", int, script.interval_ms, "ms from checkpoint to checkpoint"),
        ("--detect", int, script.detect_ms, "ms of silence before the witness is asked"),
        ("--limit", float, 420.0, "seconds after which the demo gives up"),
        ("--out", Path, Path("out/demo"), "where report.json and report.png go"),
    ):
        parser.add_argument(option, type=kind, default=default, help=f"{text} ({default})")
    return parser


@contextmanager
def alone(name: str = "remus-ha-demo") -> Iterator[None]:
    """One of ``name`` at a time: an abstract socket's name, which nothing leaves behind."""
    with socket.socket(socket.AF_UNIX) as mark:
        try:
            mark.bind(f"\0{name}")
        except OSError as error:
            raise AlreadyRunning() from error
        yield


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """TookTooLong, raised in the main thread, when the body lasts longer."""

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        raise TookTooLong(seconds=seconds)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _take_down(lab: Lab) -> None:
    """Bounded too, and not to be interrupted half way."""

    def hopeless(_signal: int, _frame: FrameType | None) -> None:
        print(f"the lab in {lab.run} does not go down; run the demo again", file=sys.stderr)
        os._exit(1)

    signal.signal(signal.SIGALRM, hopeless)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(_TAKE_DOWN_S)
    lab.down()
    signal.alarm(0)


def _observe(args: argparse.Namespace, timeline: Timeline) -> Observed:
    script = Script(protected_s=args.protected, interval_ms=args.interval, detect_ms=args.detect)
    lab = Lab(RUN, Steps(timeline))
    with alone():
        try:
            with bounded(args.limit):
                lab.down()
                return Story(lab, timeline, script).run()
        finally:
            _take_down(lab)


def conclude(seen: Observed, out: Path) -> int:
    report = measure(seen)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    picture.draw(seen, report, out / "report.png")
    print(table.render(seen, report))
    print(f"\n{out / 'report.json'}\n{out / 'report.png'}")
    failures = report.failures()
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the guest lives and nothing was lost, 1 otherwise, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        return conclude(_observe(args, Timeline()), args.out)
    except RemusError as error:
        print(f"{error}\n  -> {error.advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the lab has been taken down", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
