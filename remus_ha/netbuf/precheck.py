"""Looking, without touching anything, whether the output of some vifs can be buffered."""

from collections.abc import Sequence

from remus_ha.exceptions import RemusError
from remus_ha.netbuf.devices import Devices
from remus_ha.netbuf.errors import ForeignIngress, VifVanished
from remus_ha.netbuf.kernel import load_modules


def vif_obstacles(vifs: Sequence[str]) -> list[RemusError]:
    """Why these vifs cannot be buffered; empty when they can."""
    found: list[RemusError] = []
    try:
        load_modules()
    except RemusError as e:
        found.append(e)
    with Devices() as devices:
        for name in vifs:
            link = devices.find(name)
            if link is None:
                found.append(VifVanished(device=name))
                continue
            kind = devices.ingress_kind(link)
            if kind is not None:
                found.append(ForeignIngress(vif=name, kind=kind))
    return found
