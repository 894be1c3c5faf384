"""``remus-ha``: protect guests from a dom0, without any controller."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from remus_ha.exceptions import RemusError

COMMANDS = (
    "protect",
    "unprotect",
    "failover",
    "status",
    "check",
    "cleanup",
    "fenced",
    "adopt",
    "disk",
    "tapdisk",
    "witness",
    "bundle",
    "receive",
)
EPILOG = """\
examples:
  remus-ha witness init etcd://10.0.0.9:2379
  remus-ha check --witness etcd://10.0.0.9:2379 web1 hostb
  remus-ha protect --witness etcd://10.0.0.9:2379 web1 hostb
  remus-ha status
"""


class ShowVersion(argparse.Action):
    """Looks the version up only when asked: that takes as long as all the rest of a start."""

    def __call__(self, *_: object, **__: object) -> None:
        print(f"remus-ha {version()}")
        sys.exit(0)


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of some commands; each brings its own imports, and the time they take."""
    main = argparse.ArgumentParser(
        prog="remus-ha",
        description="Protect running Xen guests: when a host dies its guest goes on elsewhere.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action=ShowVersion, nargs=0, help="show it and exit")
    commands = main.add_subparsers(metavar="COMMAND", required=True)
    for name in names:
        importlib.import_module(f"remus_ha.cmd.{name}").add_parser(commands)
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
    words = list(sys.argv[1:] if argv is None else argv)
    wanted = words[:1] if words and words[0] in COMMANDS else COMMANDS
    args = parser(wanted).parse_args(words)
    try:
        return int(args.run(args))
    except RemusError as e:
        print(f"remus-ha: {e}\n  {e.advice}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
