"""``remus-ha receive``: what the primary's ssh runs on the backup."""

import argparse
import sys
from typing import Any

from remus_ha.receive.start import serve


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "receive",
        help="take a guest (run by the primary, over ssh)",
        description="Reads one line, starts the receiver, answers with one line.",
    )
    p.add_argument("--address", default="", help="address to listen on (default: as reached)")
    p.add_argument(
        "--port",
        type=int,
        default=0,
        help="control port; the stream has the next one (default: any)",
    )
    p.add_argument("--check", action="store_true", help="only say whether it would be taken")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return serve(
        sys.stdin.buffer,
        sys.stdout.buffer,
        address=args.address,
        port=args.port,
        only_check=args.check,
    )
