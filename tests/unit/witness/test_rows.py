import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remus_ha.core.register import Identity, Kind, Register
from remus_ha.witness.rows import decode_opened, decode_register, encode_opened

GENERATIONS = st.integers(min_value=0, max_value=2**63)
IDENTITIES = st.builds(Identity, st.text(), st.text())
REGISTERS = st.one_of(
    st.builds(Register, GENERATIONS, st.just(Kind.HOLDER), IDENTITIES),
    st.builds(Register, GENERATIONS, st.just(Kind.PAIR), IDENTITIES, IDENTITIES),
    st.builds(Register, GENERATIONS, st.just(Kind.NONE), st.none()),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "generation": JSON | GENERATIONS,
        "kind": JSON | st.sampled_from(["holder", "pair", "none"]),
        "holder": JSON | st.lists(st.text() | JSON, max_size=3),
        "backup": JSON | st.lists(st.text() | JSON, max_size=3),
    },
)


@given(REGISTERS)
def test_round_trip(register: Register) -> None:
    assert decode_register(register.encode()) == register


@given(st.binary() | NEARLY.map(lambda d: json.dumps(d, sort_keys=True).encode()))
@example(b"[" * 100000)
@example(b'{"backup":null,"generation":Infinity,"holder":null,"kind":"none"}')
@example(b'{"backup":null,"generation":1,"holder":"ab","kind":"holder"}')
@example(b'{"backup":null,"generation":1,"holder":[1,2],"kind":"holder"}')
def test_what_is_not_canonical_is_a_value_error(raw: bytes) -> None:
    try:
        register = decode_register(raw)
    except ValueError:
        return
    assert register.encode() == raw


@pytest.mark.parametrize(
    "register",
    [
        Register(1, Kind.PAIR, Identity("a", "b")),
        Register(1, Kind.HOLDER, None),
        Register(1, Kind.NONE, Identity("a", "b")),
        Register(1, Kind.HOLDER, Identity("a", "b"), Identity("c", "d")),
    ],
)
def test_a_value_that_names_the_wrong_parties_is_refused(register: Register) -> None:
    with pytest.raises(ValueError, match="not a register"):
        decode_register(register.encode())


def test_white_space_is_not_canonical() -> None:
    with pytest.raises(ValueError, match="not a register"):
        decode_register(Register(1, Kind.NONE, None).encode() + b" ")


@given(GENERATIONS, GENERATIONS)
def test_opened_sorts_as_numbers_do(one: int, other: int) -> None:
    assert (encode_opened(one) < encode_opened(other)) == (one < other)
    assert decode_opened(encode_opened(one)) == one


@pytest.mark.parametrize("generation", [-1, 10**20])
def test_no_generation(generation: int) -> None:
    with pytest.raises(ValueError, match="generation"):
        encode_opened(generation)


@given(st.binary())
def test_garbage_as_opened_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="generation"):
        decode_opened(raw)
