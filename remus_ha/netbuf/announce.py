"""Telling the network where a guest's addresses are, after its vif has joined its bridge.

The MAC does not change in a failover, so it is switches that must learn: any frame with the
guest's source address does, sent on the ports by which the bridge leads away from this host.
RARP requests, as QEMU announces itself, need no IP address; where addresses are known gratuitous
ARP and unsolicited neighbour advertisements (RFC 5227, RFC 4861 §7.2.6) also refresh neighbours.
dom0 does not know a guest's addresses: the guest announces those itself (ADR 0012).
All of it is repeated with growing gaps, because a switch's port may take a while to forward. The
guest itself gets none of it: an advertisement of its own address is what duplicate address
detection takes for a clash.
"""

import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from remus_ha.loop import Loop
from remus_ha.netbuf.errors import BadAddress, NetbufError
from remus_ha.netbuf.refusal import refusal
from remus_ha.netbuf.rtnl import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    Batch,
    Channel,
    RequestRefused,
    attribute,
    message,
)

GAPS_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
BROADCAST = b"\xff" * 6
_SHORTEST = 60  # octets of an Ethernet frame without checksum
_ARP, _RARP, _IPV6, _VLAN = 0x0806, 0x8035, 0x86DD, 0x8100
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ARP_BODY = struct.Struct("!HHBBH6s4s6s4s")
_RTM_NEWNEIGH = 28
_NDMSG = struct.Struct("=BxxxiHBB")
_NDA_LLADDR = 2
_NUD_REACHABLE = 2
_NTF_MASTER = 4
_NET = Path("/sys/class/net")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Announcement:
    """What to announce: a guest's MAC behind ``vif``, a port of ``bridge``.

    ``addresses`` are the guest's, as far as known; ``vlans`` the tags that it uses itself.
    """

    vif: str
    bridge: str
    mac: str
    addresses: tuple[str, ...] = ()
    vlans: tuple[int, ...] = ()


def rarp(mac: bytes) -> bytes:
    """A RARP request of ``mac`` for itself."""
    body = _ARP_BODY.pack(1, 0x0800, 6, 4, 3, mac, bytes(4), mac, bytes(4))
    return _ethernet(BROADCAST, mac, _RARP, body)


def gratuitous_arp(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """An ARP announcement: a request whose sender and target are ``address``."""
    body = _ARP_BODY.pack(1, 0x0800, 6, 4, 1, mac, address.packed, bytes(6), address.packed)
    return _ethernet(BROADCAST, mac, _ARP, body)


def unsolicited_na(mac: bytes, address: ipaddress.IPv6Address) -> bytes:
    """A neighbour advertisement to all nodes, override set, with the link-layer address."""
    target = b"\x02\x01" + mac
    body = struct.pack("!BBHI16s", 136, 0, 0, 0x20000000, address.packed) + target
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 0x60000000, len(body), 58, 255)
    return _ethernet(_ALL_NODES_MAC, mac, _IPV6, header + address.packed + _ALL_NODES.packed + body)


def tagged(frame: bytes, vlan: int) -> bytes:
    """``frame`` with an 802.1Q tag."""
    if not 1 <= vlan <= 4094:
        raise BadAddress(text=str(vlan), expected="a VLAN between 1 and 4094")
    return frame[:12] + struct.pack("!HH", _VLAN, vlan) + frame[12:]


def frames(announcement: Announcement) -> tuple[bytes, ...]:
    """Everything one round sends, untagged and once for every VLAN. Raises BadAddress."""
    mac = parse_mac(announcement.mac)
    plain = [rarp(mac)]
    for text in announcement.addresses:
        address = _parse_address(text)
        if isinstance(address, ipaddress.IPv4Address):
            plain.append(gratuitous_arp(mac, address))
        else:
            plain.append(unsolicited_na(mac, address))
    return (*plain, *(tagged(f, vlan) for vlan in announcement.vlans for f in plain))


def rounds(announcement: Announcement) -> Iterator[tuple[float, tuple[bytes, ...]]]:
    """When (seconds after the round before) and what to send."""
    octets = frames(announcement)
    for gap_s in GAPS_S:
        yield gap_s, octets


def parse_mac(text: str) -> bytes:
    """Six octets. Raises BadAddress."""
    try:
        octets = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != 6:
        raise BadAddress(text=text, expected="a MAC")
    return octets


def away_ports(bridge: str, vif: str) -> tuple[str, ...]:
    """The ports of ``bridge`` but ``vif``; the device itself where it is not a bridge."""
    try:
        ports = os.listdir(_NET / bridge / "brif")
    except FileNotFoundError:
        return (bridge,)
    return tuple(sorted(port for port in ports if port != vif))


def learn(announcement: Announcement) -> None:
    """Have the bridge itself know that the MAC is behind the vif from now on.

    The entry ages like one it learnt. Raises VifVanished, KernelRefused.
    """
    try:
        index = socket.if_nametoindex(announcement.vif)
    except OSError as e:
        raise refusal(e.errno or 0, announcement.vif, "look up a device") from e
    request = message(
        _RTM_NEWNEIGH,
        NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        _NDMSG.pack(socket.AF_BRIDGE, index, _NUD_REACHABLE, _NTF_MASTER, 0)
        + attribute(_NDA_LLADDR, parse_mac(announcement.mac)),
    )
    channel = Channel()
    try:
        channel.transact(Batch([request]))
    except RequestRefused as e:
        raise refusal(e.code, announcement.vif, "add a forwarding entry") from e
    finally:
        channel.close()


class Announcer:
    """Sends all rounds of some announcements from ``loop``'s timers.

    In each of them the bridge learns, too. A port that cannot be sent on is skipped and tried
    again in the next round: announcing only hastens what the guest's own frames bring about.
    """

    def __init__(self, loop: Loop, announcements: Sequence[Announcement]) -> None:
        self._loop = loop
        self._rounds = [(a, rounds(a)) for a in announcements]
        self._left = len(announcements)
        for announcement, plan in self._rounds:
            self._next(announcement, plan)

    @property
    def done(self) -> bool:
        """Whether every round has been sent."""
        return self._left == 0

    def _next(
        self, announcement: Announcement, plan: Iterator[tuple[float, tuple[bytes, ...]]]
    ) -> None:
        due = next(plan, None)
        if due is None:
            self._left -= 1
            return

        def send() -> None:
            with contextlib.suppress(NetbufError):
                learn(announcement)
            send_round(announcement, due[1])
            self._next(announcement, plan)

        self._loop.after(due[0], send)


def send_round(announcement: Announcement, octets: Sequence[bytes]) -> int:
    """Send ``octets`` on every port that leads away; how many ports took them."""
    sent = 0
    for port in away_ports(announcement.bridge, announcement.vif):
        try:
            _send(port, octets)
        except OSError:
            continue
        sent += 1
    return sent


def _send(port: str, octets: Sequence[bytes]) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK) as s:
        s.bind((port, 0))
        for frame in octets:
            s.send(frame)


def _ethernet(destination: bytes, source: bytes, ethertype: int, body: bytes) -> bytes:
    return (destination + source + struct.pack("!H", ethertype) + body).ljust(_SHORTEST, b"\0")


def _checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of octets."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _parse_address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as e:
        raise BadAddress(text=text, expected="an IP address") from e
