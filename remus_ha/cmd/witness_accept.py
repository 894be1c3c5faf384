"""``remus-ha witness accept``: go on with a store that was restored or wiped (design §4, W9).

Run on both hosts. Each says what it knows of its guests' registers; when both have, every process
that holds output for want of a trusted store asks it again.
"""

import argparse
import socket
from typing import Any

from remus_ha import kept, rundir
from remus_ha.control_socket import ask
from remus_ha.deciding import ACCEPT_STORE
from remus_ha.exceptions import RemusError
from remus_ha.witness import rewound
from remus_ha.witness.errors import NotReported, SameLife

ROLES = ("primary", "backup")


def add_parser(verbs: Any) -> None:
    p = verbs.add_parser(
        "accept",
        help="on both hosts: go on with a store that was restored or wiped",
        description=__doc__,
    )
    p.add_argument("url", metavar="URL")
    p.add_argument("uuids", metavar="UUID", nargs="*", help="(default: all that this host knows)")
    p.add_argument(
        "--without",
        metavar="HOST",
        action="append",
        default=[],
        help="do not wait for a host that is off for good or has no copy of the guests",
    )
    p.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="for the other host (default 60)"
    )
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    me = socket.gethostname()
    without = frozenset(args.without)
    uuids = args.uuids or kept.guests()
    failures: list[RemusError] = []
    for uuid, found in [(uuid, _report(args.url, uuid, me)) for uuid in uuids]:
        try:
            _accept(args.url, uuid, found, _others(uuid, found, me) - without, args.timeout)
        except RemusError as e:
            failures.append(e)
            print(f"{uuid}: not accepted")
    if not uuids:
        print("this host knows of no guest's register")
    if failures:
        raise failures[0]
    return 0


def _report(url: str, uuid: str, me: str) -> rewound.Reported:
    """Raises SameLife where the store has not been given a new life."""
    mine, why = kept.knowledge(uuid), kept.distrusted(uuid)
    found = rewound.look(url, uuid)
    if mine.incarnation == found.incarnation:
        if why:
            raise SameLife(uuid=uuid, incarnation=found.incarnation, why=why)
        return found
    return rewound.report(url, uuid, me, mine)


def _others(uuid: str, found: rewound.Reported, me: str) -> frozenset[str]:
    """The hosts that may know more than this one: of the register, and of a session here."""
    peers = {_peer(role, uuid) for role in ROLES}
    named = rewound.parties(found.register) | rewound.parties(kept.knowledge(uuid).known)
    return (named | peers) - {me, ""}


def _peer(role: str, uuid: str) -> str:
    fields: Any = rundir.read_json(rundir.directory(role, uuid) / "session.json") or {}
    return str(fields.get("peer_host") or fields.get("request", {}).get("primary_host", ""))


def _accept(
    url: str, uuid: str, found: rewound.Reported, others: frozenset[str], seconds: float
) -> None:
    if kept.knowledge(uuid).incarnation == found.incarnation:
        print(f"{uuid}: accepted before")
        return
    missing = others - found.hosts
    if missing:
        print(f"{uuid}: waiting for {_names(missing)}: run the same there", flush=True)
        found = rewound.await_reports(url, uuid, others, seconds)
        missing = others - found.hosts
    if missing:
        raise NotReported(uuid=uuid, hosts=_names(missing), seconds=seconds)
    for role in ROLES:
        if rundir.is_running(role, uuid):
            request = {"command": ACCEPT_STORE, "incarnation": found.incarnation}
            ask(rundir.control_socket(role, uuid), uuid, request)
    kept.accept(uuid, found.incarnation)
    print(f"{uuid}: accepted, the register says {_told(found)}")


def _names(hosts: frozenset[str]) -> str:
    return ", ".join(sorted(hosts))


def _told(found: rewound.Reported) -> str:
    register = found.register
    if register is None:
        return "nothing"
    parties = " and ".join(sorted(rewound.parties(register))) or "nobody: stopped on purpose"
    return f"generation {register.generation}: {parties}"
