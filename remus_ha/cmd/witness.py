"""``remus-ha witness``: prepare a witness store and look into it."""

import argparse
import dataclasses
import json
from typing import Any

from remus_ha.witness import admin


def add_parser(commands: Any) -> None:
    p = commands.add_parser("witness", help="prepare or look into a witness", description=__doc__)
    verbs = p.add_subparsers(metavar="VERB", required=True)
    init = verbs.add_parser("init", help="give an empty store its incarnation; again: no change")
    init.add_argument("url", metavar="URL")
    init.set_defaults(run=_init)
    show = verbs.add_parser("show", help="show the register of a guest")
    show.add_argument("url", metavar="URL")
    show.add_argument("uuid", metavar="UUID")
    show.set_defaults(run=_show)
    incarnate = verbs.add_parser(
        "incarnate", help="after restoring the store from a backup: refuse all older swaps"
    )
    incarnate.add_argument("url", metavar="URL")
    incarnate.set_defaults(run=_incarnate)


def _init(args: argparse.Namespace) -> int:
    store = admin.initialise(args.url)
    how = "initialised" if store.created else "initialised before"
    print(f"{args.url}: {how}, incarnation {store.incarnation}")
    return 0


def _show(args: argparse.Namespace) -> int:
    reading = admin.show(args.url, args.uuid)
    register = reading.register.as_dict() if reading.register else None
    shown = {"register": register, "opened": reading.opened, "incarnation": reading.incarnation}
    print(json.dumps(shown, indent=2))
    return 0


def _incarnate(args: argparse.Namespace) -> int:
    print(json.dumps(dataclasses.asdict(admin.new_incarnation(args.url)), indent=2))
    return 0
