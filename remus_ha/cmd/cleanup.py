"""``remus-ha cleanup``: resolve what dead processes of ours left, as the register allows.

Nothing is decided here: a session that was left is taken up again by its own process, which asks
the witness and then goes on, opens, or destroys by the same tables as ever.
"""

import argparse
import os
import sys
import time
from typing import Any

from remus_ha import rundir
from remus_ha.caretaker import start_detached
from remus_ha.cmd.common import session_name
from remus_ha.control_socket import NotRunning, ask
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.xen.domain import XenDomain
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.netbuf.sweep import Leftover, find_leftovers, remove

MODULES = {"primary": "remus_ha.checkpoint.guardian", "backup": "remus_ha.receive.keeper"}
START_S = 30.0
LOOK_S = 0.2


class CleanupHolds(RemusError):
    code = "PROTECT-010"
    cause = "the left-overs of {names} stay: the witness has not decided within {seconds:.0f} s"
    remedy = "Bring the witness back; the processes that were started here go on asking it."


class Unclaimed(RemusError):
    code = "PROTECT-017"
    cause = "{devices} hold or drop frames of a guest, and no session here knows why"
    remedy = (
        "Where the register names this host ('remus-ha witness show'), protect the guest and end"
        " that again; else look at 'tc filter show dev VIF ingress' and remove them by hand."
    )


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "cleanup", help="resolve left-overs of crashed processes", description=__doc__
    )
    p.add_argument("--timeout", type=float, default=60.0, metavar="S", help="wait (default 60)")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    deadline = time.monotonic() + args.timeout
    left = [(role, uuid) for role in MODULES for uuid in rundir.sessions(role)]
    for role, uuid in left:
        if not _runs(role, uuid):
            print(f"{session_name(role, uuid)}: taking up a {role} session that was left")
            _take_up(role, uuid)
    waiting = [x for x in left if not _resolved(*x, deadline)]
    unclaimed = _sweep()
    if waiting:
        names = ", ".join(session_name(role, uuid) for role, uuid in waiting)
        raise CleanupHolds(names=names, seconds=args.timeout)
    if unclaimed:
        raise Unclaimed(devices=", ".join(unclaimed))
    return 0


def _runs(role: str, uuid: str) -> bool:
    return rundir.is_running(role, uuid)


def _take_up(role: str, uuid: str) -> None:
    rundir.LOGS.mkdir(parents=True, exist_ok=True)
    path = rundir.LOGS / f"{role}-{uuid}.log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        (rundir.directory(role, uuid) / "result.json").unlink(missing_ok=True)
        start_detached([sys.executable, "-m", MODULES[role], uuid, "--restart"], [], log)
    finally:
        os.close(log)


def _resolved(role: str, uuid: str, deadline: float) -> bool:
    """Whether a session is healthy or has ended by the deadline."""
    result = rundir.directory(role, uuid) / "result.json"
    while time.monotonic() < deadline:
        try:
            status = ask(rundir.control_socket(role, uuid), uuid, {"command": "status"})
            if status["state"] in ("protected", "syncing"):
                return True
        except NotRunning:
            if result.exists():
                return True
        time.sleep(LOOK_S)
    return False


def _sweep() -> list[str]:
    """Remove devices of ours that belong to no session where the domain is gone.

    The devices of others are returned: nothing here knows whether their frames may leave.
    """
    known = set(rundir.sessions("primary"))
    stay = []
    for leftover in find_leftovers():
        name = str(leftover.ifb or leftover.vif)
        if leftover.guest in known:
            continue
        if _is_dead(leftover):
            print(f"removing {name} of guest {leftover.guest or 'unknown'}")
            remove(leftover, release=False)
        else:
            stay.append(name)
    return stay


def _is_dead(leftover: Leftover) -> bool:
    if leftover.domid is None:
        return leftover.vif is None
    control: XenDomain = XenDriver().control(leftover.domid)
    try:
        return control.life().value == "gone"
    finally:
        control.close()
