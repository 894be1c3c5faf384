"""Looking, without touching any device, whether the output of some vifs can be buffered.

Where nothing is in the way that is a plain rtnetlink dump and a probe: the library that builds the
buffers takes long to load.
"""

import socket
import struct
from collections.abc import Iterator, Sequence

from remus_ha.exceptions import RemusError
from remus_ha.netbuf.errors import ForeignIngress, LeftoverInTheWay, VifVanished
from remus_ha.netbuf.kernel import load_modules
from remus_ha.netbuf.messages import RTM_GETQDISC, TC_H_INGRESS, parse_kind
from remus_ha.netbuf.probe import kernel_obstacle
from remus_ha.netbuf.rtnl import NLM_F_REQUEST, message

_NLM_F_DUMP = 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_TCMSG = struct.Struct("=BxxxiIII")
_DUMP_S = 5.0


def vif_obstacles(vifs: Sequence[str]) -> list[RemusError]:
    """Why these vifs cannot be buffered; empty when they can."""
    if not vifs:
        return []
    load_modules()
    kernel = kernel_obstacle()
    found: list[RemusError] = [] if kernel is None else [kernel]
    kinds = dict(_ingress_kinds())
    for vif in vifs:
        try:
            kind = kinds.get(socket.if_nametoindex(vif))
        except OSError:
            found.append(VifVanished(device=vif))
            continue
        if kind is not None:
            found.append(_leftover(vif) or ForeignIngress(vif=vif, kind=kind))
    return found


def _leftover(vif: str) -> RemusError | None:
    """The error for a vif that a session of ours, alive or not, has connected."""
    from remus_ha.netbuf.sweep import find_leftovers  # noqa: PLC0415  only where it matters

    for left in find_leftovers():
        if left.vif == vif and left.connected:
            ifb = left.ifb or "nothing"
            return LeftoverInTheWay(vif=vif, ifb=ifb, session=left.session, guest=left.guest)
    return None


def _ingress_kinds() -> Iterator[tuple[int, str]]:
    """Index and kind for every device of this host that has something at its ingress."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as s:
        s.settimeout(_DUMP_S)
        s.send(message(RTM_GETQDISC, NLM_F_REQUEST | _NLM_F_DUMP, _TCMSG.pack(0, 0, 0, 0, 0)))
        while True:
            octets = memoryview(s.recv(1 << 17))
            while len(octets) >= _HEADER.size:
                length, kind, _, _, _ = _HEADER.unpack_from(octets)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                payload = octets[_HEADER.size : length]
                _family, index, _handle, parent, _info = _TCMSG.unpack_from(payload)
                if parent == TC_H_INGRESS:
                    yield index, parse_kind(payload)
                octets = octets[(length + 3) & ~3 :]
