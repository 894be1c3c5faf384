"""``remus-ha bundle``: everything that helps to find out what went wrong here, in one file."""

import argparse
import io
import json
import os
import re
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.cmd import status
from remus_ha.cmd.remus_ha import version
from remus_ha.exceptions import RemusError

COMMAND_S = 20.0
LOG_OCTETS = 4 << 20  # of the end of each log
COMMANDS = (
    "uname -a",
    "xl info",
    "xl list -v",
    "xl dmesg",
    "xenstore-ls -f /local/domain",
    "ip -d -s link",
    "ip address",
    "tc -s qdisc",
    "tc filter show",
    "ss -tnpi",
    "ps -eo pid,ppid,stat,etimes,rss,comm",
    "ps -o pid,ppid,stat,etimes,rss,args -C python3,remus-ha,xl,qemu-system-i386,nbdkit,qemu-nbd",
    "free -k",
    "df -k",
    "dmesg --ctime",
    "dpkg-query -W *xen* *libvirt* *nbdkit* *qemu* python3*",
)
_SECRET = re.compile("disk_key|key|pem|passwd|password|secret")
_IN_TEXT = re.compile(
    r"(://)[^/\s:]+:[^/\s]+@"  # a user and a password in a URL
    r"|((?:passwd|password)[\"']?\s*[=:]\s*)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',]+)"
)
HIDDEN = "(hidden)"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class BundleUnwritable(RemusError):
    code = "PROTECT-035"
    cause = "{path} cannot be written: {detail}"
    remedy = "Name another file with --output, on a file system with room."


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "bundle",
        help="collect what helps to find out what went wrong",
        description="Writes a compressed archive: logs, states, sessions without their keys, what"
        " Xen, the network and the kernel say. It holds names, addresses and the guests'"
        " configuration, but no memory, no disk and no key; look it through before you hand it on."
        " Run it on both hosts.",
    )
    p.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: remus-ha-HOST-TIME.tar.gz here"
    )
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"remus-ha-{socket.gethostname()}-{stamp}"
    path: Path = args.output or Path(f"{name}.tar.gz")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # Nobody else's to read: it says a lot of the guests.
        fd = os.open(partial, _NEW, 0o600)
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for member, text in collect():
                _add(archive, f"{name}/{member}", text)
        partial.replace(path)
    except OSError as e:
        raise BundleUnwritable(path=path, detail=e.strerror or e) from e
    finally:
        partial.unlink(missing_ok=True)
    print(path)
    return 0


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode(errors="backslashreplace")
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), int(time.time()), 0o600
    archive.addfile(member, io.BytesIO(content))


def collect() -> Iterator[tuple[str, str]]:
    """Names in the archive with their text, secrets hidden."""
    yield "version", f"{version()}\n"
    yield "status.json", json.dumps(without_secrets(status.collect()), indent=2, default=str)
    for root, kept in ((rundir.ROOT, "run"), (rundir.STATE, "state")):
        for path in sorted(root.rglob("*.json")):
            yield f"{kept}/{path.relative_to(root)}", _json(path)
    for path in sorted(rundir.LOGS.glob("*")):
        if path.is_file():
            yield f"log/{path.name}", hidden(_end_of(path))
    for command in COMMANDS:
        yield f"commands/{_file_name(command)}", hidden(_said(command))


def _file_name(command: str) -> str:
    return re.sub("[^a-z0-9]+", "-", command.lower()).strip("-")


def _json(path: Path) -> str:
    try:
        return json.dumps(without_secrets(json.loads(path.read_text())), indent=2)
    except (OSError, ValueError) as e:
        return f"{e}\n"


def without_secrets(value: Any) -> Any:
    """JSON with whatever a name calls secret hidden; what is empty stays so."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if inner and _SECRET.fullmatch(str(name)) else without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return hidden(value) if isinstance(value, str) else value


def hidden(text: str) -> str:
    """Passwords in URLs and configurations."""
    return _IN_TEXT.sub(lambda m: f"{m[1] or m[2]}{HIDDEN}{'@' if m[1] else ''}", text)


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LOG_OCTETS))
            return log.read(LOG_OCTETS).decode(errors="replace")
    except OSError as e:
        return f"{e}\n"


def _said(command: str) -> str:
    """What a command prints; why not, where it cannot be run or takes too long."""
    try:
        done = subprocess.run(
            command.split(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return f"{e}\n"
    return done.stdout.decode(errors="replace")
