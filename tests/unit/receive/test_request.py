"""The one line each way: what fits is taken, whatever else is a typed error."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.disk.spec import DiskSpec
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.errors import NameTaken, NotEnoughMemory
from remus_ha.receive.request import (
    LIMIT,
    VERSION,
    HandshakeRubbish,
    HandshakeVersion,
    ReceiverRefused,
    Reply,
    Request,
    VifSpec,
    parse_refusals,
    parse_reply,
    parse_request,
    refusal,
    to_line,
)

REQUEST = Request(
    session="00" * 16,
    guest_uuid="6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11",
    guest_name="web1",
    memory_kib=65536,
    vcpus=1,
    kind="pvh",
    config={"c_info": {"type": "pvh", "name": "web1"}, "nics": [{"mac": "00:16:3e:00:00:50"}]},
    vifs=(VifSpec(0, "00:16:3e:00:00:50", "br0", ""),),
    primary_host="a",
    primary_nonce="0011223344556677",
    xen_version="4.17",
    witness="etcd://10.0.0.9:2379",
    witness_life="3f",
    detect_ms=1000,
    certificate="AAAA",
    wall_clock_s=1.5,
    disks=(DiskSpec("xvda", "/srv/web1.img", 1 << 20, "received", "", False, 1 << 30, 7),),
    disk_key="00" * 32,
    tls="required",
    minded=True,
    libvirt={},
    forced=False,
    rate_mbit_s=0,
)
REPLY = Reply("10.0.0.2", 4001, 4002, "AAAA", "b", "8899aabbccddeeff", 2.5, ("slow",))

words = st.text(max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(
    name=words,
    memory_kib=st.integers(0, 1 << 40),
    wall_clock_s=st.floats(allow_nan=False),
    vifs=st.lists(st.builds(VifSpec, st.integers(0, 255), words, words, words), max_size=4).map(
        tuple
    ),
)
def test_a_request_survives_its_line(
    name: str, memory_kib: int, wall_clock_s: float, vifs: tuple[VifSpec, ...]
) -> None:
    fields = {**asdict(REQUEST), "guest_name": name, "memory_kib": memory_kib}
    fields |= {"wall_clock_s": wall_clock_s, "vifs": vifs, "disks": REQUEST.disks}
    request = Request(**fields)
    line = to_line(request)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse_request(line) == request


@given(host=words, port=st.integers(0, 65535), warnings=st.lists(words, max_size=3).map(tuple))
def test_a_reply_survives_its_line(host: str, port: int, warnings: tuple[str, ...]) -> None:
    fields = {**asdict(REPLY), "backup_host": host, "control_port": port, "warnings": warnings}
    reply = Reply(**fields)
    assert parse_reply(to_line(reply)) == reply


def test_a_refusal_carries_code_cause_and_remedy() -> None:
    error = NotEnoughMemory(free_mib=10, needed_mib=100)
    with pytest.raises(ReceiverRefused) as caught:
        parse_reply(refusal(error))
    assert error.as_dict()["cause"] in str(caught.value)
    assert "XEN-013" in str(caught.value)
    assert caught.value.advice == error.advice


def test_a_refusal_carries_all_reasons() -> None:
    errors = (NotEnoughMemory(free_mib=10, needed_mib=100), NameTaken(name="web1"))
    first, second = (str(e) for e in parse_refusals(refusal(*errors)))
    assert "XEN-013" in first
    assert "XEN-015" in second


@pytest.mark.parametrize("line", [b"{}", b'{"version":1,"errors":[3]}', b'{"version":1}'])
def test_a_refusal_without_its_fields_is_rubbish(line: bytes) -> None:
    with pytest.raises(RemusError):
        parse_refusals(line)


@given(st.binary(max_size=200))
def test_no_octets_do_more_than_a_typed_error(line: bytes) -> None:
    for parse in (parse_request, parse_reply):
        with pytest.raises(RemusError):
            parse(line)


@given(values)
def test_no_json_does_more_than_a_typed_error(value: Any) -> None:
    line = json.dumps(value).encode()
    for parse in (parse_request, parse_reply):
        with pytest.raises(RemusError):
            parse(line)


@given(st.sampled_from(sorted(asdict(REQUEST))), values)
def test_a_field_with_another_value_is_taken_or_a_typed_error(name: str, value: Any) -> None:
    """What is taken has the declared types, so that nothing trips over it later."""
    line = json.dumps({**asdict(REQUEST), name: value}).encode()
    try:
        request = parse_request(line)
    except RemusError:
        return
    assert type(getattr(request, name)) in (
        type(getattr(REQUEST, name)),
        *((int,) if name == "wall_clock_s" else ()),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session", "zz" * 16),
        ("session", "00" * 15),
        ("guest_uuid", "../../../etc"),
        ("memory_kib", "65536"),
        ("memory_kib", True),
        ("memory_kib", -1),
        ("rate_mbit_s", -1),
        ("forced", "no"),
        ("config", []),
        ("vifs", None),
        ("vifs", [None]),
        ("vifs", [{"devid": "0", "mac": 1, "bridge": "", "script": ""}]),
        ("vifs", [{"devid": 0}]),
        ("detect_ms", None),
        ("certificate", 7),
        ("version", "1"),
    ],
)
def test_a_field_that_would_trip_somebody_later_is_refused(name: str, value: Any) -> None:
    with pytest.raises((HandshakeRubbish, HandshakeVersion)):
        parse_request(json.dumps({**asdict(REQUEST), name: value}).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("control_port", "4001"),
        ("control_port", None),
        ("address", 7),
        ("wall_clock_s", "now"),
        ("error", "no"),
        ("error", {"code": "X"}),
    ],
)
def test_a_reply_that_would_trip_somebody_later_is_refused(name: str, value: Any) -> None:
    with pytest.raises(HandshakeRubbish):
        parse_reply(json.dumps({**asdict(REPLY), name: value}).encode())


@pytest.mark.parametrize("name", sorted(set(asdict(REQUEST)) - {"version"}))
def test_a_field_that_is_missing_or_new(name: str) -> None:
    fields = asdict(REQUEST)
    del fields[name]
    with pytest.raises(HandshakeRubbish):
        parse_request(json.dumps(fields).encode())
    with pytest.raises(HandshakeRubbish):
        parse_request(json.dumps({**asdict(REQUEST), "more": 1}).encode())


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None])
def test_another_version_is_named(version: Any) -> None:
    for parse, message in ((parse_request, REQUEST), (parse_reply, REPLY)):
        with pytest.raises(HandshakeVersion):
            parse(json.dumps({**asdict(message), "version": version}).encode())


def test_a_login_shells_chatter_is_shown() -> None:
    with pytest.raises(HandshakeRubbish, match="Welcome to host b!"):
        parse_reply(b"Welcome to host b!\n" + to_line(REPLY))


@pytest.mark.parametrize("line", [b"[" * 100_000, b" " * (LIMIT + 1), b'{"a":' * 50_000])
def test_what_is_too_long_or_too_deep(line: bytes) -> None:
    with pytest.raises(HandshakeRubbish):
        parse_request(line)
