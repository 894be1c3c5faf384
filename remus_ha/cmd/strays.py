"""Domains of ours that no session here knows of: named, with what to do, and never touched."""

from collections.abc import Collection, Iterator, Sequence

from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.xen.driver import Domain
from remus_ha.hypervisor.xen.restore import INCOMING, MIGRATED
from remus_ha.hypervisor.xen.savers import RESTORED


class CopyUnclaimed(RemusError):
    code = "PROTECT-019"
    cause = "domain '{name}' was left by a restore, and no session here knows of it"
    remedy = (
        "Where no migration to this host is on its way, ask the register ('remus-ha witness show"
        " URL {uuid}'): once it is no pair and names another host, or nobody, 'xl destroy {domid}'."
    )


class GuestSuspended(RemusError):
    code = "PROTECT-020"
    cause = "'{name}' is suspended, nobody here saves it, and no session here knows of it"
    remedy = (
        "Ask the register ('remus-ha witness show URL {uuid}'). Where it names this host as holder,"
        " or nobody, 'remus-ha witness claim URL {uuid}' lets the guest go on; where it names"
        " another host, 'xl destroy {domid}'."
    )


class GuestShut(RemusError):
    code = "PROTECT-021"
    cause = "'{name}' is here behind shut vifs, and no session here knows of it"
    remedy = GuestSuspended.remedy


def strays(
    domains: Sequence[Domain],
    *,
    protected: Sequence[str],
    received: Sequence[str],
    saved: set[int],
    shut: set[str],
    known: Collection[str],
) -> Iterator[RemusError]:
    """``protected`` and ``received``: UUIDs of sessions; ``saved``: as ``Savers.seen`` tells.

    ``shut``: UUIDs of guests whose vifs come up shut on this host; ``known``: of those that were
    ever protected here. Somebody else's guest may be suspended for reasons of its own.
    """
    for domain in domains:
        facts = {"name": domain.name, "uuid": domain.uuid, "domid": domain.domid}
        if domain.name.endswith(INCOMING):
            if domain.uuid not in received and RESTORED not in saved:
                yield CopyUnclaimed(**facts)
        elif domain.uuid in protected or domain.domid in saved or domain.name.endswith(MIGRATED):
            continue
        elif domain.life is Life.SUSPENDED and domain.uuid in known:
            yield GuestSuspended(**facts)
        elif domain.uuid in shut and domain.uuid not in received:
            yield GuestShut(**facts)
