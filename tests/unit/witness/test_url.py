import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.witness.errors import WitnessUrlInvalid
from remus_ha.witness.url import Endpoint, EtcdUrl, Tls, parse_etcd_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("etcd://10.0.0.1:2379", EtcdUrl((Endpoint("10.0.0.1", 2379),))),
        ("etcd://10.0.0.1", EtcdUrl((Endpoint("10.0.0.1", 2379),))),
        ("etcd://a-b.example:1/", EtcdUrl((Endpoint("a-b.example", 1),))),
        (
            "etcd://a:1,b:2,[fd00::1]:3/one/two/",
            EtcdUrl((Endpoint("a", 1), Endpoint("b", 2), Endpoint("fd00::1", 3)), "/one/two"),
        ),
        ("etcd://[fd00::1]:3,a", EtcdUrl((Endpoint("fd00::1", 3), Endpoint("a", 2379)))),
        ("etcd+https://a:1", EtcdUrl((Endpoint("a", 1),), tls=Tls())),
        (
            "etcd+https://a:1/p?ca=/x/ca.pem&cert=/x/c.pem&key=/x/k.pem",
            EtcdUrl((Endpoint("a", 1),), "/p", Tls("/x/ca.pem", "/x/c.pem", "/x/k.pem")),
        ),
    ],
)
def test_good_urls(url: str, expected: EtcdUrl) -> None:
    assert parse_etcd_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "", "etcd", "http://a:1", "etcd://", "etcd://a:1,", "etcd://a:0", "etcd://a:65536",
        "etcd://a:x", "etcd://fd00::1", "etcd://[fd00::1", "etcd://user:pw@a:1", "etcd://a:1/../b",
        "etcd://a:1//b", "etcd://a:1/p?ca=x", "etcd+https://a:1?what=x", "etcd+https://a:1?cert=x",
        "etcd+https://a:1?ca", "etcd://a:1/p#f", "etcd://a b:1", "etcd://a:1\r\nX: y",
    ],
)  # fmt: skip
def test_bad_urls(url: str) -> None:
    with pytest.raises(WitnessUrlInvalid) as caught:
        parse_etcd_url(url)
    assert caught.value.code == "WITNESS-005"
    assert "etcd://" in caught.value.advice


def test_an_address_in_brackets_is_shown_in_brackets() -> None:
    assert str(parse_etcd_url("etcd://[::1]:7/p")) == "etcd://[::1]:7/p"


def test_file_names_are_not_shown() -> None:
    assert "secret" not in str(parse_etcd_url("etcd+https://a:1?cert=secret&key=secret"))


@given(st.text())
def test_anything_else_is_a_typed_error(text: str) -> None:
    try:
        assert parse_etcd_url("etcd://" + text).endpoints
    except WitnessUrlInvalid:
        pass
