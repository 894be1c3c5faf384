"""The guardian: on the primary, the tiny parent of a protected guest's process.

When the process dies or stalls it lets a suspended guest go on at once, its output still held by
the plugs in the kernel, and starts the process again, which asks the witness what may follow.
"""

import argparse
import sys
from collections.abc import Sequence

from remus_ha import forked, rundir, shares
from remus_ha.caretaker import Caretaker, Ward
from remus_ha.checkpoint import quiesced
from remus_ha.checkpoint.session import Session
from remus_ha.hypervisor.base import DomainControl
from remus_ha.hypervisor.xen import paths
from remus_ha.hypervisor.xen.domain import XenDomain

MODULE = "remus_ha.checkpoint"


def let_go_on(uuid: str, domain: DomainControl, *, withdraw: bool = True) -> None:
    """Whatever a dead process wanted of the guest; nobody would resume it from a later suspend."""
    if withdraw:
        domain.withdraw_suspend()
    domain.resume()
    if quiesced.paused_by_us(uuid):
        quiesced.go_on(uuid, domain)


def main(argv: Sequence[str] | None = None, ward: forked.Main | None = None) -> int:
    """``ward`` is the process's own ``main``, where it is loaded."""
    parser = argparse.ArgumentParser(prog="remus-ha-guardian", description=__doc__)
    parser.add_argument("uuid")
    parser.add_argument("--adopt", help="PID,LINK of a process that runs already")
    parser.add_argument("--restart", action="store_true", help="take up what a dead one left")
    args = parser.parse_args(argv)
    shares.hold("primary", args.uuid)
    session = Session.load(args.uuid)

    def on_loss(*, withdraw: bool = True) -> None:
        if rundir.is_running("primary", args.uuid):
            return  # another one protects it: the guest may be suspended for its copy
        domain = XenDomain(session.domid, paths.running_version(), watch=False)
        try:
            let_go_on(args.uuid, domain, withdraw=withdraw)
        finally:
            domain.close()

    caretaker = Caretaker(Ward(MODULE, (args.uuid,), (), ward), on_loss, f"guardian {session.name}")
    if args.restart:
        on_loss()
    adopt = None
    if args.adopt:
        pid, link = args.adopt.split(",")
        adopt = (int(pid), int(link))
    caretaker.run(adopt, restart=args.restart)
    # A net: whatever the process left suspended by mistake. A request is somebody else's by now.
    on_loss(withdraw=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
