"""``remus-ha status``: every protection that this host takes part in, and what they take of it."""

import argparse
import json
from typing import Any

from remus_ha import rundir
from remus_ha.cmd.common import session_name
from remus_ha.cmd.sums import Sums
from remus_ha.cmd.view import line
from remus_ha.control_socket import NotRunning, ask

_TELLING = ("session.json", "result.json")  # of a protection that runs, or has ended


def add_parser(commands: Any) -> None:
    p = commands.add_parser("status", help="show protections", description=__doc__)
    p.add_argument("--json", action="store_true", help="as JSON")
    p.add_argument(
        "--limits", action="store_true", help="only what is taken of this host, and its limits"
    )
    p.set_defaults(run=run)


def collect() -> list[dict[str, Any]]:
    """One entry per guest and role, running or ended."""
    return [_one(role, uuid) for role in rundir.ROLES for uuid in _known(role)]


def _known(role: str) -> list[str]:
    root = rundir.ROOT / role
    return sorted({p.parent.name for name in _TELLING for p in root.glob(f"*/{name}")})


def _one(role: str, uuid: str) -> dict[str, Any]:
    try:
        return dict(ask(rundir.control_socket(role, uuid), uuid, {"command": "status"}))
    except NotRunning:
        ended = rundir.read_json(rundir.directory(role, uuid) / "result.json")
        known: dict[str, Any] = ended if isinstance(ended, dict) else {"state": "error"}
        return {"role": role, "uuid": uuid, "name": session_name(role, uuid), **known, "pid": None}


def run(args: argparse.Namespace) -> int:
    if args.limits:
        sums = Sums.now()
        print(json.dumps(sums.as_dict(), indent=2) if args.json else "\n".join(sums.lines()))
        return 0
    found = collect()
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    if not found:
        print("no protections on this host")
    for status in found:
        print(_line(status))
    for text in Sums.now().notable():
        print(text)
    return 0


def _line(status: dict[str, Any]) -> str:
    if not status["pid"]:
        return f"{status['name']}: {status['state']} ({status['role']})"
    if status["role"] == "primary":
        return line(status)
    return f"{status['name']}: {status['state']} (backup of {status['peer']})"
