"""Filters as the kernel lists them; their octets are pyroute2's, or those of our own requests."""

import socket
from typing import Any

import pytest

from remus_ha.netbuf import probe
from remus_ha.netbuf.filters import ETH_P_ALL, INGRESS, Redirect, parse, redirects, shortfall
from remus_ha.netbuf.messages import TCMSG
from remus_ha.netbuf.rtnl import attribute

IFB, OTHER = 9, 10
REDIRECT = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": IFB}
IPV4, ARP = 0x0800, 0x0806


def listed(
    kind: str,
    *actions: dict[str, Any],
    protocol: int = ETH_P_ALL,
    priority: int = 10,
    handle: int = 1,
    more: bytes = b"",
) -> memoryview:
    """What the kernel lists of a filter that pyroute2 asks for."""
    tcmsg = pytest.importorskip("pyroute2.netlink.rtnl.tcmsg")
    wanted: dict[str, Any] = {"action": list(actions)} if actions else {}
    if kind == "u32":
        wanted |= {"target": 0x10010, "keys": ["0x0/0x0+0"]}
    message = tcmsg.tcmsg()
    message["index"], message["handle"], message["parent"] = 7, handle, INGRESS
    message["info"] = priority << 16 | socket.htons(protocol)
    plugin = tcmsg.plugins[kind]
    options = plugin.get_parameters(wanted)
    message["attrs"] = [["TCA_KIND", kind], ["TCA_OPTIONS", options]]
    message.encode()
    return memoryview(bytes(message.data)[16:] + more)


def chain(number: int) -> bytes:
    return attribute(11, number.to_bytes(4, "little"))


@pytest.mark.parametrize("kind", ["matchall", "u32", "basic"])
@pytest.mark.parametrize("protocol", [ETH_P_ALL, IPV4])
def test_where_a_filter_redirects_to(kind: str, protocol: int) -> None:
    everything = (kind, protocol) == ("matchall", ETH_P_ALL)
    wanted = Redirect(kind, 10, protocol, IFB, everything)
    assert parse(listed(kind, REDIRECT, protocol=protocol)) == wanted
    assert parse(listed(kind, REDIRECT, protocol=protocol, more=chain(0))) == wanted


def test_our_own_request_is_what_it_says() -> None:
    request = bytearray(probe._new_redirect(7, IFB)[16:])
    request[8:12] = (1).to_bytes(4, "little")  # the handle that the kernel chooses
    assert parse(memoryview(request)) == Redirect("matchall", 1, ETH_P_ALL, IFB, True)


@pytest.mark.parametrize(
    "actions",
    [
        (),
        ({"kind": "gact", "action": "drop"},),
        ({**REDIRECT, "action": "mirror"},),
        ({**REDIRECT, "direction": "ingress"},),
        (REDIRECT, REDIRECT),
    ],
)
def test_anything_else_redirects_nowhere(actions: tuple[dict[str, Any], ...]) -> None:
    found = parse(listed("matchall", *actions))
    assert found is not None
    assert found.target is None


def test_a_classifier_that_nobody_here_knows_redirects_nowhere() -> None:
    header = TCMSG.pack(0, 7, 1, INGRESS, 10 << 16 | socket.htons(ETH_P_ALL))
    octets = header + attribute(1, b"route\0") + attribute(2, bytes(8))
    assert parse(memoryview(octets)) == Redirect("route", 10, ETH_P_ALL, None, False)


def test_what_is_listed_beside_filters_is_none() -> None:
    """A classifier itself, the hash table of u32, a chain that only a filter leads to."""
    assert parse(listed("matchall", REDIRECT, handle=0)) is None
    assert parse(listed("matchall", REDIRECT, more=chain(4))) is None
    header = TCMSG.pack(0, 7, 0x80000000, INGRESS, 10 << 16 | socket.htons(IPV4))
    table = attribute(2, attribute(4, (1).to_bytes(4, "little")))
    assert parse(memoryview(header + attribute(1, b"u32\0") + table)) is None


ALL = Redirect("matchall", 10, ETH_P_ALL, IFB, True)
V4 = Redirect("u32", 5, IPV4, IFB, False)
U32 = Redirect("u32", 5, ETH_P_ALL, IFB, False)
AWAY = Redirect("u32", 1, ARP, OTHER, False)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([ALL], ""),
        ([V4, ALL], ""),
        ([ALL, AWAY], ""),  # nothing gets as far as the second
        ([], "there is no filter"),
        ([V4], "there is only u32 for IPv4"),
        ([U32], "there is only u32 for any protocol"),
        ([AWAY, ALL], "a filter (u32 for ARP) takes frames elsewhere"),
        ([V4, Redirect("flower", 6, 0x88CC, None, False)], "(flower for protocol 0x88cc)"),
    ],
)
def test_which_frames_go_past(found: list[Redirect], told: str) -> None:
    if told:
        assert told in shortfall(found, IFB)
    else:
        assert shortfall(found, IFB) == ""


def test_a_device_without_ingress_has_none() -> None:
    assert redirects(socket.if_nametoindex("lo")) == ()
