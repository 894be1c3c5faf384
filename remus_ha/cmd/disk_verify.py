"""``remus-ha disk verify``: compare a protected guest's disks with the backup's, while it runs."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from remus_ha import rundir
from remus_ha.cmd.common import session_uuid
from remus_ha.control_socket import ask
from remus_ha.exceptions import RemusError

LOOK_S = 0.5
LINE_S = 10.0  # between two lines where there is no terminal
_MIB = 1 << 20
Ask = Callable[..., dict[str, Any]]


def add_verb(verbs: Any) -> None:
    p = verbs.add_parser(
        "verify",
        help="compare a protected guest's disks with the backup's",
        description="Run on the primary, while the guest runs and is protected. Every octet of"
        " every replicated disk is compared as of the end of an epoch. Exit status: 0 all is the"
        " same, 1 something differs, 2 it could not be found out. Ctrl-C ends the verification.",
    )
    p.add_argument("domain", metavar="GUEST", help="name or UUID of a protected guest")
    p.add_argument(
        "--rate",
        type=_rate,
        default=0,
        metavar="KIB",
        help="KiB that are compared in an epoch, 4 to 16384 (default 1024)",
    )
    p.add_argument("--json", action="store_true", help="no progress, and the result as JSON")
    p.set_defaults(run=run)


def _rate(text: str) -> int:
    value = int(text)
    if not 4 <= value <= 16384:
        raise argparse.ArgumentTypeError("a number of KiB from 4 to 16384")
    return value


def run(args: argparse.Namespace) -> int:
    try:
        uuid = session_uuid("primary", args.domain)
        result = Watch(_asker(uuid), args.domain, quiet=args.json).show(args.rate << 10)
    except RemusError as e:
        _complain(e.as_dict())
        return 2
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        for disk in result.get("disks", ()):
            print(verdict(disk))
    if result.get("error"):
        _complain(result["error"])
    return exit_status(result)


def _asker(uuid: str) -> Ask:
    def ask_primary(command: str, **more: Any) -> dict[str, Any]:
        """Raises NotRunning."""
        request = {"command": command, **more}
        return dict(ask(rundir.control_socket("primary", uuid), uuid, request))

    return ask_primary


def _complain(error: dict[str, str]) -> None:
    print(f"remus-ha: {error['code']}: {error['cause']}\n  {error['remedy']}", file=sys.stderr)


class Watch:
    """Begins a verification, shows how far it is, and ends it when interrupted."""

    def __init__(self, ask_primary: Ask, name: str, *, quiet: bool) -> None:
        self._ask, self._name, self._quiet = ask_primary, name, quiet
        self._live = sys.stdout.isatty()
        self._interrupted = False
        self._line_due = time.monotonic() + LINE_S

    def show(self, rate: int) -> dict[str, Any]:
        """The result; only an ``error`` where it was refused. Raises NotRunning."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        answer = self._ask("verify", rate=rate)
        if "error" in answer:
            return answer
        while True:
            if self._interrupted:
                self._ask("end-verification")
            answer = self._ask("verification")
            if not answer["running"]:
                break
            self._print(answer)
            time.sleep(LOOK_S)
        if self._live and not self._quiet:
            print("\r\x1b[K", end="")
        return answer

    def _interrupt(self, _signal: int, _frame: Any) -> None:
        self._interrupted = True

    def _print(self, status: dict[str, Any]) -> None:
        if self._quiet:
            return
        if self._live:
            print(f"\r\x1b[K{progress(self._name, status)}", end="", flush=True)
        elif time.monotonic() >= self._line_due:
            self._line_due += LINE_S
            print(progress(self._name, status), flush=True)


def progress(name: str, status: dict[str, Any]) -> str:
    """One line: octets, of how many, rate, time left."""
    done, whole, rate = (status[key] for key in ("done_octets", "octets", "octets_per_s"))
    left = f"{(whole - done) / rate:.0f} s left" if rate else "nothing yet"
    share = 100 * done // whole if whole else 0
    differ = sum(disk["mismatched_octets"] for disk in status["disks"])
    return (
        f"{name}: compared {done / _MIB:.0f} of {whole / _MIB:.0f} MiB ({share} %),"
        f" {rate / _MIB:.1f} MiB/s, {left}" + (f"  {differ} octets DIFFER" if differ else "")
    )


def verdict(disk: dict[str, Any]) -> str:
    """What was found out about a disk, in one line."""
    text = f"{disk['vdev']}: {disk['compared_octets']} of {disk['octets']} octets compared, "
    differ, unsettled = disk["mismatched_octets"], disk["unsettled_octets"]
    text += f"{differ} differ: {_places(disk['mismatches'])}" if differ else "no mismatch"
    if unsettled:
        text += f"; {unsettled} were written to at every look"
    return text


def _places(places: Sequence[dict[str, int]]) -> str:
    return ", ".join(f"{place['length']} at {place['offset']}" for place in places)


def exit_status(result: dict[str, Any]) -> int:
    """1: something differs, whatever else; 0: everything was compared and is the same; else 2."""
    disks = result.get("disks", ())
    if any(disk["mismatched_octets"] for disk in disks):
        return 1
    return 0 if result.get("complete") else 2
