"""``remus-ha fenced``: the operator's word that the other host is off, and stays off.

For what no process may decide by itself (design §4, W8): the other host has won the guest but died
before it opened anything, so that this host keeps its copy for it and waits.
"""

import argparse
from typing import Any

from remus_ha import rundir
from remus_ha.cmd.common import NotProtected, session_uuid, wait_end
from remus_ha.control_socket import ask
from remus_ha.exceptions import RemusError

END_S = 60.0
LOOK_S = 1.0
LIVES_HERE = ("degraded", "failed_over")


class OtherPeer(RemusError):
    code = "PROTECT-015"
    cause = "the other host of '{name}' is {peer}, not {given}"
    remedy = "Power off {peer} for good and name it, or leave things as they are."


class StillHeld(RemusError):
    code = "PROTECT-016"
    cause = "'{name}' is {state} on this host {seconds:.0f} s after that word"
    remedy = "Look at 'remus-ha status' and at the log; the register may say that another lives."


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "fenced",
        help="say that the other host of a held guest is off",
        description="Run where the guest is held or its copy kept. Only after HOST has been powered"
        " off and cannot come back by itself: the guest goes on here, whatever HOST had won.",
    )
    p.add_argument("domain", metavar="DOMAIN", help="name or UUID of the guest")
    p.add_argument("host", metavar="HOST", help="the host that is off, as 'status' names it")
    p.set_defaults(run=run)


def _session(name: str) -> tuple[str, str]:
    """Role and UUID. Raises NotProtected."""
    for role in rundir.ROLES:
        try:
            return role, session_uuid(role, name)
        except NotProtected:
            continue
    raise NotProtected(name=name)


def run(args: argparse.Namespace) -> int:
    role, uuid = _session(args.domain)
    path = rundir.control_socket(role, uuid)
    status = ask(path, uuid, {"command": "status"})
    if status["peer"] != args.host:
        raise OtherPeer(name=args.domain, peer=status["peer"], given=args.host)
    # Said again and again: a copy has to be restored first, and is then asked about once more.
    state, _ = wait_end(role, uuid, END_S, LOOK_S, lambda: ask(path, uuid, {"command": "fenced"}))
    if state not in LIVES_HERE:
        raise StillHeld(name=args.domain, state=state, seconds=END_S)
    print(f"{args.domain}: {state}, the guest is on this host")
    return 0
