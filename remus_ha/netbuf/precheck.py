"""Looking, without touching anything, whether the output of some vifs can be buffered.

By a plain rtnetlink dump: the library that builds the buffers takes long to load.
"""

import socket
import struct
from collections.abc import Iterator, Sequence

from remus_ha.exceptions import RemusError
from remus_ha.netbuf.errors import ForeignIngress, VifVanished
from remus_ha.netbuf.kernel import load_modules
from remus_ha.netbuf.messages import RTM_GETQDISC, TC_H_INGRESS, parse_kind
from remus_ha.netbuf.rtnl import NLM_F_REQUEST, message

_NLM_F_DUMP = 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_TCMSG = struct.Struct("=BxxxiIII")
_DUMP_S = 5.0


def vif_obstacles(vifs: Sequence[str]) -> list[RemusError]:
    """Why these vifs cannot be buffered; empty when they can."""
    load_modules()
    found: list[RemusError] = []
    kinds = dict(_ingress_kinds()) if vifs else {}
    for vif in vifs:
        try:
            kind = kinds.get(socket.if_nametoindex(vif))
        except OSError:
            found.append(VifVanished(device=vif))
            continue
        if kind is not None:
            found.append(ForeignIngress(vif=vif, kind=kind))
    return found


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
