"""Looking, without touching anything, whether the output of some vifs can be buffered.

By prebuilt messages: the library that builds the buffers takes long to load.
"""

import errno
import socket
from collections.abc import Sequence

from remus_ha.exceptions import RemusError
from remus_ha.netbuf.errors import ForeignIngress, VifVanished
from remus_ha.netbuf.kernel import load_modules
from remus_ha.netbuf.messages import get_ingress_qdisc, parse_kind
from remus_ha.netbuf.refusal import refusal
from remus_ha.netbuf.rtnl import Batch, Channel, RequestRefused


def vif_obstacles(vifs: Sequence[str]) -> list[RemusError]:
    """Why these vifs cannot be buffered; empty when they can."""
    load_modules()
    channel = Channel()
    try:
        return [error for vif in vifs if (error := _obstacle(channel, vif)) is not None]
    finally:
        channel.close()


def _obstacle(channel: Channel, vif: str) -> RemusError | None:
    kinds: list[str] = []

    def keep(_: int, payload: memoryview) -> None:
        kinds.append(parse_kind(payload))

    try:
        index = socket.if_nametoindex(vif)
        channel.transact(Batch([get_ingress_qdisc(index)]), keep)
    except RequestRefused as e:
        if e.code == errno.ENOENT:
            return None
        return refusal(e.code, vif, "look at the ingress")
    except OSError:
        return VifVanished(device=vif)
    return ForeignIngress(vif=vif, kind=kinds[0]) if kinds else None
