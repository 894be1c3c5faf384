"""etcd's transactions as its JSON gateway speaks them (v3 API, etcd 3.4 and newer). No I/O.

Source of the format: etcd's ``rpc.proto`` (RangeRequest, PutRequest, Compare, TxnRequest) in
protobuf's JSON mapping: octets are base64, 64-bit numbers are decimal strings, fields that have
their default value are left out.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
# What taking apart JSON of another shape raises.
_MISFITS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def b64(raw: bytes) -> str:
    """Octets as the gateway wants them."""
    return base64.b64encode(raw).decode("ascii")


def is_value(key: str, value: bytes) -> Json:
    """Holds when the key exists and has the value."""
    return _compare(key, "EQUAL", "VALUE", value=b64(value))


def is_less(key: str, value: bytes) -> Json:
    """Holds when the key exists and its octets sort before the value."""
    return _compare(key, "LESS", "VALUE", value=b64(value))


def is_absent(key: str) -> Json:
    """Holds when the key does not exist."""
    return _compare(key, "EQUAL", "CREATE", create_revision="0")


def _compare(key: str, result: str, target: str, **operand: str) -> Json:
    return {"key": b64(key.encode()), "result": result, "target": target, **operand}


def get(key: str) -> Json:
    """Read one key, linearizable."""
    return {"request_range": {"key": b64(key.encode())}}


def get_prefix(prefix: str) -> Json:
    """Read all keys that begin with ``prefix``, which must not be empty."""
    return {"request_range": _below(prefix)}


def _below(prefix: str) -> Json:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": b64(prefix.encode()), "range_end": b64(end.encode())}


def put(key: str, value: bytes) -> Json:
    """Write one key."""
    return {"request_put": {"key": b64(key.encode()), "value": b64(value)}}


def delete_prefix(prefix: str) -> Json:
    """Delete all keys that begin with ``prefix``, which must not be empty."""
    return {"request_delete_range": _below(prefix)}


def nested(inner: Json) -> Json:
    """A transaction as one request of another one."""
    return {"request_txn": inner}


def txn(compare: list[Json], success: list[Json], failure: list[Json]) -> Json:
    """All of ``success`` when all comparisons hold, else all of ``failure``; atomic."""
    return {"compare": compare, "success": success, "failure": failure}


def watch_request(prefix: str, start_revision: int) -> bytes:
    """The body that opens a watch on all keys below a prefix, from a revision on."""
    wanted = get_prefix(prefix)["request_range"]
    create = {**wanted, "start_revision": str(start_revision)}
    return json.dumps({"create_request": create}).encode()


def is_news(line: bytes) -> bool:
    """Whether a watch's line tells of a write. Raises ValueError for an error or a cancellation."""
    try:
        result = json.loads(line)["result"]
        if not result.get("canceled"):
            return bool(result.get("events"))
    except _MISFITS as e:
        raise ValueError(f"not an answer to a watch: {line[:200]!r}") from e
    raise ValueError("the watch was cancelled")


@dataclass(frozen=True, slots=True)
class Pair:
    """One key and its value."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Branch:
    """The outcome of a transaction: which branch ran, and its requests' answers in order.

    A range gives a tuple of pairs, a nested transaction a Branch, anything else None.
    """

    succeeded: bool
    answers: "tuple[tuple[Pair, ...] | Branch | None, ...]"

    def value(self, index: int) -> bytes | None:
        """The value that the ``get`` at ``index`` found; None when there is no such key."""
        found = self.pairs(index)
        return found[0].value if found else None

    def pairs(self, index: int) -> tuple[Pair, ...]:
        """What the range at ``index`` found. Raises TypeError when no range was asked there."""
        answer = self.answers[index]
        if not isinstance(answer, tuple):
            raise TypeError(f"request {index} was not a range")
        return answer

    def inner(self, index: int) -> "Branch":
        """The nested transaction's outcome. Raises TypeError when none was asked there."""
        answer = self.answers[index]
        if not isinstance(answer, Branch):
            raise TypeError(f"request {index} was not a transaction")
        return answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction's whole answer. ``revision`` never goes back in a store that keeps its word."""

    cluster_id: str
    revision: int
    branch: Branch


def parse(body: bytes, asked: Json) -> Outcome:
    """Raises ValueError for anything that is not the answer to the transaction ``asked``."""
    try:
        answer = json.loads(body)
        header = answer["header"]
        return Outcome(
            cluster_id=str(header["cluster_id"]),
            revision=int(header["revision"]),
            branch=_branch(answer, asked),
        )
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as e:
        raise ValueError(f"not the answer to a transaction: {body[:200]!r}") from e


def _branch(answer: Json, asked: Json) -> Branch:
    succeeded = answer.get("succeeded", False) is True
    requests = asked["success" if succeeded else "failure"]
    found = zip(answer.get("responses", ()), requests, strict=True)
    return Branch(succeeded, tuple(_answer(each, request) for each, request in found))


def _answer(each: Json, request: Json) -> "tuple[Pair, ...] | Branch | None":
    if "request_txn" in request:
        return _branch(each["response_txn"], request["request_txn"])
    if "request_range" in request:
        return tuple(_pair(kv) for kv in each["response_range"].get("kvs", ()))
    return None


def _pair(kv: Json) -> Pair:
    key = base64.b64decode(kv["key"], validate=True).decode()
    return Pair(key, base64.b64decode(kv.get("value", ""), validate=True))
