"""``remus-ha tapdisk``: the daemon of one disk, as tapdisk's remus driver was."""

import argparse
import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from remus_ha.disk.store.engine import LIMIT, Ack
from remus_ha.disk.tapdisk.classic import launch, nbdko, standing
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.classic.setup import Commit, Setup
from remus_ha.disk.tapdisk.errors import (
    AttachFailed,
    DaemonAttended,
    DaemonEnded,
    DaemonFinishing,
    DaemonNotThere,
)
from remus_ha.disk.tapdisk.fifo import DIRECTORY
from remus_ha.disk.tapdisk.uri import parse

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
        help="backup: what epochs may take that are not in the image (default: %(default)s)",
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
    process = launch.start(setup, files, files.log if args.detach else None)
    if setup.device:
        _attach(setup, files, process)
    print(setup.device or setup.nbd, flush=True)  # as tap-ctl does
    if not args.detach:
        _watch(setup, files, process)
    return 0


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


def _attach(setup: Setup, files: Files, process: subprocess.Popen[bytes]) -> None:
    """Raises AttachFailed; then nothing is left."""
    try:
        nbdko.run(nbdko.attaching(setup.nbd, setup.device))
    except AttachFailed:
        launch.end(files)
        process.wait()
        raise


def _watch(setup: Setup, files: Files, process: subprocess.Popen[bytes]) -> None:
    """Until it is told to end while no receiver needs it, or the daemon has. Raises DaemonEnded."""
    while process.poll() is None:
        if signal.sigwait({*_ENDING, signal.SIGCHLD}) in _ENDING:
            try:
                # Somebody else has ended it, or it takes its time: its end is waited for below.
                with contextlib.suppress(DaemonNotThere, DaemonFinishing):
                    stop(files)
            except DaemonAttended as e:
                # Not kept in mind: after a failover the disk is the guest's.
                print(f"goes on: {e}. {e.advice}", file=sys.stderr, flush=True)
                continue
            process.wait()
    if process.returncode:
        raise DaemonEnded(disk=setup.uri, status=process.returncode)


def stop(files: Files) -> None:
    """Detach the disk from its device, and end its daemon.

    Raises DaemonAttended (both stay), DaemonNotThere, DaemonFinishing, AttachFailed.
    """
    device = launch.running(files).device
    if device:
        if standing.status(files).get("attended"):
            raise DaemonAttended(address=files.address)
        nbdko.run(nbdko.detaching(device))
    launch.end(files)
