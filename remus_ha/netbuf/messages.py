"""The rtnetlink requests for plug queueing disciplines, and what the kernel says of them.

``tcmsg`` and TCA_* are those of Linux ``include/uapi/linux/rtnetlink.h``; the options are struct
``tc_plug_qopt`` of ``pkt_sched.h``, carried raw: s32 action, u32 limit in octets.
"""

import enum
import struct
from dataclasses import dataclass

from remus_ha.netbuf.rtnl import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    attribute,
    attributes,
    message,
)

RTM_SETLINK = 19
RTM_NEWQDISC = 36
RTM_DELQDISC = 37
RTM_GETQDISC = 38
TC_H_ROOT = 0xFFFFFFFF
TC_H_INGRESS = 0xFFFFFFF1
TCA_KIND = 1
TCA_OPTIONS = 2
TCA_STATS2 = 7
TCA_STATS_QUEUE = 3
_IFLA_IFALIAS = 20

TCMSG = struct.Struct("=BxxxiIII")
_IFINFOMSG = struct.Struct("=BxHiII")
_PLUG_OPTIONS = struct.Struct("=iI")
_QUEUE = struct.Struct("=III")


class Action(enum.IntEnum):
    """What a plug can be told."""

    BUFFER = 0  # close the epoch: what is queued so far is the last, what comes is the next
    RELEASE_ONE = 1  # let the last closed epoch out
    RELEASE_INDEFINITE = 2  # let everything out and pass everything
    LIMIT = 3  # set the limit; the only action that reads it


@dataclass(frozen=True, slots=True)
class Queue:
    """Fill of a queueing discipline now, and frames dropped in all its life."""

    backlog_packets: int
    backlog_bytes: int
    drops: int


def root_qdisc(ifindex: int, flags: int, kind: str, options: bytes) -> bytes:
    """RTM_NEWQDISC for the root of a device: ``flags`` decide whether it adds or changes."""
    return message(
        RTM_NEWQDISC,
        NLM_F_REQUEST | NLM_F_ACK | flags,
        TCMSG.pack(0, ifindex, 0, TC_H_ROOT, 0)
        + attribute(TCA_KIND, kind.encode() + b"\0")
        + attribute(TCA_OPTIONS, options),
    )


def add_plug(ifindex: int, limit_bytes: int) -> bytes:
    """A new plug with an explicit limit. It buffers from its first moment on."""
    options = _PLUG_OPTIONS.pack(Action.LIMIT, limit_bytes)
    return root_qdisc(ifindex, NLM_F_CREATE | NLM_F_EXCL, "plug", options)


def change_plug(ifindex: int, action: Action, limit_bytes: int = 0) -> bytes:
    """Tell an existing plug. Never creates one: a plug that is gone is an error."""
    return root_qdisc(ifindex, 0, "plug", _PLUG_OPTIONS.pack(action, limit_bytes))


def delete_qdisc(ifindex: int, parent: int) -> bytes:
    """Remove what is at TC_H_ROOT or TC_H_INGRESS, of any kind; what it holds is dropped."""
    return message(RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, TCMSG.pack(0, ifindex, 0, parent, 0))


def clear_alias(ifindex: int) -> bytes:
    """Take a device's alias away. One NUL: an empty attribute is nothing to older kernels."""
    header = _IFINFOMSG.pack(0, 0, ifindex, 0, 0)
    alias = attribute(_IFLA_IFALIAS, b"\0")
    return message(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, header + alias)


def get_root_qdisc(ifindex: int) -> bytes:
    """Ask for kind and statistics of a device's root.

    With echo the kernel's reply comes to us; it needs no acknowledgement besides.
    """
    return message(
        RTM_GETQDISC,
        NLM_F_REQUEST | NLM_F_ECHO,
        TCMSG.pack(0, ifindex, 0, TC_H_ROOT, 0),
    )


def parse_kind(payload: memoryview) -> str:
    """Kind out of an RTM_NEWQDISC payload."""
    start, end = attributes(payload, TCMSG.size)[TCA_KIND]
    return bytes(payload[start:end]).rstrip(b"\0").decode()


def parse_qdisc(payload: memoryview) -> tuple[str, Queue]:
    """Kind and fill out of an RTM_NEWQDISC payload."""
    return parse_kind(payload), read_queue(payload, find_queue(payload))


def find_queue(payload: memoryview) -> int:
    """Where in an RTM_NEWQDISC payload struct ``gnet_stats_queue`` starts.

    One kernel lays out the answers of one kind of equal length alike, so a caller in a hurry may
    keep the place per length.
    """
    start, end = attributes(payload, TCMSG.size)[TCA_STATS2]
    return attributes(payload, start, end)[TCA_STATS_QUEUE][0]


def read_queue(payload: memoryview, at: int) -> Queue:
    """The fill that ``find_queue`` found at ``at``."""
    return Queue(*_QUEUE.unpack_from(payload, at))
