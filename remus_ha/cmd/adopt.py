"""``remus-ha adopt``: make a guest libvirt's again, where that could not be done by itself."""

import argparse
from typing import Any

from remus_ha import rundir
from remus_ha.hypervisor.libvirt import custody, managed
from remus_ha.hypervisor.libvirt.__main__ import domain_of
from remus_ha.hypervisor.libvirt.errors import LivesHere, NothingKept, StillProtected
from remus_ha.hypervisor.libvirt.managed import Managed


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "adopt",
        help="make a guest libvirt's again",
        description="After a protection libvirt is told by itself: which domain the guest is, and"
        " its definition as it was. This does it where that was not possible, as 'status', the log"
        " or 'cleanup' say. Restarts libvirt's daemon, which its guests do not notice.",
    )
    p.add_argument("domain", metavar="DOMAIN", help="name or UUID of the guest")
    p.add_argument(
        "--elsewhere",
        action="store_true",
        help="the guest is the other host's now: remove its definition here",
    )
    p.set_defaults(run=run)


def _find(name: str) -> Managed:
    """Raises NothingKept, DefinitionBroken."""
    for uuid in managed.all_kept():
        guest = managed.kept(uuid)
        if guest is not None and name in (uuid, guest.name):
            return guest
    raise NothingKept(name=name)


def run(args: argparse.Namespace) -> int:
    guest = _find(args.domain)
    if any(rundir.is_running(role, guest.uuid) for role in rundir.ROLES):
        raise StillProtected(name=guest.name)
    domain = domain_of(guest)
    if not args.elsewhere:
        custody.give_back(guest, domain)
        print(f"{guest.name}: libvirt has it as before")
        return 0
    if domain is not None:
        raise LivesHere(name=guest.name, domid=domain.domid)
    custody.hand_over(guest)
    print(f"{guest.name}: not libvirt's on this host any more")
    return 0
