"""Announcements, octet for octet, and their timing."""

import ipaddress
import struct

import pytest

from remus_ha.netbuf import announce
from remus_ha.netbuf.announce import Announcement
from remus_ha.netbuf.errors import BadAddress

MAC = bytes.fromhex("00163e000050")
TEXT = "00:16:3e:00:00:50"


def test_rarp_is_a_request_of_the_mac_for_itself() -> None:
    assert announce.rarp(MAC) == bytes.fromhex(
        "ffffffffffff 00163e000050 8035"
        "0001 0800 06 04 0003"
        "00163e000050 00000000"
        "00163e000050 00000000"
    ) + bytes(18)


def test_gratuitous_arp_has_the_address_as_sender_and_target() -> None:
    frame = announce.gratuitous_arp(MAC, ipaddress.IPv4Address("192.0.2.7"))
    assert frame == bytes.fromhex(
        "ffffffffffff 00163e000050 0806"
        "0001 0800 06 04 0001"
        "00163e000050 c0000207"
        "000000000000 c0000207"
    ) + bytes(18)


def test_unsolicited_advertisement() -> None:
    frame = announce.unsolicited_na(MAC, ipaddress.IPv6Address("2001:db8::7"))
    checksum = frame[56:58]
    assert frame == bytes.fromhex(
        "333300000001 00163e000050 86dd"
        "60000000 0020 3a ff"
        "20010db8000000000000000000000007"
        "ff020000000000000000000000000001"
        f"88 00 {checksum.hex()} 20000000"
        "20010db8000000000000000000000007"
        "02 01 00163e000050"
    )
    # RFC 8200 §8.1: over the pseudo header and the message the sum is all ones.
    covered = frame[22:54] + struct.pack("!II", 32, 58) + frame[54:]
    total = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_a_tag_goes_behind_the_addresses() -> None:
    frame = announce.tagged(announce.rarp(MAC), 42)
    assert frame[12:18] == bytes.fromhex("8100 002a 8035")
    assert frame[:12] + frame[16:] == announce.rarp(MAC)


def test_a_round_has_every_frame_untagged_and_per_vlan() -> None:
    one = Announcement("vif3.0", "br0", TEXT, ("192.0.2.7", "fe80::7"), (42,))
    sent = announce.frames(one)
    types = [
        frame[12:14].hex() + frame[16:18].hex() * (frame[12:14] == b"\x81\0") for frame in sent
    ]
    assert types == ["8035", "0806", "86dd", "81008035", "81000806", "810086dd"]


def test_rounds_come_with_growing_gaps() -> None:
    plan = list(announce.rounds(Announcement("vif3.0", "br0", TEXT)))
    gaps = [gap for gap, _ in plan]
    assert gaps == sorted(gaps)
    assert gaps[0] == 0
    assert 1 < sum(gaps) < 10
    assert {octets for _, octets in plan} == {(announce.rarp(MAC),)}


@pytest.mark.parametrize(
    "bad",
    [
        Announcement("v", "b", "00:16:3e:00:00"),
        Announcement("v", "b", "no mac"),
        Announcement("v", "b", TEXT, ("192.0.2.300",)),
        Announcement("v", "b", TEXT, (), (0,)),
        Announcement("v", "b", TEXT, (), (4095,)),
    ],
)
def test_bad_addresses_are_refused(bad: Announcement) -> None:
    with pytest.raises(BadAddress) as refused:
        announce.frames(bad)
    assert refused.value.code == "NETBUF-012"
    assert refused.value.advice
