"""``remus-ha``: protect guests from a dom0, without any controller."""

import argparse
import sys
from collections.abc import Sequence

from remus_ha.cmd import check, cleanup, protect, receive, status, unprotect, witness
from remus_ha.exceptions import RemusError

COMMANDS = (protect, unprotect, status, check, cleanup, witness, receive)
EPILOG = """\
examples:
  remus-ha witness init etcd://10.0.0.9:2379
  remus-ha check --witness etcd://10.0.0.9:2379 web1 hostb
  remus-ha protect --witness etcd://10.0.0.9:2379 web1 hostb
  remus-ha status
"""


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="remus-ha",
        description="Protect running Xen guests: when a host dies its guest goes on elsewhere.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"remus-ha {version()}")
    commands = main.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    return main


def version() -> str:
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415
    from importlib.metadata import version as installed  # noqa: PLC0415

    try:
        return installed("remus_ha")
    except PackageNotFoundError:
        return "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 refused or failed (code, cause and remedy on standard error)."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except RemusError as e:
        print(f"remus-ha: {e}\n  {e.advice}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
