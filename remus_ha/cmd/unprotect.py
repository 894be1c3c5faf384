"""``remus-ha unprotect``: end a protection; the guest goes on here."""

import argparse
from typing import Any

from remus_ha import rundir
from remus_ha.cmd.common import session_uuid, wait_end
from remus_ha.control_socket import ask
from remus_ha.exceptions import RemusError

END_S = 60.0
LOOK_S = 0.2


class StillEnding(RemusError):
    code = "PROTECT-009"
    cause = "'{name}' is still {state} after {seconds:.0f} s; its output is held meanwhile"
    remedy = "The witness has to answer first; look at 'remus-ha status'."


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "unprotect",
        help="end a protection",
        description="Run on the primary. Returns once the witness knows; the guest goes on here.",
    )
    p.add_argument("domain", metavar="DOMAIN", help="name or UUID of a protected guest")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    uuid = session_uuid("primary", args.domain)
    path = rundir.control_socket("primary", uuid)
    ask(path, uuid, {"command": "unprotect"})
    state, ended = wait_end("primary", uuid, END_S, LOOK_S)
    if not ended:
        raise StillEnding(name=args.domain, state=state, seconds=END_S)
    print(f"{args.domain}: {state}")
    return 0 if state == "stopped" else 1
