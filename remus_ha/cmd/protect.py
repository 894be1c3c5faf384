"""``remus-ha protect``: start a protection and show it until it ends."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from remus_ha.checkpoint.receiver import Receiver
from remus_ha.cmd import check
from remus_ha.cmd.wish import add_wish_arguments, remarks, wish_of
from remus_ha.exceptions import RemusError


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "protect",
        help="protect a running guest",
        description="Protects DOMAIN with HOST as its backup, in the foreground; ctrl-C ends the"
        " protection and leaves the guest running here.",
    )
    add_wish_arguments(p)
    p.add_argument("--detach", action="store_true", help="return once the guest is protected")
    p.add_argument(
        "--dry-run", action="store_true", help="only say what stands in the way, as 'check' does"
    )
    p.set_defaults(run=run)


def refuse(reasons: Sequence[RemusError]) -> None:
    """Raises the first of them; 'remus-ha check' shows all."""
    if reasons:
        raise reasons[0]


def run(args: argparse.Namespace) -> int:
    if args.dry_run:
        return check.report(args)
    wish = wish_of(args)
    for remark in remarks(args):
        print(f"note: {remark}", file=sys.stderr)
    refuse(wish.refusals())
    with Receiver(wish) as receiver:
        receiver.knock()
        # What is loaded from here on is loaded while the receiver starts.
        from remus_ha.checkpoint.arrange import Arrangement  # noqa: PLC0415
        from remus_ha.cmd.view import View  # noqa: PLC0415

        arrangement = Arrangement(wish, receiver)
        refuse(arrangement.obstacles())
        session = arrangement.begin()
    for warning in arrangement.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return View(session.uuid, session.name, detach=args.detach).show()
