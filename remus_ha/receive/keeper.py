"""The keeper: on the backup, the process that keeps the restore waiting.

It starts the restoring process on the read end of a pipe, holds the write end, and starts the
receiver (``remus_ha.receive``), again and again if need be. The restore takes the pipe's end for
"the primary is dead, go", so the write end stays open until the receiver says so explicitly.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from remus_ha import forked, rundir, shares
from remus_ha.caretaker import Caretaker, Ward, parse_held
from remus_ha.hypervisor.xen import restore
from remus_ha.receive.incoming import Incoming
from remus_ha.stream.mover import grow_pipe
from remus_ha.waiting import readable

MODULE = "remus_ha.receive"
PIPE_WANTED = 64 << 20
RESTORE_S = 60.0


def start_restore(uuid: str) -> tuple[int, tuple[int, int, int]]:
    """Pid of the restoring process; the write end of its pipe, and both ends of the seal."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    grow_pipe(write_end, PIPE_WANTED)
    os.set_blocking(write_end, False)
    rundir.LOGS.mkdir(parents=True, exist_ok=True)
    minded = Incoming.load(uuid).request.minded
    process = restore.start(read_end, rundir.restore_log(uuid), minded=minded)
    os.close(read_end)
    return process.pid, (write_end, *os.pipe2(os.O_CLOEXEC))


def await_restore(uuid: str) -> int:
    """With the last holder of its pipe gone it runs to its end: 0, or the pid of one that does not.

    A receiver that began while it works would take the copy for broken.
    """
    pid = restore.running(rundir.restore_log(uuid))
    if pid is None:
        return 0
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        return 0 if readable(pidfd, RESTORE_S) else pid
    finally:
        os.close(pidfd)


def main(argv: Sequence[str] | None = None, receiver: forked.Main | None = None) -> int:
    """``receiver`` is its own ``main``, where it is loaded."""
    parser = argparse.ArgumentParser(prog="remus-ha-keeper", description=__doc__)
    parser.add_argument("uuid")
    parser.add_argument("--adopt", help="PID,LINK,RESTORE of a receiver that runs already")
    parser.add_argument("--held", default="", help="descriptors to hold for it")
    parser.add_argument("--restart", action="store_true", help="take up what a dead one left")
    args = parser.parse_args(argv)
    shares.hold("backup", args.uuid)
    adopt: tuple[int, int] | None = None
    holds: tuple[int, ...] = ()
    if args.restart:
        restore_pid = await_restore(args.uuid)
    elif args.adopt:
        pid, link, restore_pid = (int(x) for x in args.adopt.split(","))
        adopt = (pid, link)
        holds = parse_held(args.held)
    else:
        restore_pid, holds = start_restore(args.uuid)
    ward = Ward(MODULE, (args.uuid, "--restore", str(restore_pid)), holds, receiver)
    Caretaker(ward, lambda: None, f"keeper {args.uuid}").run(adopt, restart=args.restart)
    return 0


if __name__ == "__main__":
    sys.exit(main())
