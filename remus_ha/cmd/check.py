"""``remus-ha check``: every obstacle to a protection, without touching anything."""

import argparse
import json
import sys
from typing import Any

from remus_ha.checkpoint.receiver import CHECK, Receiver
from remus_ha.cmd.wish import add_wish_arguments, wish_of
from remus_ha.exceptions import RemusError


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "check",
        help="say what stands in the way of protecting a guest",
        description="A dry run: prints every obstacle with code, cause and remedy.",
    )
    add_wish_arguments(p)
    p.add_argument("--json", action="store_true", help="as JSON")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return report(args, as_json=args.json)


def report(args: argparse.Namespace, *, as_json: bool = False) -> int:
    """Print what stands in the way of a protection; 1 where something does."""
    obstacles: list[RemusError] = []
    try:
        wish = wish_of(args)
        obstacles += wish.refusals()
        if wish.netbuf_script:
            late = f"what {wish.netbuf_script} sets up is looked at when the guest is protected"
            print(f"note: {late}", file=sys.stderr)
        with Receiver(wish) as receiver:
            receiver.knock(CHECK)
            from remus_ha.checkpoint.arrange import Arrangement  # noqa: PLC0415  (as 'protect')

            arrangement = Arrangement(wish, receiver)
            obstacles += arrangement.obstacles()
            obstacles += arrangement.backup_obstacles()
            for warning in arrangement.warnings:
                print(f"warning: {warning}", file=sys.stderr)
    except RemusError as e:
        obstacles.append(e)
    if as_json:
        print(json.dumps([e.as_dict() for e in obstacles], indent=2))
    elif obstacles:
        for obstacle in obstacles:
            print(f"{obstacle}\n  {obstacle.advice}")
    else:
        print("nothing stands in the way")
    return 1 if obstacles else 0
