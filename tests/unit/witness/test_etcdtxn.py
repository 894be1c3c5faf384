"""Answers as etcd 3.4 gave them, and everything else."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remus_ha.witness import etcdtxn as tx

HEADER = {
    "cluster_id": "14841639068965178418",
    "member_id": "10",
    "revision": "6",
    "raft_term": "2",
}
READ = tx.txn([], [tx.get("/t/a"), tx.get("/t/b")], [])
FOUND = {
    "header": HEADER,
    "succeeded": True,
    "responses": [
        {"response_range": {"header": {"revision": "6"}}},
        {
            "response_range": {
                "header": {"revision": "6"},
                "kvs": [{"key": "L3QvYg==", "mod_revision": "5", "version": "1", "value": "aGk="}],
                "count": "1",
            }
        },
    ],
}


def test_a_read() -> None:
    outcome = tx.parse(json.dumps(FOUND).encode(), READ)
    assert (outcome.cluster_id, outcome.revision) == ("14841639068965178418", 6)
    assert (outcome.branch.value(0), outcome.branch.value(1)) == (None, b"hi")
    assert outcome.branch.pairs(1) == (tx.Pair("/t/b", b"hi"),)


def test_the_other_branch_with_a_transaction_in_it() -> None:
    inner = tx.txn([], [tx.put("/t/a", b"x")], [])
    asked = tx.txn([], [], [tx.get("/t/a"), tx.nested(inner)])
    answer = {
        "header": HEADER,
        "responses": [
            {"response_range": {"kvs": [{"key": "L3QvYQ=="}]}},
            {"response_txn": {"succeeded": True, "responses": [{"response_put": {}}]}},
        ],
    }
    outcome = tx.parse(json.dumps(answer).encode(), asked)
    assert not outcome.branch.succeeded
    assert outcome.branch.value(0) == b""
    assert outcome.branch.inner(1).succeeded


@pytest.mark.parametrize(
    "change",
    [
        {"responses": FOUND["responses"][:1]},  # type: ignore[index]
        {"responses": [{"response_put": {}}] * 2},
        {"responses": 7},
        {"header": {"cluster_id": "1"}},
        {"header": {"cluster_id": "1", "revision": "x"}},
        {"responses": [{"response_range": {"kvs": [{"key": "*", "value": "*"}]}}] * 2},
        {"succeeded": "true"},
    ],
)
def test_an_answer_to_something_else(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not the answer"):
        tx.parse(json.dumps({**FOUND, **change}).encode(), READ)


@given(st.binary() | st.text().map(str.encode))
@example(b"[" * 100000)
@example(b'{"header": {"cluster_id": 1, "revision": Infinity}}')
def test_garbage_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not the answer"):
        tx.parse(raw, READ)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"result": {"header": HEADER, "created": True}}, False),
        ({"result": {"header": HEADER}}, False),
        ({"result": {"header": HEADER, "events": [{"kv": {}}]}}, True),
    ],
)
def test_lines_of_a_watch(line: dict[str, object], expected: bool) -> None:
    assert tx.is_news(json.dumps(line).encode()) is expected


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"error":{"message":"no"}}', b'{"result":{"canceled":true}}']
)
def test_lines_that_end_a_watch(line: bytes) -> None:
    with pytest.raises(ValueError, match="watch"):
        tx.is_news(line)


def test_a_prefix_ends_before_the_next_one() -> None:
    wanted = tx.get_prefix("/t/guest/")["request_range"]
    assert wanted == {"key": tx.b64(b"/t/guest/"), "range_end": tx.b64(b"/t/guest0")}
