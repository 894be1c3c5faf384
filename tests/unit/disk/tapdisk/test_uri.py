"""Guards the names of replicated disks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.disk.tapdisk.errors import UriInvalid
from remus_ha.disk.tapdisk.uri import RemusDisk, parse

DISK = RemusDisk("192.0.2.7", 9000, "/images/a b.img")
STACK = "remus:192.0.2.7:9000|aio:/images/a b.img"


@pytest.mark.parametrize("prefix", ["", "tap:", "tap:tapdisk:"])
def test_every_spelling_names_the_same_disk(prefix: str) -> None:
    assert parse(prefix + STACK) == DISK


def test_written_as_of_old() -> None:
    assert str(DISK) == "tap:" + STACK
    assert DISK.address == "192.0.2.7:9000"


@given(
    host=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z0-9]{1,9}){0,3}", fullmatch=True),
    port=st.integers(1, 65535),
    path=st.from_regex(r"(/[A-Za-z0-9._ :-]{1,9}){1,4}", fullmatch=True),
)
def test_what_is_written_can_be_read(host: str, port: int, path: str) -> None:
    disk = RemusDisk(host, port, path)
    assert parse(str(disk)) == disk


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aio:/images/a.img",
        "tap:aio:/images/a.img",
        "remus:192.0.2.7:9000",
        "remus:192.0.2.7|aio:/a",
        "remus::9000|aio:/a",
        "remus:192.0.2.7:|aio:/a",
        "remus:192.0.2.7:0|aio:/a",
        "remus:192.0.2.7:09000|aio:/a",
        "remus:192.0.2.7:65536|aio:/a",
        "remus:192.0.2.7:http|aio:/a",
        "remus:192.0.2.7:1٩|aio:/a",
        "remus:../x:9000|aio:/a",
        "remus:a..b:9000|aio:/a",
        "remus:2001:db8::7:9000|aio:/a",
        "remus:[2001:db8::7]:9000|aio:/a",
        "remus:192.0.2.7:9000|aio:a",
        "remus:192.0.2.7:9000|aio:/",
        "remus:192.0.2.7:9000|aio:/a/",
        "remus:192.0.2.7:9000|aio:/a|aio:/b",
        "remus:192.0.2.7:9000|aio:/a,xvda,w",
        "remus:192.0.2.7:9000|vhd:/a",
        "remus:192.0.2.7:9000|aio:/a\n",
        " remus:192.0.2.7:9000|aio:/a",
        "tap:tap:remus:192.0.2.7:9000|aio:/a",
        "tapdisk:remus:192.0.2.7:9000|aio:/a",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UriInvalid, match="does not name a replicated disk") as caught:
        parse(text)
    assert "tap:remus:HOST:PORT|aio:/path" in caught.value.advice
