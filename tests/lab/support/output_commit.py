"""Judges output commit: when frames came out of the guest and when they left its host.

All times are ``time.monotonic`` seconds of the primary's dom0. A frame's epoch is the first one
whose resume is not before the frame was seen on the vif: whatever is seen before the resume of
epoch n was sent before its suspend. It may leave when the acknowledgement of that epoch is in.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from remus_ha.lab.pcap import Frame

_ARP, _IPV4, _IPV6, _VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
_NAMES = {_ARP: "arp", _IPV4: "ipv4", _IPV6: "ipv6", _VLAN: "vlan"}

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """Epoch ``n`` was resumed and acknowledged then."""

    n: int
    resumed_s: float
    acked_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame and when it was seen."""

    time_s: float
    frame: Frame


@dataclass(frozen=True, slots=True)
class Early:
    """A frame of epoch ``n`` that left ``by_s`` before ACK(n)."""

    kind: str
    n: int
    by_s: float


@dataclass(frozen=True, slots=True)
class OutputVerdict:
    """``judged`` frames by kind; ``unknown`` ones left that were not seen to come."""

    judged: dict[str, int]
    early: list[Early]
    unknown: int


def kind_of(frame: Frame) -> str:
    """``arp``, ``vlan``, ``ipv4``, ``ipv6`` or ``other``."""
    return _NAMES.get(frame.ethertype, "other")


def identity(frame: Frame) -> Key:
    """What makes a frame the same before and after its plug: all but checksums.

    A checksum may be filled in on the way (offloading): IPv4's header has it at octet 10, UDP's
    at 6, TCP's at 16 of theirs.
    """
    octets = bytearray(frame.data)
    if frame.ethertype == _IPV4 and len(octets) >= 34:
        start = 14 + 4 * (octets[14] & 0xF)
        octets[24:26] = b"\0\0"
        _blank(octets, start, octets[23])
    elif frame.ethertype == _IPV6 and len(octets) >= 54:
        _blank(octets, 54, octets[20])
    return (bytes(octets),)


def _blank(octets: bytearray, start: int, protocol: int) -> None:
    at = {17: 6, 6: 16, 58: 2}.get(protocol)
    if at is not None:
        octets[start + at : start + at + 2] = b"\0\0"


def judge(came: Iterable[Seen], left: Iterable[Seen], epochs: Sequence[Moment]) -> OutputVerdict:
    """Compare every frame that left during the epochs with the acknowledgement of its own.

    Of frames that are alike (retransmissions; a vif also shows what its plug lets out) only the
    first on either side counts.
    """
    entered = _first_times(came)
    resumes = [moment.resumed_s for moment in epochs]
    judged: dict[str, int] = defaultdict(int)
    early, unknown = [], 0
    for key, (left_s, kind) in _first_times(left).items():
        if key not in entered:
            unknown += 1
            continue
        came_s, _ = entered[key]
        index = bisect.bisect_left(resumes, came_s)
        if index == 0 or index == len(epochs):
            continue  # of an epoch before or after those observed
        judged[kind] += 1
        moment = epochs[index]
        if left_s < moment.acked_s:
            early.append(Early(kind, moment.n, moment.acked_s - left_s))
    return OutputVerdict(dict(judged), early, unknown)


def _first_times(sights: Iterable[Seen]) -> dict[Key, tuple[float, str]]:
    found: dict[Key, tuple[float, str]] = {}
    for seen in sorted(sights, key=lambda s: s.time_s):
        found.setdefault(identity(seen.frame), (seen.time_s, kind_of(seen.frame)))
    return found
