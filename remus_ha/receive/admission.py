"""Whether this host has room for one more guest, beside those that it receives already."""

from typing import Protocol

from remus_ha import shares
from remus_ha.exceptions import RemusError
from remus_ha.limits import OVERHEAD_KIB, Limits, link_obstacles, memory_obstacles
from remus_ha.receive.request import Request
from remus_ha.shares import Counter, Share


class Host(Protocol):
    """The part of the hypervisor's ``Host`` that this needs."""

    @property
    def free_kib(self) -> int: ...


class Hypervisor(Protocol):
    """The part of ``XenDriver`` that this needs."""

    def host(self) -> Host: ...


def share_of(request: Request) -> Share:
    """What the guest is going to take here."""
    return Share(
        role="backup",
        uuid=request.guest_uuid,
        name=request.guest_name,
        peer=request.primary_host,
        memory_kib=request.memory_kib,
        rate_mbit_s=request.rate_mbit_s,
    )


def obstacles(share: Share, counter: Counter, xen: Hypervisor) -> list[RemusError]:
    """Empty when there is room. Raises ConfigBroken."""
    limits, others = Limits.read(), counter.others(share)
    # Looked at before Xen is asked: what is claimed in between is counted twice, never not at all.
    coming = [s.memory_kib + OVERHEAD_KIB for s in others if not shares.is_claimed(s)]
    free_kib = max(0, xen.host().free_kib - sum(coming))
    found = memory_obstacles(limits, share, others, free_kib)
    return found + link_obstacles(limits, share, others)
