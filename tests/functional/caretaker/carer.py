"""A caretaker as a process of its own: ``DIRECTORY STALL_S [--held FD] [--adopt PID,LINK,HELD]``.

It and its wards write what they do into ``DIRECTORY``/log, a line each.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from remus_ha import caretaker

MODULE = "tests.functional.caretaker.ward"


def note(directory: str, text: str) -> None:
    with open(Path(directory) / "log", "a") as log:
        log.write(f"{text}\n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("stall_s", type=float)
    parser.add_argument("--held", type=int, default=-1)
    parser.add_argument("--adopt")
    parser.add_argument("--loaded", action="store_true", help="the ward's module, by this process")
    args = parser.parse_args()
    caretaker.STALL_S = args.stall_s
    adopt = None
    held = args.held
    if args.adopt:
        pid, link, held = (int(x) for x in args.adopt.split(","))
        adopt = (pid, link)
    note(args.directory, f"carer {os.getpid()} {'adopts' if adopt else 'starts'}")
    ward = caretaker.Ward(
        MODULE,
        (args.directory, str(args.stall_s)),
        (held,) if held >= 0 else (),
        importlib.import_module(MODULE).main if args.loaded else None,
    )
    carer = caretaker.Caretaker(ward, lambda: note(args.directory, "loss"), "carer")
    carer.run(adopt)
    note(args.directory, f"carer {os.getpid()} ends")
    return 0


if __name__ == "__main__":
    sys.exit(main())
