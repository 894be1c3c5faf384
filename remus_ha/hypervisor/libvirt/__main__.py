"""What the per-guest processes have done about libvirt, in a process that may take its time.

``python -m remus_ha.hypervisor.libvirt give-back|hand-over UUID``: exit status 1 and one line on
standard output where it cannot be done.
"""

import argparse
import sys
from collections.abc import Sequence

from remus_ha.exceptions import RemusError
from remus_ha.hotplug import records
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.libvirt import custody, managed
from remus_ha.hypervisor.libvirt.custody import Domain
from remus_ha.hypervisor.libvirt.errors import NothingKept
from remus_ha.hypervisor.libvirt.managed import Managed
from remus_ha.hypervisor.libvirt.words import GIVE_BACK, HAND_OVER, WATCHED
from remus_ha.hypervisor.xen.driver import XenDriver

_LIVES = (Life.RUNNING, Life.PAUSED, Life.SUSPENDED)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="remus-ha-libvirt", description=__doc__)
    parser.add_argument("action", choices=(GIVE_BACK, HAND_OVER))
    parser.add_argument("uuid")
    parser.add_argument(WATCHED, action="store_true", help="libvirt still hears of its end")
    args = parser.parse_args(argv)
    try:
        act(args.action, args.uuid, watched=args.watched)
    except RemusError as e:
        print(f"{e}. {e.advice}")
        return 1
    return 0


def act(action: str, uuid: str, *, watched: bool = False) -> None:
    """Raises NothingKept and other LibvirtErrors."""
    guest = managed.kept(uuid)
    if guest is None:
        raise NothingKept(name=uuid)
    if action == HAND_OVER:
        custody.hand_over(guest)
    else:
        custody.give_back(guest, domain_of(guest), watched=watched)


def domain_of(guest: Managed) -> Domain | None:
    """The guest's domain here, if it lives."""
    xen = XenDriver()
    found = xen.domain_of(guest.uuid)
    if found is None or found[1] != guest.name or xen.life_of(found[0]) not in _LIVES:
        return None
    domid = found[0]
    return Domain(
        domid=domid,
        vifs={mac: records.device_name(domid, n) for mac, n in xen.vif_ids(domid).items()},
        console=xen.console(domid),
    )


if __name__ == "__main__":
    sys.exit(main())
