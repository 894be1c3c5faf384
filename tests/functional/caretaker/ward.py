"""A ward that only beats.

SIGUSR1: it lets go; SIGUSR2: it closes what it holds itself; SIGTERM: it quits.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from remus_ha.caretaker import CareLink, start_detached
from remus_ha.loop import Loop
from tests.functional.caretaker.carer import note


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("stall_s")
    parser.add_argument("--link", type=int, required=True)
    parser.add_argument("--held", default="")
    parser.add_argument("--restart", action="store_true")
    args = parser.parse_args(argv)
    held = int(args.held) if args.held else -1

    def replace(theirs: int, holds: bool) -> None:
        keep = held if holds else -1
        command = [sys.executable, "-m", "tests.functional.caretaker.carer", args.directory]
        command += [args.stall_s, "--adopt", f"{os.getpid()},{theirs},{keep}"]
        start_detached(command, [theirs] + ([keep] if keep >= 0 else []), 2)

    link = CareLink(args.link, replace)
    loop = Loop()
    wanted: list[int] = []
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: wanted.append(number))

    def on_link(_events: int) -> None:
        loop.forget(link.fileno())
        link.lost()
        loop.watch(link.fileno(), on_link)

    loop.watch(link.fileno(), on_link)
    loop.every(0.05, link.beat)
    link.beat()
    age = "again" if args.restart else "new"
    began = sys.modules["__main__"].__spec__
    kind = "itself" if began and began.name.endswith(".ward") else "copy"
    note(args.directory, f"ward {os.getpid()} {age} {kind} held={held}")
    while True:
        loop.until(lambda: bool(wanted))
        match wanted.pop(0):
            case signal.SIGUSR1:
                link.let_go()
            case signal.SIGUSR2:
                os.close(held)
            case signal.SIGTERM:
                link.quit()
                return 0


if __name__ == "__main__":
    sys.exit(main())
