import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.witness.memory import Memory

KNOWN = Memory("one", "77", 10)
MEMORIES = st.builds(
    Memory, st.text(), st.text(), st.integers(min_value=0, max_value=2**63), st.text()
)


@given(MEMORIES)
def test_round_trip(memory: Memory) -> None:
    assert Memory.decode(memory.encode()) == memory
    assert "\n" not in memory.encode()


@given(st.text())
def test_garbage_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a witness memory"):
        Memory.decode(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"incarnation": "a", "cluster_id": "b"}',
        '{"incarnation": "a", "cluster_id": "b", "revision": "1"}',
        '{"incarnation": 1, "cluster_id": "b", "revision": 1}',
        '{"incarnation": "a", "cluster_id": "b", "revision": true}',
        '{"incarnation": "a", "cluster_id": "b", "revision": 1, "more": 2}',
        "[" * 100000,
    ],
)
def test_near_misses_are_value_errors(text: str) -> None:
    with pytest.raises(ValueError, match="not a witness memory"):
        Memory.decode(text)


@pytest.mark.parametrize("revision", [10, 11])
def test_the_same_store_further_on_is_no_contradiction(revision: int) -> None:
    assert KNOWN.contradiction("one", "77", revision) == ""
    assert KNOWN.advanced(revision).revision == revision


@pytest.mark.parametrize(
    ("incarnation", "cluster_id", "revision", "why"),
    [
        ("one", "77", 9, "revision is 9, 10 was seen before"),
        ("two", "77", 11, "incarnation is two"),
        (None, "77", 11, "incarnation one is gone"),
        ("one", "78", 11, "cluster 78 answers"),
    ],
)
def test_contradictions(incarnation: str | None, cluster_id: str, revision: int, why: str) -> None:
    assert why in KNOWN.contradiction(incarnation, cluster_id, revision)


def test_distrust_stays() -> None:
    distrusted = Memory.decode(KNOWN.distrusted("it went back").encode())
    assert distrusted.contradiction("one", "77", 10**6) == "it went back"
