"""The filters at a device's ingress, by a plain rtnetlink dump: what they redirect, and where to.

Formats: Linux ``rtnetlink.h`` (tcmsg, TCA_*), ``pkt_cls.h`` (TCA_MATCHALL_ACT and its like) and
``tc_mirred.h``; the classifiers write their actions as ``tcf_exts_dump`` of net/sched/cls_api.c.
"""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from remus_ha.netbuf.messages import TCA_KIND, TCA_OPTIONS, TCMSG
from remus_ha.netbuf.rtnl import attributes, dump

INGRESS = 0xFFFF0000
ETH_P_ALL = 3
_RTM_GETTFILTER = 46
_TCA_CHAIN = 11
_U32_DIVISOR = 4
# Where each classifier has its actions.
_ACTIONS = {"matchall": 2, "u32": 7, "basic": 3, "flower": 3, "bpf": 1}
_ACT_KIND, _ACT_OPTIONS = 1, 2
_MIRRED_PARMS = 2
_MIRRED = struct.Struct("=IIiiiiI")  # index, capab, action, refcnt, bindcnt, eaction, ifindex
_EGRESS_REDIRECT = 1
_U32 = struct.Struct("=I")
_NAMES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8100: "VLAN", ETH_P_ALL: "any protocol"}


@dataclass(frozen=True, slots=True)
class Redirect:
    """One filter. ``target`` is the ifindex that it redirects what it matches to, None where not.

    ``everything``: no frame goes past it. That is matchall for any protocol and nothing else: u32
    compares four octets behind the Ethernet header, and a frame that ends before is no match.
    """

    kind: str
    priority: int
    protocol: int
    target: int | None
    everything: bool

    def __str__(self) -> str:
        return f"{self.kind} for {_NAMES.get(self.protocol, f'protocol {self.protocol:#06x}')}"


def redirects(ifindex: int) -> tuple[Redirect, ...]:
    """The filters that a device's frames meet, in this order."""
    asked = TCMSG.pack(0, ifindex, 0, INGRESS, 0)
    found = (parse(payload) for payload in dump(_RTM_GETTFILTER, asked))
    return tuple(one for one in found if one is not None)


def parse(payload: memoryview) -> Redirect | None:
    """A filter out of an RTM_NEWTFILTER payload.

    None for what is none: the kernel lists a classifier without handle ahead of its filters, u32's
    hash tables as if they were filters, and chains that only another filter's action leads to.
    """
    _family, _index, handle, _parent, info = TCMSG.unpack_from(payload)
    spans = attributes(payload, TCMSG.size)
    if not handle or _is_elsewhere(payload, spans.get(_TCA_CHAIN)):
        return None
    start, end = spans[TCA_KIND]
    kind = bytes(payload[start:end]).rstrip(b"\0").decode()
    options = spans.get(TCA_OPTIONS, (0, 0))
    if kind == "u32" and _U32_DIVISOR in attributes(payload, *options):
        return None
    protocol = socket.ntohs(info & 0xFFFF)
    return Redirect(
        kind=kind,
        priority=info >> 16,
        protocol=protocol,
        target=_target(payload, kind, options),
        everything=kind == "matchall" and protocol == ETH_P_ALL,
    )


def shortfall(found: Sequence[Redirect], ifindex: int) -> str:
    """Which frames these filters do not redirect to a device, in words; empty where all go there.

    Filters are tried in order, and a redirect is the end of it.
    """
    for one in found:
        if one.target != ifindex:
            return f"a filter ({one}) takes frames elsewhere"
        if one.everything:
            return ""
    return f"there is only {', '.join(map(str, found))}" if found else "there is no filter"


def _is_elsewhere(payload: memoryview, chain: tuple[int, int] | None) -> bool:
    return chain is not None and _U32.unpack_from(payload, chain[0])[0] != 0


def _target(payload: memoryview, kind: str, options: tuple[int, int]) -> int | None:
    """Where a filter sends what it matches, if that is all that it does."""
    chain = attributes(payload, *options).get(_ACTIONS.get(kind, -1))
    actions = list(attributes(payload, *chain).values()) if chain else []
    if len(actions) != 1:
        return None
    action = attributes(payload, *actions[0])
    if _ACT_KIND not in action or _ACT_OPTIONS not in action:
        return None
    start, end = action[_ACT_KIND]
    parameters = attributes(payload, *action[_ACT_OPTIONS]).get(_MIRRED_PARMS)
    if bytes(payload[start:end]).rstrip(b"\0") != b"mirred" or parameters is None:
        return None
    *_, eaction, ifindex = _MIRRED.unpack_from(payload, parameters[0])
    return int(ifindex) if eaction == _EGRESS_REDIRECT else None
