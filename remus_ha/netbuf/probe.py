"""Whether this host's kernel can buffer, found by building a buffer where nobody sees it.

It is built in a network namespace of a thread's own, which ends with the thread. By plain
requests: the library that builds the real ones takes long to load.
"""

import ctypes
import errno
import os
import socket
import struct
import threading

from remus_ha.netbuf.errors import (
    IfbMissing,
    KernelRefused,
    NetbufError,
    PlugMissing,
    RedirectMissing,
)
from remus_ha.netbuf.messages import RTM_NEWQDISC, TC_H_INGRESS, TCA_KIND, TCA_OPTIONS, add_plug
from remus_ha.netbuf.refusal import refusal
from remus_ha.netbuf.rtnl import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    Batch,
    Channel,
    RequestRefused,
    attribute,
    message,
)

_CLONE_NEWNET = 0x40000000
_LIMIT_BYTES = 1 << 20
_NEW = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
_RTM_NEWLINK, _RTM_NEWTFILTER = 16, 44
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_INGRESS = 0xFFFF0000
_ETH_P_ALL = 3
_MATCHALL_ACT = 2
_ACT_KIND, _ACT_OPTIONS = 1, 2
_MIRRED_PARMS = 2
_STOLEN, _EGRESS_REDIRECT = 4, 1
_TCMSG = struct.Struct("=BxxxiIII")
_MIRRED = struct.Struct("=IIiiiiI")


def kernel_obstacle() -> NetbufError | None:
    """What the kernel lacks; None when it can do all that ``setup`` needs. Needs root."""
    found: list[NetbufError] = []

    def build() -> None:
        try:
            _build()
        except NetbufError as e:
            found.append(e)

    thread = threading.Thread(target=build, name="netbuf-probe")
    thread.start()
    thread.join()
    return found[0] if found else None


def _build() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        error = os.strerror(ctypes.get_errno() or errno.EPERM)
        raise KernelRefused(action="make a network namespace", device="a probe", error=error)
    channel = Channel()
    try:
        _ask(channel, _new_ifb("probe0"), IfbMissing())
        _ask(channel, _new_ifb("probe1"), IfbMissing())
        source, ifb = socket.if_nametoindex("probe0"), socket.if_nametoindex("probe1")
        _ask(channel, add_plug(ifb, _LIMIT_BYTES), PlugMissing())
        missing = RedirectMissing(vif="a vif", detail="no sch_ingress")
        _ask(channel, _new_ingress(source), missing)
        missing = RedirectMissing(vif="a vif", detail="no cls_matchall or act_mirred")
        _ask(channel, _new_redirect(source, ifb), missing)
    finally:
        channel.close()


def _ask(channel: Channel, request: bytes, missing: NetbufError) -> None:
    try:
        channel.transact(Batch([request]))
    except RequestRefused as e:
        raise refusal(e.code, "a probe", "build a buffer", missing=missing) from e


def _new_ifb(name: str) -> bytes:
    kind = attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"ifb"))
    header = bytes(16)  # struct ifinfomsg: family, type, index, flags, change
    return message(_RTM_NEWLINK, _NEW, header + attribute(_IFLA_IFNAME, name.encode()) + kind)


def _new_ingress(index: int) -> bytes:
    header = _TCMSG.pack(0, index, _INGRESS, TC_H_INGRESS, 0)
    return message(RTM_NEWQDISC, _NEW, header + attribute(TCA_KIND, b"ingress\0"))


def _new_redirect(index: int, target: int) -> bytes:
    parameters = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, target)
    action = attribute(_ACT_KIND, b"mirred\0") + attribute(
        _ACT_OPTIONS, attribute(_MIRRED_PARMS, parameters)
    )
    options = attribute(_MATCHALL_ACT, attribute(1, action))
    header = _TCMSG.pack(0, index, 0, _INGRESS, 1 << 16 | socket.htons(_ETH_P_ALL))
    kind = attribute(TCA_KIND, b"matchall\0")
    return message(_RTM_NEWTFILTER, _NEW, header + kind + attribute(TCA_OPTIONS, options))
