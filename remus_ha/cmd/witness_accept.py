"""``remus-ha witness accept``: go on with a store that was restored or wiped (design §4, W9).

Run on both hosts. Each says what it knows of its guests' registers; when both have, every process
that holds output for want of a trusted store asks it again.
"""

import argparse
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from remus_ha import kept, rundir
from remus_ha.cmd.common import uuid_of
from remus_ha.control_socket import ask
from remus_ha.core.register import Register
from remus_ha.core.witness import Knowledge
from remus_ha.deciding import ACCEPT_STORE
from remus_ha.exceptions import RemusError
from remus_ha.witness import rewound
from remus_ha.witness.errors import NotReported, OtherStore, SameLife, WitnessUrlInvalid
from remus_ha.witness.url import parse_etcd_url


def add_parser(verbs: Any) -> None:
    p = verbs.add_parser(
        "accept",
        help="on both hosts: go on with a store that was restored or wiped",
        description=__doc__,
    )
    p.add_argument("url", metavar="URL")
    p.add_argument(
        "uuids",
        metavar="UUID",
        nargs="*",
        type=uuid_of,
        help="(default: all that were protected here by this URL)",
    )
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
    uuids = args.uuids or _of_store(args.url)
    failures: list[RemusError] = []
    here = [uuid for uuid in uuids if _try(partial(_say, args, uuid), uuid, failures)]
    for uuid in here:
        _try(partial(_accept, args, uuid), uuid, failures)
    if failures:
        raise failures[0]
    return 0


def _of_store(url: str) -> list[str]:
    """The guests that were protected here by that store, as far as is known.

    Raises OtherStore where all were by others.
    """
    stores = {uuid: kept.store_of(uuid) for uuid in kept.guests()}
    taken = [uuid for uuid, store in stores.items() if not store or _is_same(store, url)]
    others = sorted(set(stores.values()) - {"", *(stores[uuid] for uuid in taken)})
    if others and not taken:
        raise OtherStore(url=url, others=", ".join(others))
    if others:
        print(f"left out: guests of {', '.join(others)} (their UUIDs may be named)")
    if not stores:
        print("this host knows of no guest's register")
    return taken


def _is_same(one: str, other: str) -> bool:
    """Whether two URLs name a common member and the same keys."""
    try:
        a, b = parse_etcd_url(one), parse_etcd_url(other)
    except WitnessUrlInvalid:
        return one == other
    return a.prefix == b.prefix and bool(set(a.endpoints) & set(b.endpoints))


def _try(do: Callable[[], None], uuid: str, failures: list[RemusError]) -> bool:
    """One guest's trouble is not another's."""
    try:
        do()
    except RemusError as e:
        failures.append(e)
        print(f"{uuid}: not accepted: {e}")
        return False
    return True


def _say(args: argparse.Namespace, uuid: str) -> None:
    """Tell the store what this host knows. Raises SameLife where it has not got a new life."""
    mine, why = kept.knowledge(uuid), kept.distrusted(uuid)
    found = rewound.look(args.url, uuid)
    me = socket.gethostname()
    if mine.incarnation != found.incarnation:
        rewound.report(args.url, uuid, me, mine, frozenset(args.without))
    elif why:
        raise SameLife(uuid=uuid, incarnation=found.incarnation, why=why)
    else:
        rewound.excuse(args.url, uuid, frozenset({me}))


def _accept(args: argparse.Namespace, uuid: str) -> None:
    found = rewound.look(args.url, uuid)
    if kept.knowledge(uuid).incarnation != found.incarnation:
        found = _await_others(args, uuid, found)
    for role in rundir.ROLES:
        if rundir.is_running(role, uuid):
            request = {"command": ACCEPT_STORE, "incarnation": found.incarnation}
            ask(rundir.control_socket(role, uuid), uuid, request)
    peer = kept.knowledge(uuid).peer
    now = Knowledge(found.incarnation, found.register, found.opened, peer)
    kept.accept(uuid, args.url, now)
    print(f"{uuid}: accepted, the register says {_told(found.register)}")


def _await_others(args: argparse.Namespace, uuid: str, found: rewound.Reported) -> rewound.Reported:
    """Until every host that may know more has reported. Raises NotReported."""
    others = _others(uuid, found)
    excused = others & frozenset(args.without)
    if excused:
        rewound.excuse(args.url, uuid, excused)
    missing = others - excused - found.hosts
    if missing:
        print(f"{uuid}: waiting for {_names(missing)}: run the same there", flush=True)
        found = rewound.await_reports(args.url, uuid, missing, args.timeout)
    missing -= found.hosts
    if missing:
        raise NotReported(uuid=uuid, hosts=_names(missing), seconds=args.timeout)
    return found


def _others(uuid: str, found: rewound.Reported) -> frozenset[str]:
    """The hosts that may know more than this one: of the register, and of a session here."""
    peers = {kept.knowledge(uuid).peer, *(_peer(role, uuid) for role in rundir.ROLES)}
    named = rewound.parties(found.register) | rewound.parties(kept.knowledge(uuid).known)
    return (named | peers) - {socket.gethostname(), ""}


def _peer(role: str, uuid: str) -> str:
    fields: Any = rundir.read_json(rundir.directory(role, uuid) / "session.json") or {}
    return str(fields.get("peer_host") or fields.get("request", {}).get("primary_host", ""))


def _names(hosts: frozenset[str]) -> str:
    return ", ".join(sorted(hosts))


def _told(register: Register | None) -> str:
    if register is None:
        return "nothing"
    parties = " and ".join(sorted(rewound.parties(register))) or "nobody: stopped on purpose"
    return f"generation {register.generation}: {parties}"
