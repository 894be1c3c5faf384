"""``remus-ha cleanup``: resolve what dead processes of ours left, as the register allows.

Nothing is decided here: a session that was left is taken up again by its own process, which asks
the witness and then goes on, opens, or destroys by the same tables as ever.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from remus_ha import kept, rundir
from remus_ha.caretaker import start_detached
from remus_ha.cmd.common import session_name
from remus_ha.cmd.strays import strays
from remus_ha.control_socket import NotRunning, ask
from remus_ha.exceptions import RemusError
from remus_ha.hotplug import records
from remus_ha.hypervisor.libvirt import managed
from remus_ha.hypervisor.libvirt.errors import InCustody
from remus_ha.hypervisor.xen.domain import XenDomain
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.hypervisor.xen.savers import Savers
from remus_ha.netbuf.sweep import Leftover, find_leftovers, remove

MODULES = {"primary": "remus_ha.checkpoint.guardian", "backup": "remus_ha.receive.keeper"}
START_S = 120.0  # as long as a caretaker gives its ward: a loaded host starts slowly
LOOK_S = 0.2
ENDED, SILENT = "", "silent"  # beside the states that a process tells


class CleanupHolds(RemusError):
    code = "PROTECT-010"
    cause = "the left-overs of {names} stay: the witness has not decided within {seconds:.0f} s"
    remedy = "Bring the witness back; the processes that were started here go on asking it."


class CleanupSilent(RemusError):
    code = "PROTECT-018"
    cause = "the left-overs of {names} stay: their processes have not answered for {seconds:.0f} s"
    remedy = "Look at the end of the logs in {logs}, then run 'remus-ha cleanup' again."


class Unclaimed(RemusError):
    code = "PROTECT-017"
    cause = "{devices} hold or drop frames of a guest, and no session here knows why"
    remedy = (
        "Ask the register ('remus-ha witness show URL UUID'). Where it names this host as holder,"
        " or nobody, 'remus-ha witness claim URL UUID' lets the guest go on; where it names another"
        " host, 'xl destroy' the guest here and run this again. Where there is no witness, or the"
        " other host is off for good, by hand: {commands}"
    )


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "cleanup", help="resolve left-overs of crashed processes", description=__doc__
    )
    p.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="wait for the witness (default 60)"
    )
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    left = [(role, uuid) for role in MODULES for uuid in rundir.sessions(role)]
    for role, uuid in left:
        if not _runs(role, uuid):
            print(f"{session_name(role, uuid)}: taking up a {role} session that was left")
            _take_up(role, uuid)
    deadline = time.monotonic() + START_S
    silent = [x for x in left if not _until(_answers, *x, deadline)]
    deadline = time.monotonic() + args.timeout
    waiting = [x for x in left if x not in silent and not _until(_is_resolved, *x, deadline)]
    stay: list[RemusError] = []
    if silent:
        stay.append(CleanupSilent(names=_names(silent), seconds=START_S, logs=rundir.LOGS))
    if waiting:
        stay.append(CleanupHolds(names=_names(waiting), seconds=args.timeout))
    stay += _unclaimed(_sweep())
    stay += _strays()
    stay += _in_custody()
    for more in stay[1:]:
        print(f"{more}\n  {more.advice}")
    if stay:
        raise stay[0]
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


def _names(sessions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(session_name(role, uuid) for role, uuid in sessions)


def _until(true: Callable[[str, str], bool], role: str, uuid: str, deadline: float) -> bool:
    """Whether it is true of a session by the deadline."""
    while not true(role, uuid):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True


def _state(role: str, uuid: str) -> str:
    """What its process says; ENDED where it has ended, SILENT where it says nothing (yet)."""
    try:
        status = ask(rundir.control_socket(role, uuid), uuid, {"command": "status"})
        return str(status["state"])
    except NotRunning:
        return ENDED if (rundir.directory(role, uuid) / "result.json").exists() else SILENT


def _answers(role: str, uuid: str) -> bool:
    return _state(role, uuid) != SILENT


def _is_resolved(role: str, uuid: str) -> bool:
    """Whether a session is healthy (one without a backup is degraded) or has ended."""
    return _state(role, uuid) in ("protected", "degraded", "syncing", ENDED)


def _unclaimed(left: Sequence[Leftover]) -> Iterator[Unclaimed]:
    if left:
        devices = ", ".join(
            str(x.ifb or x.vif) + (f" of {x.guest}" if x.guest else "") for x in left
        )
        by_hand = "; ".join(command for x in left for command in x.by_hand())
        yield Unclaimed(devices=devices, commands=by_hand)


def _strays() -> Iterator[RemusError]:
    vifs = []
    try:
        vifs = list(records.records())
    except RemusError as e:
        yield e
    yield from strays(
        XenDriver().domains(),
        protected=rundir.sessions("primary"),
        received=rundir.sessions("backup"),
        saved=Savers.seen(),
        shut={vif.guest for vif in vifs if vif.state == records.VifState.SHUT},
        known={*kept.guests(), *(vif.guest for vif in vifs)},
    )


def _in_custody() -> Iterator[RemusError]:
    """Guests of libvirt's that no session of ours will give back any more."""
    known = {uuid for role in MODULES for uuid in rundir.sessions(role)}
    for uuid in managed.all_kept():
        if uuid in known:
            continue
        try:
            guest = managed.kept(uuid)
        except RemusError as e:
            yield e
        else:
            if guest is not None:
                yield InCustody(name=guest.name, uuid=uuid)


def _sweep() -> list[Leftover]:
    """Remove devices of ours that belong to no session where the domain is gone.

    The devices of others are returned: nothing here knows whether their frames may leave.
    """
    known = set(rundir.sessions("primary"))
    stay = []
    for leftover in find_leftovers():
        if leftover.guest in known:
            continue
        if _is_dead(leftover):
            print(f"removing {leftover.ifb or leftover.vif} of guest {leftover.guest or 'unknown'}")
            remove(leftover, release=False)
        else:
            stay.append(leftover)
    return stay


def _is_dead(leftover: Leftover) -> bool:
    if leftover.domid is None:
        return leftover.vif is None
    control: XenDomain = XenDriver().control(leftover.domid)
    try:
        return control.life().value == "gone"
    finally:
        control.close()
