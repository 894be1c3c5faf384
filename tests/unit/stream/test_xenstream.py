"""Guards the octets that the product itself writes into Xen's stream."""

import pytest

from remus_ha.stream import xenstream as xs


def test_banner_is_what_xl_sends() -> None:
    assert len(xs.BANNER) == 54
    assert xs.BANNER.endswith(b"domain data.\n")


def test_xl_header() -> None:
    raw = xs.xl_header(b"{}")
    assert raw[:32] == b"Xen saved domain, xl format\n \0 \r"
    assert raw[32:].hex() == "04030201030000000000000007000000030000007b7d00"


def test_preamble_ends_with_libxls_header_and_context_record() -> None:
    raw = xs.preamble(b"{}")
    assert raw[: 48 + 7] == xs.xl_header(b"{}")
    assert raw[55:].hex() == "4c6962786c466d7400000002000000000100000000000000"


def test_checkpoint_end_is_the_octets_that_commit() -> None:
    assert xs.CHECKPOINT_END.hex() == "0400000000000000"
    assert xs.END == bytes(8)


def test_record_is_padded_to_eight() -> None:
    assert xs.record(3, b"abc").hex() == "03000000030000006162630000000000"
    assert len(xs.record(3, b"12345678")) == 16


@pytest.mark.parametrize("config", [b"", b"{}\0", b"x" * xs.MAX_CONFIG])
def test_bad_configuration_is_refused(config: bytes) -> None:
    with pytest.raises(ValueError, match="not a configuration"):
        xs.xl_header(config)
