"""The guardian: on the primary, the tiny parent of a protected guest's process.

When the process dies or stalls it lets a suspended guest go on at once, its output still held by
the plugs in the kernel, and starts the process again, which asks the witness what may follow.
"""

import argparse
import sys
import time

from remus_ha.caretaker import Caretaker, Ward
from remus_ha.checkpoint.session import Session
from remus_ha.hypervisor.xen import paths
from remus_ha.hypervisor.xen.domain import XenDomain

MODULE = "remus_ha.checkpoint"


def log(text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{stamp} guardian: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="remus-ha-guardian", description=__doc__)
    parser.add_argument("uuid")
    parser.add_argument("--adopt", help="PID,LINK of a process that runs already")
    parser.add_argument("--restart", action="store_true", help="take up what a dead one left")
    args = parser.parse_args()
    session = Session.load(args.uuid)
    domain = XenDomain(session.domid, paths.running_version())

    def on_loss() -> None:
        domain.resume()
        log("the guest's process is gone; the guest runs, its output is held")

    if args.restart:
        on_loss()
    adopt = None
    if args.adopt:
        pid, link = args.adopt.split(",")
        adopt = (int(pid), int(link))
    Caretaker(Ward(MODULE, (args.uuid,), ()), on_loss=on_loss, log=log).run(
        adopt, restart=args.restart
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
