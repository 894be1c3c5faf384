"""``remus-ha tapdisk``: the daemon of one disk, as tapdisk's remus driver was."""

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from remus_ha.disk.ack import Ack
from remus_ha.disk.store.engine import LIMIT
from remus_ha.disk.tapdisk.classic import launch, nbdko, standing
from remus_ha.disk.tapdisk.classic.attendance import Attendance
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.classic.setup import Commit, Setup
from remus_ha.disk.tapdisk.errors import (
    DaemonAttended,
    DaemonFinishing,
    DaemonNotThere,
    DeviceInUse,
)
from remus_ha.disk.tapdisk.fifo import DIRECTORY
from remus_ha.disk.tapdisk.uri import parse
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.xen import vbds

_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
DESCRIPTION = """\
Serves the disk URI ('tap:remus:HOST:PORT|aio:/path', alike on both hosts) to a guest by NBD. The
host that has the address HOST is the backup and has to be started first; the other one is the
primary. Both images have to be the same. The classic controller's FIFOs are in DIRECTORY.

A guest whose disks are devices that are attached so ('--commit coordinated' on both hosts, the
default DIRECTORY) is protected with them by 'remus-ha protect'.
"""


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "tapdisk", help="serve one disk as tapdisk-remus did", description=DESCRIPTION
    )
    p.add_argument("uri", metavar="URI")
    p.add_argument("--nbd", metavar="SOCKET", help="where to serve (default: in DIRECTORY)")
    p.add_argument("--attach", metavar="DEVICE", default="", help="connect /dev/nbdN to it")
    p.add_argument("--directory", type=Path, default=DIRECTORY, help="default: %(default)s")
    p.add_argument(
        "--commit",
        choices=[commit.value for commit in Commit],
        default=Commit.AT_CLOSE.value,
        help="backup: who makes an epoch real, the primary's commit itself or a receiver at the"
        " local socket (default: %(default)s); say the same on both hosts",
    )
    p.add_argument(
        "--ack",
        choices=[ack.value for ack in Ack],
        default=Ack.RECEIVED.value,
        help="backup: what a commit that it has answered outlives (default: %(default)s)",
    )
    p.add_argument(
        "--journal",
        metavar="OCTETS",
        type=int,
        default=LIMIT,
        help="backup: what epochs may take that are not in the image, 256 for each write beside its"
        " data (default: %(default)s)",
    )
    p.add_argument(
        "--in-sync",
        action="store_true",
        help="both images are the same again, whatever is on record here",
    )
    p.add_argument("--detach", action="store_true", help="return once it serves")
    p.add_argument("--stop", action="store_true", help="end the daemon that serves URI here")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    files = Files(args.directory.absolute(), parse(args.uri).address)
    if args.stop:
        stop(files)
        return 0
    # Who ends this process ends the daemon's work in order, from its first moment on.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDING, signal.SIGCHLD})
    setup = _setup(args, files)
    if args.detach and setup.device:
        return _detached(setup, files)
    attendance = Attendance(setup, files, files.log if args.detach else None)
    attendance.begin()
    _say_where(setup)
    if not args.detach:
        attendance.stay(_ENDING, lambda: _end(files))
    return 0


def _say_where(setup: Setup) -> None:
    print(setup.device or setup.nbd, flush=True)  # as tap-ctl does


def _detached(setup: Setup, files: Files) -> int:
    """Return once it serves. Its attendant stays behind, and only ``--stop`` ends that."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    attendant = os.fork()
    if attendant:
        os.close(theirs)
        if not os.read(ours, 1):
            return os.waitstatus_to_exitcode(os.waitpid(attendant, 0)[1])
        _say_where(setup)
        return 0
    _let_go_of_all_but(theirs)
    attendance = Attendance(setup, files, files.log)
    attendance.begin()
    _say_into(files.log)
    os.write(theirs, b"1")
    os.close(theirs)
    attendance.stay(set(), lambda: None)
    return 0


def _let_go_of_all_but(fd: int) -> None:
    """And of what errors are told to."""
    os.setsid()
    os.chdir("/")
    os.closerange(sys.stderr.fileno() + 1, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))


def _say_into(log: Path) -> None:
    with open(os.devnull, "rb") as nothing, open(log, "ab") as out:
        os.dup2(nothing.fileno(), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)


def _setup(args: argparse.Namespace, files: Files) -> Setup:
    return Setup(
        uri=args.uri,
        directory=str(files.directory),
        nbd=str(Path(args.nbd).absolute() if args.nbd else files.nbd),
        orders=str(files.orders),
        commit=args.commit,
        ack=args.ack,
        limit=args.journal,
        in_sync=args.in_sync,
        device=args.attach,
    )


def _end(files: Files) -> None:
    """While nobody needs it."""
    try:
        # Somebody else has ended it, or it takes its time: whoever attends to it waits for its end.
        with contextlib.suppress(DaemonNotThere, DaemonFinishing):
            stop(files)
    except RemusError as e:
        # Not kept in mind: after a failover the disk is the guest's.
        print(f"goes on: {e}. {e.advice}", file=sys.stderr, flush=True)


def stop(files: Files) -> None:
    """Detach the disk from its device, and end its daemon.

    Raises DaemonAttended, DeviceInUse, AttachFailed, UnknownVersion, CommandFailed (both stay), and
    DaemonNotThere, DaemonFinishing.
    """
    device = launch.running(files).device
    if device:
        if standing.status(files).get("attended"):
            raise DaemonAttended(address=files.address)
        if guest := vbds.guest_with(device):
            raise DeviceInUse(device=device, guest=guest)
        nbdko.detach(device, files)
    launch.end(files)
