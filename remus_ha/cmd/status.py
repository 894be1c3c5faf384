"""``remus-ha status``: every protection that this host takes part in."""

import argparse
import json
from typing import Any

from remus_ha import rundir
from remus_ha.cmd.common import session_name
from remus_ha.cmd.view import line
from remus_ha.control_socket import NotRunning, ask


def add_parser(commands: Any) -> None:
    p = commands.add_parser("status", help="show protections", description=__doc__)
    p.add_argument("--json", action="store_true", help="as JSON")
    p.set_defaults(run=run)


def collect() -> list[dict[str, Any]]:
    """One entry per guest and role, running or ended."""
    return [_one(role, uuid) for role in rundir.ROLES for uuid in _known(role)]


def _known(role: str) -> list[str]:
    root = rundir.ROOT / role
    return sorted(p.name for p in root.iterdir()) if root.is_dir() else []


def _one(role: str, uuid: str) -> dict[str, Any]:
    try:
        return dict(ask(rundir.control_socket(role, uuid), uuid, {"command": "status"}))
    except NotRunning:
        ended = rundir.read_json(rundir.directory(role, uuid) / "result.json")
        known: dict[str, Any] = ended if isinstance(ended, dict) else {"state": "error"}
        return {"role": role, "uuid": uuid, "name": session_name(role, uuid), **known, "pid": None}


def run(args: argparse.Namespace) -> int:
    found = collect()
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    if not found:
        print("no protections on this host")
    for status in found:
        if status["role"] == "primary" and status["pid"]:
            print(line(status))
        else:
            print(f"{status['name']}: {status['state']} ({status['role']})")
    return 0
