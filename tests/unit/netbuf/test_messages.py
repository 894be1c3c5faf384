"""The requests, octet for octet, and beside what pyroute2 would send."""

import struct

import pytest

from remus_ha.netbuf import messages
from remus_ha.netbuf.messages import Action, Queue

# nlmsghdr length, type, flags, sequence, port; tcmsg family, ifindex, handle, parent, info;
# TCA_KIND "plug\0" and three octets of padding; TCA_OPTIONS action, limit.
CHANGE = (
    "3c000000 2400 {flags} 00000000 00000000"
    "00000000 07000000 00000000 ffffffff 00000000"
    "0900 0100 706c756700 000000"
    "0c00 0200 {action} {limit}"
)


def octets(**parts: str) -> bytes:
    return bytes.fromhex(CHANGE.format(**parts))


@pytest.mark.parametrize(
    ("action", "encoded"),
    [
        (Action.BUFFER, "00000000"),
        (Action.RELEASE_ONE, "01000000"),
        (Action.RELEASE_INDEFINITE, "02000000"),
    ],
)
def test_a_change_neither_creates_nor_replaces(action: Action, encoded: str) -> None:
    wanted = octets(flags="0500", action=encoded, limit="00000000")
    assert messages.change_plug(7, action) == wanted


def test_a_new_plug_has_its_limit_from_the_start_and_replaces_nothing() -> None:
    wanted = octets(flags="0506", action="03000000", limit="00000004")
    assert messages.add_plug(7, 64 << 20) == wanted


@pytest.mark.parametrize(
    ("parent", "encoded"),
    [(messages.TC_H_ROOT, "ffffffff"), (messages.TC_H_INGRESS, "f1ffffff")],
)
def test_a_qdisc_is_removed_whatever_its_kind(parent: int, encoded: str) -> None:
    wanted = f"24000000 2500 0500 00000000 00000000 00000000 07000000 00000000 {encoded} 00000000"
    assert messages.delete_qdisc(7, parent) == bytes.fromhex(wanted)


def test_an_alias_is_taken_away_by_an_empty_one() -> None:
    """ifinfomsg family, type, index, flags, change; IFLA_IFALIAS with a NUL and its padding."""
    assert messages.clear_alias(7) == bytes.fromhex(
        "28000000 1300 0500 00000000 0000000000000000 07000000 00000000 000000000500 1400 00000000"
    )


def test_the_largest_limit_fits() -> None:
    assert messages.add_plug(7, (1 << 32) - 1).endswith(b"\xff" * 4)


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (Action.BUFFER, "TCQ_PLUG_BUFFER"),
        (Action.RELEASE_ONE, "TCQ_PLUG_RELEASE_ONE"),
        (Action.RELEASE_INDEFINITE, "TCQ_PLUG_RELEASE_INDEFINITE"),
        (Action.LIMIT, "TCQ_PLUG_LIMIT"),
    ],
)
def test_pyroute2_encodes_the_options_alike(action: Action, name: str) -> None:
    sched_plug = pytest.importorskip("pyroute2.netlink.rtnl.tcmsg.sched_plug")
    parameters = sched_plug.get_parameters({"action": name, "limit": 5})
    theirs = struct.pack("=iI", parameters["action"], parameters["limit"])
    assert messages.change_plug(7, action, 5)[-8:] == theirs


def qdisc_answer(kind: bytes, stats: bytes) -> memoryview:
    def attribute(number: int, payload: bytes) -> bytes:
        size = 4 + len(payload)
        return struct.pack("=HH", size, number) + payload + bytes(-size % 4)

    nested = attribute(1, bytes(16)) + attribute(3, stats)
    return memoryview(
        struct.pack("=BxxxiIII", 0, 7, 0x80010000, 0xFFFFFFFF, 2)
        + attribute(1, kind)
        + attribute(12, b"\0")
        + attribute(7, nested)
        + attribute(3, bytes(36))
    )


def test_the_fill_is_read_out_of_an_answer() -> None:
    answer = qdisc_answer(b"plug\0", struct.pack("=IIIII", 12, 3456, 7, 1, 2))
    assert messages.parse_qdisc(answer) == ("plug", Queue(12, 3456, 7))


def test_the_place_of_the_fill_serves_for_answers_of_the_same_length() -> None:
    first = qdisc_answer(b"plug\0", struct.pack("=IIIII", 1, 2, 3, 0, 0))
    second = qdisc_answer(b"plug\0", struct.pack("=IIIII", 4, 5, 6, 0, 0))
    assert messages.read_queue(second, messages.find_queue(first)) == Queue(4, 5, 6)
