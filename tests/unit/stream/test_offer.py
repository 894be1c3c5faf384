"""Guards the one line of the starting channel against rubbish."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.stream import credentials, offer
from remus_ha.stream.errors import NotAnOffer

OWN = credentials.create()
LINE = offer.offer_line(OWN, 4711, 4712)
CERT = credentials.encode_certificate(OWN.certificate)


@pytest.mark.parametrize("line", [LINE, LINE.encode(), LINE.replace("\n", "\r\n"), LINE.strip()])
def test_round_trip(line: str | bytes) -> None:
    assert offer.parse_line(line) == offer.Offer(4711, 4712, OWN.certificate)


def test_one_line_within_the_bound() -> None:
    assert LINE.count("\n") == 1
    assert LINE.endswith("\n")
    assert len(LINE) < offer.MAX_LINE / 4


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "it said nothing"),
        ("\n", "it said nothing"),
        ("Welcome to Debian 12!\n", "it said 'Welcome to Debian 12!'"),
        (b"\xff\xfe\0binary\n", "it said"),
        ("bash: remus-ha: command not found\n", "command not found"),
        (LINE.replace("/1 ", "/2 "), "version 2, this host 1"),
        (LINE.replace("4711", "65536"), "65536 is no port"),
        (LINE.replace("port=4711 ", ""), "it said"),
        (LINE + LINE, "it said"),
        (LINE.replace("cert=", "cert=="), "no base64"),
        (f"remus-ha/1 port=1 data_port=2 cert={CERT[:-9]}\n", "certificate"),
        (f"remus-ha/1 port=1 data_port=2 cert={base64.b64encode(bytes(9)).decode()}", "be read"),
        (f"remus-ha/1 port=1 data_port=2 cert={'AAAA' * 1400}", "of 4200 octets"),
        ("x" * 8193, "a line of 8193 characters"),
    ],
)
def test_rubbish(line: str | bytes, says: str) -> None:
    with pytest.raises(NotAnOffer, match=says) as caught:
        offer.parse_line(line)
    assert "ssh HOST" in caught.value.advice


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)))
def test_arbitrary_lines(line: str | bytes) -> None:
    with pytest.raises(NotAnOffer):
        offer.parse_line(line)


@given(st.integers(0, len(LINE) - 2), st.characters(codec="ascii", exclude_characters="\r\n"))
def test_one_changed_character_is_an_offer_or_refused(at: int, character: str) -> None:
    """A changed certificate may still parse; it is never taken for the one that was sent."""
    changed = LINE[:at] + character + LINE[at + 1 :]
    try:
        found = offer.parse_line(changed)
    except NotAnOffer:
        return
    assert changed == LINE or found != offer.Offer(4711, 4712, OWN.certificate)
